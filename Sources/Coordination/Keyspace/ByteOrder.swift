#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

extension [UInt8] {
    /// Byte order, the order of keys: the first differing byte decides, then the length.
    public func precedes(_ other: [UInt8]) -> Bool { order(against: other, skipping: 0) < 0 }

    /// Negative, zero or positive as this key is below, equal to or above `other`, whose first `skipped` bytes are
    /// known to be the same.
    @inline(__always)
    package func order(against other: [UInt8], skipping skipped: Int) -> Int {
        let (mine, theirs) = (count, other.count)
        let common = Swift.min(mine, theirs) - skipped
        if common > 0 {
            let difference = withUnsafeBytes { left in
                // Versions of one key share its bytes.
                other.withUnsafeBytes { right in
                    left.baseAddress! == right.baseAddress!
                        ? 0 : memcmp(left.baseAddress! + skipped, right.baseAddress! + skipped, common)
                }
            }
            if difference != 0 { return Int(difference) }
        }
        return mine - theirs
    }
}
