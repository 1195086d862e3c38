import EsperTypes
import Testing

@Suite struct ByteCodingTests {
    private static let written: [UInt8] = {
        var writer = ByteWriter()
        writer.write(UInt8(7))
        writer.write(Term(9))
        writer.write(NodeID(0xabcd))
        writer.write([1, 2, 3])
        writer.write("größe")
        writer.write(true)
        writer.write(optional: UInt32?.none) { $0.write($1) }
        writer.write(optional: 5 as UInt32?) { $0.write($1) }
        writer.write(array: [10, 20] as [UInt16]) { $0.write($1) }
        return writer.bytes
    }()

    private static func readAll(_ bytes: [UInt8]) throws(DecodingError) {
        var reader = ByteReader(bytes)
        #expect(try reader.read(UInt8.self) == 7)
        #expect(try reader.read(Term.self) == Term(9))
        #expect(try reader.read(NodeID.self) == NodeID(0xabcd))
        #expect(try reader.readBytes() == [1, 2, 3])
        #expect(try reader.readString() == "größe")
        #expect(try reader.readBool())
        #expect(try reader.readOptional { (reader) throws(DecodingError) in try reader.read(UInt32.self) } == nil)
        #expect(try reader.readOptional { (reader) throws(DecodingError) in try reader.read(UInt32.self) } == 5)
        #expect(try reader.readArray { (reader) throws(DecodingError) in try reader.read(UInt16.self) } == [10, 20])
        try reader.finish()
    }

    @Test func `what was written is read back`() throws {
        try Self.readAll(Self.written)
    }

    @Test func `a length beyond the end is refused before anything is allocated`() {
        var reader = ByteReader([0xff, 0xff, 0xff, 0x7f, 1])
        #expect(throws: DecodingError.truncated) { try reader.readBytes() }
        var counted = ByteReader([0xff, 0xff, 0xff, 0x7f, 1])
        #expect(throws: DecodingError.truncated) {
            try counted.readArray { (reader) throws(DecodingError) in try reader.read(UInt8.self) }
        }
    }

    @Test func `every shorter prefix is refused as truncated`() {
        for count in 0..<8 {
            var reader = ByteReader([UInt8](repeating: 0, count: count))
            #expect(throws: DecodingError.truncated) { try reader.read(UInt64.self) }
        }
    }

    @Test func `limits, tags, text and trailing bytes are checked`() {
        var long = ByteReader([4, 0, 0, 0, 1, 2, 3, 4])
        #expect(throws: DecodingError.oversized(4)) { try long.readBytes(atMost: 3) }
        var flag = ByteReader([2])
        #expect(throws: DecodingError.unknownTag(2)) { try flag.readBool() }
        var text = ByteReader([1, 0, 0, 0, 0xff])
        #expect(throws: DecodingError.notUTF8) { try text.readString() }
        #expect(throws: DecodingError.trailingBytes(1)) { try ByteReader([0]).finish() }
    }

    @Test func `a term that no cluster comes to is refused where it would be computed with`() throws {
        var highest = ByteWriter()
        highest.write(Term.unreachable.previous)
        highest.write(Term.unreachable)
        highest.write(Term(.max))
        var reader = ByteReader(highest.bytes)
        #expect(try reader.readReachable(Term.self) == Term.unreachable.previous)
        #expect(throws: DecodingError.unreachable(1 << 62)) { try reader.readReachable(Term.self) }
        #expect(throws: DecodingError.unreachable(.max)) { try reader.readReachable(Term.self) }
        var again = ByteReader(highest.bytes[16...])
        #expect(try again.read(Term.self) == Term(.max))
    }
}
