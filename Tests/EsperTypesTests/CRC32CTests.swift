import EsperTypes
import Testing

@Suite struct CRC32CTests {
    static let published: [(bytes: [UInt8], checksum: UInt32)] = [
        ([UInt8]("123456789".utf8), 0xe306_9283),  // the check value of the polynomial's catalogue entry
        ([UInt8](repeating: 0, count: 32), 0x8a91_36aa),  // RFC 3720 B.4, 32 bytes of zeroes
        ([UInt8](repeating: 0xff, count: 32), 0x62a8_ab43),  // RFC 3720 B.4, 32 bytes of ones
        ([UInt8](0..<32), 0x46dd_794e),  // RFC 3720 B.4, 32 incrementing bytes
        ([], 0),
    ]

    @Test(arguments: published)
    func `published vectors are reproduced`(bytes: [UInt8], expected: UInt32) {
        #expect(CRC32C.checksum(bytes) == expected)
        var crc = CRC32C()
        bytes.withUnsafeBytes { crc.updateByTables($0) }
        #expect(crc.checksum == expected)
    }

    @Test func `the processor and the tables agree at every length and alignment`() {
        let bytes = (0..<200).map { UInt8(truncatingIfNeeded: $0 &* 151 &+ 7) }
        bytes.withUnsafeBytes { bytes in
            for start in 0..<16 {
                for end in start...bytes.count {
                    let part = UnsafeRawBufferPointer(rebasing: bytes[start..<end])
                    var crc = CRC32C()
                    crc.updateByTables(part)
                    #expect(crc.checksum == CRC32C.checksum(part))
                }
            }
        }
    }

    @Test func `a checksum taken in two parts equals the whole at every cut`() {
        let bytes = (0..<100).map { UInt8(truncatingIfNeeded: $0 &* 37) }
        for cut in 0...bytes.count {
            var crc = CRC32C(continuing: CRC32C.checksum([UInt8](bytes[..<cut])))
            crc.update([UInt8](bytes[cut...]))
            #expect(crc.checksum == CRC32C.checksum(bytes))
        }
    }

    @Test func `every single flipped bit is seen`() {
        let bytes = (0..<64).map { UInt8($0) }
        let whole = CRC32C.checksum(bytes)
        for bit in 0..<bytes.count * 8 {
            var damaged = bytes
            damaged[bit / 8] ^= 1 << (bit % 8)
            #expect(CRC32C.checksum(damaged) != whole)
        }
    }
}
