import EsperTypes

/// Reads little-endian fields from bytes that stay where they are; nothing from outside traps it.
///
/// Lives inside one `withUnsafeReadableBytes`.
struct WireReader {
    private let bytes: UnsafeRawBufferPointer
    private var position = 0

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    var remaining: Int { bytes.count - position }

    @inline(__always)
    mutating func integer<Value: FixedWidthInteger>(_: Value.Type = Value.self) throws(DecodingError) -> Value {
        let size = MemoryLayout<Value>.size
        guard remaining >= size else { throw .truncated }
        defer { position += size }
        return Value(littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: Value.self))
    }

    mutating func milliseconds() throws(DecodingError) -> Duration { .milliseconds(Int64(try integer(UInt32.self))) }

    /// A term, an index or a round; refused when no cluster comes to it, so that whoever computes with it cannot overflow.
    mutating func counter<Value: Counter>(_: Value.Type = Value.self) throws(DecodingError) -> Value {
        try Value(reachable: try integer(UInt64.self))
    }

    /// Any number: it is compared and echoed only.
    mutating func nonce() throws(DecodingError) -> SessionNonce { SessionNonce(try integer(UInt64.self)) }

    /// A size or an offset in bytes, as bounded as a counter.
    mutating func extent() throws(DecodingError) -> UInt64 { try counter(LogIndex.self).rawValue }

    mutating func identifier<Value: Identifier>(_: Value.Type = Value.self) throws(DecodingError) -> Value {
        Value(rawValue: try integer(UInt64.self))
    }

    mutating func entryID() throws(DecodingError) -> EntryID {
        EntryID(term: try counter(), index: try counter())
    }

    mutating func bool() throws(DecodingError) -> Bool {
        let byte = try integer(UInt8.self)
        guard byte <= 1 else { throw .unknownTag(UInt64(byte)) }
        return byte == 1
    }

    /// A 32-bit length, then the bytes; one copy into the array.
    @inline(__always)
    mutating func array(atMost limit: Int) throws(DecodingError) -> [UInt8] {
        let count = Int(try integer(UInt32.self))
        guard count <= limit else { throw .oversized(count) }
        guard count <= remaining else { throw .truncated }
        defer { position += count }
        return [UInt8](UnsafeRawBufferPointer(rebasing: bytes[position..<position + count]))
    }

    mutating func string(atMost limit: Int) throws(DecodingError) -> String {
        guard let text = String(validating: try array(atMost: limit), as: UTF8.self) else { throw .notUTF8 }
        return text
    }

    /// A 32-bit count, refused when so many elements of the smallest size cannot be in what is left.
    mutating func count(smallestElement: Int) throws(DecodingError) -> Int {
        let count = Int(try integer(UInt32.self))
        guard count <= remaining / smallestElement else { throw .truncated }
        return count
    }

    func finish() throws(DecodingError) {
        guard remaining == 0 else { throw .trailingBytes(remaining) }
    }
}
