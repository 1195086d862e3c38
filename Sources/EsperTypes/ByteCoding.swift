/// Appends little-endian integers and length-prefixed bytes: the one notation of our disk and log formats.
public struct ByteWriter: Sendable {
    public private(set) var bytes: [UInt8]

    public init(capacity: Int = 64) {
        bytes = []
        bytes.reserveCapacity(capacity)
    }

    @inlinable
    public mutating func write<Value: FixedWidthInteger>(_ value: Value) {
        withUnsafeBytes(of: value.littleEndian) { append($0) }
    }

    @inlinable
    public mutating func write(_ value: some Counter) { write(value.rawValue) }

    @inlinable
    public mutating func write(_ value: some Identifier) { write(value.rawValue) }

    @inlinable
    public mutating func write(_ value: Bool) { write(UInt8(value ? 1 : 0)) }

    /// A 32-bit length, then the bytes.
    public mutating func write(_ value: [UInt8]) {
        write(UInt32(value.count))
        bytes.append(contentsOf: value)
    }

    /// A 32-bit length in UTF-8 bytes, then those.
    public mutating func write(_ value: String) {
        write(UInt32(value.utf8.count))
        bytes.append(contentsOf: value.utf8)
    }

    /// A presence byte, then the value when there is one.
    @inlinable
    public mutating func write<Value>(optional value: Value?, _ body: (inout ByteWriter, Value) -> Void) {
        write(value != nil)
        if let value { body(&self, value) }
    }

    /// A 32-bit count, then each element.
    @inlinable
    public mutating func write<Elements: Collection>(
        array elements: Elements, _ body: (inout ByteWriter, Elements.Element) -> Void
    ) {
        write(UInt32(elements.count))
        for element in elements { body(&self, element) }
    }

    /// The bytes as they are, without a length.
    public mutating func append(_ raw: UnsafeRawBufferPointer) {
        bytes.append(contentsOf: raw)
    }
}

/// Why bytes from outside could not be read.
public enum DecodingError: Error, Hashable, Sendable {
    /// The bytes end before the value does.
    case truncated
    /// A length or count is above what its field may be.
    case oversized(Int)
    /// A tag, flag or version that this program does not know.
    case unknownTag(UInt64)
    /// A string is not UTF-8.
    case notUTF8
    /// Bytes are left after the value.
    case trailingBytes(Int)
    /// A term, an index or a size that no cluster comes to; see ``Counter/unreachable``.
    case unreachable(UInt64)
}

/// Reads what ``ByteWriter`` wrote; bytes from outside never trap it.
///
/// Lengths are checked against what is left before anything is allocated.
public struct ByteReader: Sendable {
    @usableFromInline let bytes: ArraySlice<UInt8>
    @usableFromInline var position: Int

    public init(_ bytes: [UInt8]) { self.init(bytes[...]) }

    public init(_ bytes: ArraySlice<UInt8>) {
        self.bytes = bytes
        position = bytes.startIndex
    }

    @inlinable
    public var remaining: Int { bytes.endIndex - position }

    @inlinable
    public mutating func read<Value: FixedWidthInteger>(_: Value.Type = Value.self) throws(DecodingError) -> Value {
        let size = MemoryLayout<Value>.size
        guard remaining >= size else { throw .truncated }
        let offset = position - bytes.startIndex
        let value = bytes.withUnsafeBytes {
            Value(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: Value.self))
        }
        position += size
        return value
    }

    @inlinable
    public mutating func read<Value: Counter>(_: Value.Type = Value.self) throws(DecodingError) -> Value {
        Value(rawValue: try read(UInt64.self))
    }

    @inlinable
    public mutating func read<Value: Identifier>(_: Value.Type = Value.self) throws(DecodingError) -> Value {
        Value(rawValue: try read(UInt64.self))
    }

    /// For terms and indexes that are computed with; what a command only compares may be anything.
    @inlinable
    public mutating func readReachable<Value: Counter>(_: Value.Type = Value.self) throws(DecodingError) -> Value {
        try Value(reachable: try read(UInt64.self))
    }

    public mutating func readBool() throws(DecodingError) -> Bool {
        let byte = try read(UInt8.self)
        guard byte <= 1 else { throw .unknownTag(UInt64(byte)) }
        return byte == 1
    }

    public mutating func readBytes(atMost limit: Int = .max) throws(DecodingError) -> [UInt8] {
        let count = Int(try read(UInt32.self))
        guard count <= limit else { throw .oversized(count) }
        return try readRaw(count)
    }

    public mutating func readString(atMost limit: Int = .max) throws(DecodingError) -> String {
        guard let text = String(validating: try readBytes(atMost: limit), as: UTF8.self) else { throw .notUTF8 }
        return text
    }

    public mutating func readOptional<Value>(
        _ body: (inout ByteReader) throws(DecodingError) -> Value
    ) throws(DecodingError) -> Value? {
        try readBool() ? try body(&self) : nil
    }

    /// - Parameter limit: the most elements the field may have; each takes at least one byte, so a count beyond
    ///   the remaining bytes is refused before anything is allocated.
    public mutating func readArray<Value>(
        atMost limit: Int = .max, _ body: (inout ByteReader) throws(DecodingError) -> Value
    ) throws(DecodingError) -> [Value] {
        let count = Int(try read(UInt32.self))
        guard count <= limit else { throw .oversized(count) }
        guard count <= remaining else { throw .truncated }
        var values: [Value] = []
        values.reserveCapacity(min(count, 1024))
        for _ in 0..<count { values.append(try body(&self)) }
        return values
    }

    /// `count` bytes as they are.
    public mutating func readRaw(_ count: Int) throws(DecodingError) -> [UInt8] {
        guard count >= 0, remaining >= count else { throw .truncated }
        defer { position += count }
        return [UInt8](bytes[position..<position + count])
    }

    /// Passes over `count` bytes.
    public mutating func skip(_ count: Int) throws(DecodingError) {
        guard count >= 0, remaining >= count else { throw .truncated }
        position += count
    }

    /// - Throws: ``DecodingError/trailingBytes(_:)`` unless everything was read.
    public func finish() throws(DecodingError) {
        guard remaining == 0 else { throw .trailingBytes(remaining) }
    }
}
