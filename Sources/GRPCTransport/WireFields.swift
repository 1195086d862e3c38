/// Reads the fields of a protocol buffers message one after the other, in place.
///
/// For messages that are asked for a hundred thousand times a second, or that are too small to need generated code. What is
/// asked for by the wrong wire type is to be passed over like an unknown field, as the format has it.
///
/// Source: protobuf.dev, "Encoding". Groups, which proto3 does not have, are refused.
package struct WireFields {
    /// What a field holds.
    package enum Value {
        case number(UInt64)
        /// Where its bytes are; see ``WireFields/bytes(_:)`` and ``WireFields/message(_:)``.
        case bytes(Range<Int>)
        /// Of fixed size: nothing that is read here.
        case fixed
    }

    /// The bytes are not a message.
    package struct Malformed: Error, CustomStringConvertible {
        @inlinable package init() {}
        package var description: String { "a field is cut off or of no known type" }
    }

    @usableFromInline let source: [UInt8]
    @usableFromInline var position: Int
    @usableFromInline let end: Int

    @inlinable
    package init(_ message: [UInt8]) { self.init(message, 0..<message.count) }

    @inlinable
    init(_ source: [UInt8], _ range: Range<Int>) {
        self.source = source
        position = range.lowerBound
        end = range.upperBound
    }

    /// - Returns: nil at the end.
    @inlinable
    package mutating func next() throws(Malformed) -> (field: UInt64, value: Value)? {
        guard position < end else { return nil }
        let tag = try number()
        guard tag >= 1 << 3 else { throw Malformed() }
        switch tag & 7 {
        case 0: return (tag >> 3, .number(try number()))
        case 1:
            _ = try range(8)
            return (tag >> 3, .fixed)
        case 2: return (tag >> 3, .bytes(try range(try number())))
        case 5:
            _ = try range(4)
            return (tag >> 3, .fixed)
        default: throw Malformed()
        }
    }

    /// A copy of a field's bytes.
    @inlinable
    package func bytes(_ range: Range<Int>) -> [UInt8] { [UInt8](source[range]) }

    /// A field's bytes as text; what is no UTF-8 is repaired.
    package func string(_ range: Range<Int>) -> String { String(decoding: source[range], as: UTF8.self) }

    /// The fields of a message within this one.
    @inlinable
    package func message(_ range: Range<Int>) -> WireFields { WireFields(source, range) }

    @inlinable
    mutating func number() throws(Malformed) -> UInt64 {
        var value: UInt64 = 0
        var shift: UInt64 = 0
        while position < end, shift < 70 {
            let byte = source[position]
            position += 1
            value |= UInt64(byte & 0x7f) << shift
            if byte < 0x80 { return value }
            shift += 7
        }
        throw Malformed()
    }

    @inlinable
    mutating func range(_ count: UInt64) throws(Malformed) -> Range<Int> {
        guard count <= UInt64(end - position) else { throw Malformed() }
        defer { position += Int(count) }
        return position..<position + Int(count)
    }
}

/// Writes the fields of a protocol buffers message one after the other; see ``WireFields``.
///
/// What has its default value is not written, as proto3 has it.
package struct WireWriter {
    package private(set) var bytes: [UInt8] = []

    package init(capacity: Int = 0) { bytes.reserveCapacity(capacity) }

    package mutating func number(_ field: Int, _ value: UInt64) {
        guard value != 0 else { return }
        varint(UInt64(field) << 3)
        varint(value)
    }

    /// As proto3 writes `int32` and `int64`.
    package mutating func number(_ field: Int, _ value: Int64) { number(field, UInt64(bitPattern: value)) }

    package mutating func flag(_ field: Int, _ value: Bool) { number(field, UInt64(value ? 1 : 0)) }

    package mutating func bytes(_ field: Int, _ value: [UInt8]) {
        guard !value.isEmpty else { return }
        element(field, value)
    }

    package mutating func string(_ field: Int, _ value: String) { bytes(field, [UInt8](value.utf8)) }

    /// Bytes as one of several, or as the choice of a `oneof`: written when there are none, too.
    package mutating func element(_ field: Int, _ value: [UInt8]) {
        varint(UInt64(field) << 3 | 2)
        varint(UInt64(value.count))
        bytes.append(contentsOf: value)
    }

    /// A message within this one, written when it is empty, too.
    @inline(__always)
    package mutating func message(_ field: Int, _ body: (inout WireWriter) -> Void) {
        varint(UInt64(field) << 3 | 2)
        let start = bytes.count
        bytes.append(0)
        body(&self)
        close(start)
    }

    /// Writes how long the message is that begins behind `start`, for which one byte is there.
    private mutating func close(_ start: Int) {
        let length = UInt64(bytes.count - start - 1)
        guard length >= 0x80 else {
            bytes[start] = UInt8(length)
            return
        }
        let more = (63 - length.leadingZeroBitCount) / 7
        bytes.insert(contentsOf: repeatElement(0, count: more), at: start)
        var rest = length
        for place in start..<start + more {
            bytes[place] = UInt8(truncatingIfNeeded: rest) | 0x80
            rest >>= 7
        }
        bytes[start + more] = UInt8(rest)
    }

    private mutating func varint(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }
}
