#if canImport(Glibc)
    import Glibc
#endif

/// Cuts requests out of the bytes of one connection, in the two forms that Redis reads: arrays of bulk strings, and lines.
///
/// A value that is fed the same growing run of bytes again and again and never looks at one of them twice. Requests are given
/// out as ranges of the input, so that nothing is copied. It accepts and refuses what Redis 7 does (networking.c,
/// `processMultibulkBuffer` and `processInlineBuffer`), with the same words.
///
///     feed ──► next(in:) ──► request          arguments stand in `arguments`; call again
///                       ├──► line(bytes)      a line with quotes, written again as an array; call again
///                       ├──► needsMore        drop `consumed` bytes with `dropConsumed()`, append, call again
///                       └──► throws           answer the error and close
package struct RequestParser {
    package struct Limits: Sendable {
        /// One argument: `proto-max-bulk-len` of Redis.
        package var bulkBytes: Int
        package var arguments: Int

        package init(bulkBytes: Int = 512 << 20, arguments: Int = 1 << 20) {
            self.bulkBytes = bulkBytes
            self.arguments = arguments
        }

        /// What somebody may send who has not said who he is.
        static let unauthenticated = Limits(bulkBytes: 16 << 10, arguments: 10)
    }

    package enum Step: Equatable {
        case request
        case line([UInt8])
        case needsMore
    }

    package struct Failure: Error, Hashable, Sendable {
        /// Without the code `ERR`.
        package var message: String
    }

    /// Where an argument stands in the input.
    package struct Slice {
        @usableFromInline var start: Int
        @usableFromInline var count: Int

        package var range: Range<Int> { start..<start + count }
    }

    /// A line without an end, and the head of an array or a bulk string.
    private static let lineBytes = 64 << 10

    /// Of the request that was given out last.
    package private(set) var arguments: [Slice] = []
    /// Bytes at the front of the input that belong to requests given out before the last call.
    package private(set) var consumed = 0
    /// While an argument is on its way: how long the input must be until it is complete. 0: not known.
    package private(set) var neededBytes = 0

    private var position = 0
    /// Bytes after `position` in which no end of line was found.
    private var scanned = 0
    /// Arguments of the current array still to come.
    private var remaining = 0
    private var bulkCount = -1
    private var isBetween = true

    package init() {}

    /// To be called after the first ``consumed`` bytes were taken off the input.
    package mutating func dropConsumed() {
        guard consumed > 0 else { return }
        for index in arguments.indices { arguments[index].start -= consumed }
        position -= consumed
        consumed = 0
    }

    /// Releases memory that a large request needed.
    package mutating func shrink() { if isBetween, arguments.capacity > 64 { arguments = [] } }

    /// The key, when the next request is all there and is a `GET` as clients write it, so that most requests need no more than
    /// a few comparisons. The request stays where it is: ``pass(_:)``, or ``next(in:limits:isAuthenticated:)``.
    @inline(__always)
    package func plainGet(in bytes: UnsafeRawBufferPointer, limits: Limits) -> Slice? {
        guard isBetween, bytes.count - position >= Self.shortestGet,
            bytes.loadUnaligned(fromByteOffset: position, as: UInt64.self) == Self.getHead,
            bytes.loadUnaligned(fromByteOffset: position + 8, as: UInt32.self) | Self.smallLetters == Self.getWord,
            bytes[position + 12] == UInt8(ascii: "\n"), bytes[position + 13] == UInt8(ascii: "$")
        else { return nil }
        var index = position + 14
        var count = Int(bytes[index] &- 48)
        guard 1...9 ~= count else { return nil }
        index += 1
        while index < position + 19, case let digit = bytes[index] &- 48, digit <= 9 {
            count = count * 10 + Int(digit)
            index += 1
        }
        guard bytes[index] == 13, count <= limits.bulkBytes, bytes.count - index >= count + 4, bytes[index + 1] == 10
        else { return nil }
        return Slice(start: index + 2, count: count)
    }

    /// Goes past the request of ``plainGet(in:limits:)``.
    @inline(__always)
    package mutating func pass(_ key: Slice) {
        position = key.start + key.count + 2
        consumed = position
    }

    /// With a key of one byte. A longer one has at most four digits more in its length, which are within these bytes too.
    private static let shortestGet = 13 + 4 + 1 + 2
    private static let getHead = UInt64(littleEndian: 0x0A0D_3324_0A0D_322A)
    private static let getWord = UInt32(littleEndian: 0x0D74_6567)
    private static let smallLetters = UInt32(littleEndian: 0x0020_2020)

    /// - Parameter bytes: the whole input, from the first byte that was not dropped.
    package mutating func next(
        in bytes: UnsafeRawBufferPointer, limits: Limits, isAuthenticated: Bool = true
    ) throws(Failure) -> Step {
        while true {
            if isBetween {
                consumed = position
                arguments.removeAll(keepingCapacity: true)
                neededBytes = 0
                guard position < bytes.count else { return .needsMore }
                guard bytes[position] == UInt8(ascii: "*") else {
                    guard let line = try inlineLine(in: bytes) else { return .needsMore }
                    return line
                }
                guard let end = try endOfLine(in: bytes, "too big mbulk count string") else { return .needsMore }
                guard let count = Int64(redis: bytes, position + 1, end), count <= limits.arguments else {
                    throw Failure(message: "Protocol error: invalid multibulk length")
                }
                if !isAuthenticated, count > Limits.unauthenticated.arguments {
                    throw Failure(message: "Protocol error: unauthenticated multibulk length")
                }
                position = end + 2
                // An empty array is nothing, and has no answer.
                guard count > 0 else { continue }
                remaining = Int(count)
                isBetween = false
            }
            while remaining > 0 {
                if bulkCount < 0 {
                    guard let end = try endOfLine(in: bytes, "too big bulk count string") else { return .needsMore }
                    guard bytes[position] == UInt8(ascii: "$") else {
                        let found = String(decoding: CollectionOfOne(bytes[position]), as: UTF8.self)
                        throw Failure(message: "Protocol error: expected '$', got '\(found)'")
                    }
                    guard let count = Int64(redis: bytes, position + 1, end), count >= 0, count <= limits.bulkBytes
                    else {
                        throw Failure(message: "Protocol error: invalid bulk length")
                    }
                    if !isAuthenticated, count > Limits.unauthenticated.bulkBytes {
                        throw Failure(message: "Protocol error: unauthenticated bulk length")
                    }
                    position = end + 2
                    bulkCount = Int(count)
                }
                guard bytes.count - position >= bulkCount + 2 else {
                    neededBytes = position + bulkCount + 2
                    return .needsMore
                }
                arguments.append(Slice(start: position, count: bulkCount))
                position += bulkCount + 2
                bulkCount = -1
                remaining -= 1
            }
            isBetween = true
            return .request
        }
    }

    /// The index of the `\r` that ends the line at `position`, once the byte after it is there too.
    @inline(__always)
    private mutating func endOfLine(
        in bytes: UnsafeRawBufferPointer, _ complaint: StaticString
    ) throws(Failure) -> Int? {
        // Nearly every head is short: a look at the first few bytes is cheaper than a call.
        let near = min(position + 8, bytes.count - 1)
        var index = position + 1
        while index < near {
            if bytes[index] == UInt8(ascii: "\r") {
                scanned = 0
                return index
            }
            index += 1
        }
        return try distantEnd(of: UInt8(ascii: "\r"), in: bytes, complaint).flatMap { end in
            guard end + 1 < bytes.count else { return nil }
            scanned = 0
            return end
        }
    }

    private mutating func distantEnd(
        of byte: UInt8, in bytes: UnsafeRawBufferPointer, _ complaint: StaticString
    ) throws(Failure) -> Int? {
        let start = position + scanned
        if start < bytes.count, let base = bytes.baseAddress,
            let found = memchr(base + start, Int32(byte), bytes.count - start)
        {
            return UnsafeRawPointer(found) - base
        }
        scanned = bytes.count - position
        if scanned > Self.lineBytes { throw Failure(message: "Protocol error: \(complaint)") }
        return nil
    }

    /// A request written as words on a line; nil: the line has no end yet.
    private mutating func inlineLine(in bytes: UnsafeRawBufferPointer) throws(Failure) -> Step? {
        guard let newline = try distantEnd(of: UInt8(ascii: "\n"), in: bytes, "too big inline request") else {
            return nil
        }
        scanned = 0
        var end = newline
        if end > position, bytes[end - 1] == UInt8(ascii: "\r") { end -= 1 }
        let line = UnsafeRawBufferPointer(rebasing: bytes[position..<end])
        position = newline + 1
        guard let words = InlineWords.split(line) else {
            throw Failure(message: "Protocol error: unbalanced quotes in request")
        }
        // As an array it can be read by the same code as everything else; lines are typed by hand.
        return .line(words.isEmpty ? [] : RequestParser.array(of: words))
    }

    /// A request as clients write it.
    package static func array(of words: [[UInt8]]) -> [UInt8] {
        var bytes = Array("*\(words.count)\r\n".utf8)
        for word in words {
            bytes += "$\(word.count)\r\n".utf8
            bytes += word
            bytes += [13, 10]
        }
        return bytes
    }
}

