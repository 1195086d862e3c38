internal import CCRC32C

/// The Castagnoli checksum (CRC-32C, RFC 3720 appendix B.4), eight bytes a step: by the processor's own instruction
/// where it has one, else by tables.
///
/// Detects every burst of up to 32 flipped bits; it says nothing about an adversary, who is kept out by TLS.
public struct CRC32C: Sendable {
    private var state: UInt32

    /// Starts a checksum, or goes on from the value of the bytes before.
    public init(continuing checksum: UInt32 = 0) { state = ~checksum }

    public var checksum: UInt32 { ~state }

    public mutating func update(_ bytes: UnsafeRawBufferPointer) {
        if Self.isHardwareUsed {
            state = esper_crc32c(state, bytes.baseAddress, bytes.count)
        } else {
            updateByTables(bytes)
        }
    }

    /// What ``update(_:)`` does on a processor without the instruction.
    package mutating func updateByTables(_ bytes: UnsafeRawBufferPointer) {
        state = Self.tables.withUnsafeBufferPointer { Self.advance(state, over: bytes, tables: $0) }
    }

    private static let isHardwareUsed = esper_crc32c_is_supported()

    public mutating func update(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { update($0) }
    }

    public static func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt32 {
        var crc = CRC32C()
        crc.update(bytes)
        return crc.checksum
    }

    public static func checksum(_ bytes: [UInt8]) -> UInt32 {
        bytes.withUnsafeBytes { checksum($0) }
    }

    /// Slicing-by-8: `tables[k * 256 + b]` is byte `b` followed by `k` zero bytes.
    private static func advance(
        _ start: UInt32, over bytes: UnsafeRawBufferPointer, tables: UnsafeBufferPointer<UInt32>
    ) -> UInt32 {
        var crc = start
        var offset = 0
        while bytes.count - offset >= 8 {
            let word = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)) ^ UInt64(crc)
            crc =
                tables[7 * 256 + Int(word & 0xff)] ^ tables[6 * 256 + Int(word >> 8 & 0xff)]
                ^ tables[5 * 256 + Int(word >> 16 & 0xff)] ^ tables[4 * 256 + Int(word >> 24 & 0xff)]
                ^ tables[3 * 256 + Int(word >> 32 & 0xff)] ^ tables[2 * 256 + Int(word >> 40 & 0xff)]
                ^ tables[256 + Int(word >> 48 & 0xff)] ^ tables[Int(word >> 56)]
            offset += 8
        }
        while offset < bytes.count {
            crc = crc >> 8 ^ tables[Int(UInt8(truncatingIfNeeded: crc) ^ bytes[offset])]
            offset += 1
        }
        return crc
    }

    private static let tables: [UInt32] = {
        var tables = [UInt32](repeating: 0, count: 8 * 256)
        for byte in 0..<256 {
            var crc = UInt32(byte)
            for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ 0x82f6_3b78 : crc >> 1 }
            tables[byte] = crc
        }
        for byte in 0..<256 {
            for slice in 1..<8 {
                let previous = tables[(slice - 1) * 256 + byte]
                tables[slice * 256 + byte] = previous >> 8 ^ tables[Int(previous & 0xff)]
            }
        }
        return tables
    }()
}
