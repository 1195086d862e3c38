import EsperTypes

/// Weighted rendezvous hashing (Thaler & Ravishankar 1998; weights by Schindelhauer & Schomaker 2005): every host draws a number
/// for every shard, and the highest wins. A host that comes takes what it wins and nothing else moves.
///
/// Only planners compute this, and their results stand in the log; lookups read the map.
enum Rendezvous {
    /// What `host` draws for `shard`: w / −ln u with u uniform in (0, 1), so that it wins in proportion to its weight.
    static func score(host: NodeID, weight: UInt32, shard: ShardID) -> Double {
        guard weight > 0 else { return 0 }
        let hash = mix(mix(host.rawValue &+ 0x9e37_79b9_7f4a_7c15) ^ UInt64(shard.rawValue) &* 0xd6e8_feb8_6659_fd93)
        return Double(weight) / negativeLogarithm(of: hash)
    }

    /// The finalizer of SplitMix64.
    private static func mix(_ value: UInt64) -> UInt64 {
        var value = value
        value = (value ^ value >> 30) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ value >> 27) &* 0x94d0_49bb_1331_11eb
        return value ^ value >> 31
    }

    /// −ln((h + ½) / 2⁶⁴) from additions, multiplications and divisions alone, which IEEE 754 makes the same everywhere.
    ///
    /// u = m · 2^−k with m in [1, 2); ln m = 2 artanh z with z = (m − 1)/(m + 1) ≤ 1/3, whose 13 terms leave an error below 10⁻¹³.
    static func negativeLogarithm(of hash: UInt64) -> Double {
        let bits = hash | 1
        let zeros = bits.leadingZeroBitCount
        let mantissa = Double((bits << UInt64(zeros)) >> 11) / Double(UInt64(1) << 52)
        let ratio = (mantissa - 1) / (mantissa + 1)
        let square = ratio * ratio
        var (term, sum) = (ratio, 0.0)
        for divisor in stride(from: 1.0, through: 25.0, by: 2.0) {
            sum += term / divisor
            term *= square
        }
        let result = Double(zeros + 1) * 0.693_147_180_559_945_3 - 2 * sum
        return result > 1e-18 ? result : 1e-18
    }
}