extension Int64 {
    /// Decimal as Redis takes it: no sign but a minus, no zero in front, no space.
    @inline(__always)
    init?(redis bytes: UnsafeRawBufferPointer, _ start: Int, _ end: Int) {
        var index = start
        guard index < end, end - index <= 20 else { return nil }
        let first = bytes[index]
        // One digit to three: nearly all there are.
        let isNegative = first == UInt8(ascii: "-")
        if isNegative {
            index += 1
            guard index < end else { return nil }
        }
        let leading = bytes[index] &- 48
        guard leading <= 9 else { return nil }
        if leading == 0 {
            guard !isNegative, index + 1 == end else { return nil }
            self = 0
            return
        }
        var value = UInt64(leading)
        index += 1
        while index < end {
            let digit = bytes[index] &- 48
            guard digit <= 9 else { return nil }
            let (scaled, isTooLarge) = value.multipliedReportingOverflow(by: 10)
            let (sum, carries) = scaled.addingReportingOverflow(UInt64(digit))
            guard !isTooLarge, !carries else { return nil }
            value = sum
            index += 1
        }
        if isNegative {
            guard value <= Int64.min.magnitude else { return nil }
            self = value == Int64.min.magnitude ? .min : -Int64(value)
        } else {
            guard value <= UInt64(Int64.max) else { return nil }
            self = Int64(value)
        }
    }

    init?(redis bytes: [UInt8]) {
        guard let value = bytes.withUnsafeBytes({ Int64(redis: $0, 0, $0.count) }) else { return nil }
        self = value
    }
}

extension [UInt8] {
    /// The bytes of a range, in one step.
    init(copying bytes: UnsafeRawBufferPointer, _ range: Range<Int>) {
        self.init(unsafeUninitializedCapacity: range.count) { room, count in
            UnsafeMutableRawBufferPointer(room).copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[range]))
            count = range.count
        }
    }

    /// With other bytes from an offset on, and zeros where there was nothing before it.
    func overwritten(from offset: Int, with part: [UInt8]) -> [UInt8] {
        let size = Swift.max(count, offset + part.count)
        return [UInt8](unsafeUninitializedCapacity: size) { room, filled in
            let target = UnsafeMutableRawBufferPointer(room)
            withUnsafeBytes { target.copyMemory(from: $0) }
            if offset > count, let base = target.baseAddress { memset(base + count, 0, offset - count) }
            part.withUnsafeBytes { UnsafeMutableRawBufferPointer(rebasing: target[offset...]).copyMemory(from: $0) }
            filled = size
        }
    }
}
