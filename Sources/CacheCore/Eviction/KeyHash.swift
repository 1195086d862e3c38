/// A fast hash of bytes, keyed so that nobody who does not know the seed can choose keys of equal hashes easily.
///
/// Eight bytes at a time through a folded 64 × 64 multiplication, the mixing step of wyhash.
public enum KeyHash {
    public static func hash(_ bytes: [UInt8], seed: UInt64) -> UInt64 {
        bytes.withUnsafeBytes { bytes in
            var state = mix(seed ^ 0xA076_1D64_78BD_642F, 0xE703_7ED1_A0B4_28DB)
            var rest = bytes.count
            var position = 0
            while rest > 8 {
                state = mix(
                    bytes.loadUnaligned(fromByteOffset: position, as: UInt64.self) ^ state, 0x8EBC_6AF0_9C88_C6E3 ^ seed
                )
                position += 8
                rest -= 8
            }
            var last: UInt64 = 0
            if bytes.count >= 8 {
                last = bytes.loadUnaligned(fromByteOffset: bytes.count - 8, as: UInt64.self)
            } else {
                for byte in bytes { last = last << 8 | UInt64(byte) }
            }
            state = mix(last ^ state, 0x5899_65CC_7537_4CC3 ^ UInt64(bytes.count))
            return mix(state ^ seed, 0x1D8E_4E27_C47D_124F)
        }
    }

    @inline(__always)
    private static func mix(_ left: UInt64, _ right: UInt64) -> UInt64 {
        let product = left.multipliedFullWidth(by: right)
        return product.high ^ product.low
    }
}
