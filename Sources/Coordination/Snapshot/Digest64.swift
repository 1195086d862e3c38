import EsperTypes

/// A 64-bit digest for comparing replicas: eight bytes a step, folded by a full multiplication (as in wyhash).
///
/// It tells accidents apart, not adversaries.
package struct Digest64: Sendable {
    private var state: UInt64
    private var count: UInt64 = 0

    package init(seed: UInt64 = 0) { state = seed ^ 0xa076_1d64_78bd_642f }

    @inline(__always)
    package mutating func add(_ word: UInt64) {
        let product = (state ^ word ^ 0xe703_7ed1_a0b4_28db).multipliedFullWidth(by: 0x8ebc_6af0_9c88_c6e3)
        // Added, so that a product of zero does not forget what came before.
        state = (product.high ^ product.low) &+ (state << 23 | state >> 41)
        count &+= 1
    }

    /// Adds bytes as one value: their number, then themselves.
    package mutating func add(_ bytes: [UInt8]) {
        add(UInt64(bytes.count))
        bytes.withUnsafeBytes { buffer in
            var offset = 0
            while buffer.count - offset >= 8 {
                add(UInt64(littleEndian: buffer.loadUnaligned(fromByteOffset: offset, as: UInt64.self)))
                offset += 8
            }
            var tail: UInt64 = 0
            while offset < buffer.count {
                tail = tail << 8 | UInt64(buffer[offset])
                offset += 1
            }
            add(tail)
        }
    }

    package var value: UInt64 {
        var last = self
        last.add(count)
        last.add(0)
        return last.state
    }
}
