import GRPCTransport
import NIOCore
import Testing

/// The small codecs: no sockets.
struct CodecTests {
    private static let messages: [[UInt8]] = [
        [], [1], [UInt8](repeating: 2, count: 300), [], [UInt8](repeating: 3, count: 70_000),
    ]

    private static func framed(_ messages: [[UInt8]], piece: Int) -> [UInt8] {
        var outbound = OutboundMessages()
        for message in messages { outbound.append(message) }
        #expect(outbound.queuedBytes == messages.reduce(0) { $0 + $1.count + 5 })
        var bytes: [UInt8] = []
        while !outbound.isEmpty {
            var target = [UInt8](repeating: 0, count: piece)
            let count = target.withUnsafeMutableBytes { outbound.read(into: $0) }
            bytes += target.prefix(count)
        }
        #expect(outbound.queuedBytes == 0)
        return bytes
    }

    private static func assembled(_ bytes: [UInt8], piece: Int, limit: Int = 100_000) throws -> [[UInt8]] {
        var assembler = MessageAssembler()
        var messages: [[UInt8]] = []
        var rest = bytes[...]
        while !rest.isEmpty {
            let chunk = [UInt8](rest.prefix(piece))
            rest = rest.dropFirst(piece)
            try chunk.withUnsafeBufferPointer { chunk in
                try assembler.append(chunk, maximumMessageBytes: limit) { message, _ in messages.append(message) }
            }
        }
        return messages
    }

    @Test(arguments: [1, 2, 3, 4, 5, 6, 7, 1000, 16_384, 1 << 20])
    func `messages survive any cut`(piece: Int) throws {
        let whole = Self.framed(Self.messages, piece: piece)
        #expect(whole == Self.framed(Self.messages, piece: 1 << 20))
        #expect(try Self.assembled(whole, piece: piece) == Self.messages)
    }

    @Test func `a cut stream brings the whole messages before the cut and no other`() throws {
        let bytes = Self.framed([[1, 2, 3], [4]], piece: 100)
        for cut in 0..<bytes.count {
            let messages = try Self.assembled([UInt8](bytes.prefix(cut)), piece: 3)
            #expect(messages.count == (cut < 8 ? 0 : 1))
        }
    }

    @Test func `wrong prefixes are refused before anything is kept`() {
        #expect(throws: MessageAssembler.Failure.compressed) { try Self.assembled([1, 0, 0, 0, 1, 9], piece: 2) }
        #expect(throws: MessageAssembler.Failure.badFlag) { try Self.assembled([2, 0, 0, 0, 1, 9], piece: 2) }
        #expect(throws: MessageAssembler.Failure.tooLarge(11)) {
            try Self.assembled([0, 0, 0, 0, 11, 9], piece: 9, limit: 10)
        }
        #expect(throws: MessageAssembler.Failure.tooLarge(0xffff_ffff)) {
            try Self.assembled([0, 255, 255, 255, 255], piece: 1)
        }
    }

    @Test(arguments: ["", "plain", "100 %", "né\n\u{1F600}", "%41", " at both ends ", " "])
    func `status messages survive percent-encoding`(text: String) {
        let encoded = PercentCoding.encode(text)
        #expect(encoded.allSatisfy { $0 >= 0x20 && $0 <= 0x7e })
        // No field value begins or ends with a space.
        #expect(encoded.first != 0x20 && encoded.last != 0x20)
        #expect(PercentCoding.decode(encoded) == text)
    }

    @Test func `what is not well encoded stays`() {
        #expect(PercentCoding.decode("a%4".utf8) == "a%4")
        #expect(PercentCoding.decode("%zz%41".utf8) == "%zzA")
    }

    @Test func `base64 of every length comes back, padded or not`() {
        for count in 0..<20 {
            let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 97 &+ 200) }
            let text = Base64.encode(bytes)
            #expect(Base64.decode(text) == bytes)
            let padding = [UInt8](repeating: UInt8(ascii: "="), count: (4 - text.count % 4) % 4)
            #expect(Base64.decode(text + padding) == bytes)
        }
        #expect(String(decoding: Base64.encode([UInt8]("Esper".utf8)), as: UTF8.self) == "RXNwZXI")
        for wrong in ["a", "ab=c", "a b", "é", "abc==="] { #expect(Base64.decode(wrong.utf8) == nil) }
    }

    @Test(arguments: [
        ("1n", 1), ("5m", 5_000_000), ("99999999u", 99_999_999_000), ("2S", 2_000_000_000), ("1M", 60_000_000_000),
        ("1H", 3_600_000_000_000), ("99999999H", 3_153_600_000_000_000_000), ("0m", 0),
    ])
    func `time-outs are read in every unit`(text: String, nanoseconds: Int64) {
        let timeout = [UInt8](text.utf8).withUnsafeBufferPointer { GRPCTimeout.parse($0) }
        #expect(timeout == .nanoseconds(nanoseconds))
    }

    @Test(arguments: ["", "m", "1", "1x", "-1m", "123456789m", "1 m", "1mm"])
    func `malformed time-outs are refused`(text: String) {
        #expect([UInt8](text.utf8).withUnsafeBufferPointer { GRPCTimeout.parse($0) } == nil)
    }

    @Test func `time-outs are written rounded up and never zero`() {
        #expect(GRPCTimeout.format(.nanoseconds(1)) == "1m")
        #expect(GRPCTimeout.format(.milliseconds(1500)) == "1500m")
        #expect(GRPCTimeout.format(.microseconds(1501)) == "2m")
        #expect(GRPCTimeout.format(.hours(100)) == "360000S")
    }
}
