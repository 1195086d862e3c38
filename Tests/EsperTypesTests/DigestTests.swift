import EsperTypes
import Testing

@Suite struct DigestTests {
    private let written = "00ff" + String(repeating: "0a", count: 30)

    @Test func isReadFromTextAndBytes() throws {
        let digest = try #require(Digest(written))
        #expect(digest.description == written)
        #expect(Digest(bytes: digest.bytes) == digest)
        #expect(digest.bytes.prefix(3) == [0, 0xFF, 0x0A])
        var writer = ByteWriter()
        writer.write(digest)
        #expect(writer.bytes == digest.bytes)
        var reader = ByteReader(writer.bytes)
        #expect(try reader.readDigest() == digest)
    }

    @Test(arguments: ["", "00", String(repeating: "g", count: 64), String(repeating: "é", count: 32)])
    func otherTextIsNoDigest(text: String) {
        #expect(Digest(text) == nil)
    }

    @Test func isOrderedAsItsBytes() throws {
        let low = try #require(Digest(bytes: [0] + Array(repeating: 0xFF, count: 31)))
        let high = try #require(Digest(bytes: [1] + Array(repeating: 0, count: 31)))
        #expect(low < high)
    }

    @Test func theFirstTenBitsAreTheShard() throws {
        let last = try #require(Digest(bytes: Array(repeating: 0xFF, count: 32)))
        #expect(ShardID(of: last).rawValue == 1023)
        let second = try #require(Digest(bytes: [0, 0x40] + Array(repeating: 0, count: 30)))
        #expect(ShardID(of: second).rawValue == 1)
        #expect(ShardID(1024) == nil)
    }
}
