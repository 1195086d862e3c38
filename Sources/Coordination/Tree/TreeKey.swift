#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// What a ``Tree`` needs to know of its keys: their order, and eight bytes of them that stand for that order.
package protocol TreeKey: Sendable {
    /// Negative, zero or positive; the first `skipped` bytes of both are known to be the same.
    func order(against other: Self, skipping skipped: Int) -> Int

    /// Like ``order(against:skipping:)``, looking at the first `length` bytes alone.
    func prefixOrder(against other: Self, length: Int) -> Int

    /// How many leading bytes both have in common.
    func sharedPrefix(with other: Self) -> Int

    /// The eight bytes after the first `skipped` as a number that never contradicts the order of the keys.
    func head(skipping skipped: Int) -> UInt64
}

extension [UInt8]: TreeKey {
    @inline(__always)
    package func prefixOrder(against other: [UInt8], length: Int) -> Int {
        let common = Swift.min(count, length)
        if common > 0 {
            let difference = withUnsafeBytes { left in
                other.withUnsafeBytes { right in memcmp(left.baseAddress!, right.baseAddress!, common) }
            }
            if difference != 0 { return Int(difference) }
        }
        return count < length ? -1 : 0
    }

    @inline(__always)
    package func sharedPrefix(with other: [UInt8]) -> Int {
        withUnsafeBytes { left in
            other.withUnsafeBytes { right in
                let common = Swift.min(left.count, right.count)
                var position = 0
                while position < common, left[position] == right[position] { position += 1 }
                return position
            }
        }
    }

    @inline(__always)
    package func head(skipping skipped: Int) -> UInt64 {
        withUnsafeBytes { bytes in
            let left = bytes.count - skipped
            if left >= 8 { return UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: skipped, as: UInt64.self)) }
            var head: UInt64 = 0
            for position in 0..<Swift.max(left, 0) {
                head |= UInt64(bytes[skipped + position]) << UInt64(56 - 8 * position)
            }
            return head
        }
    }
}

extension UInt64: TreeKey {
    @inline(__always)
    package func order(against other: UInt64, skipping skipped: Int) -> Int {
        self < other ? -1 : self == other ? 0 : 1
    }

    @inline(__always)
    package func prefixOrder(against other: UInt64, length: Int) -> Int { 0 }

    @inline(__always)
    package func sharedPrefix(with other: UInt64) -> Int { 0 }

    @inline(__always)
    package func head(skipping skipped: Int) -> UInt64 { self }
}

/// Bytes, then a number among equal bytes: a key's versions, a lock's queue, a session's keys.
package struct NumberedKey: TreeKey {
    package var bytes: [UInt8]
    package var number: UInt64

    package init(_ bytes: [UInt8], _ number: UInt64) {
        self.bytes = bytes
        self.number = number
    }

    @inline(__always)
    package func order(against other: NumberedKey, skipping skipped: Int) -> Int {
        let order = bytes.order(against: other.bytes, skipping: Swift.min(skipped, bytes.count, other.bytes.count))
        return order != 0 ? order : number.order(against: other.number, skipping: 0)
    }

    // Equal bytes count as one byte more in common than there are: a node whose keys all have the same bytes compares
    // numbers, and one where some keys go on after those bytes compares what follows.

    @inline(__always)
    package func prefixOrder(against other: NumberedKey, length: Int) -> Int {
        let shared = Swift.min(length, other.bytes.count)
        let order = bytes.prefixOrder(against: other.bytes, length: shared)
        if order != 0 || length == shared { return order }
        return bytes.count > shared ? 1 : 0
    }

    @inline(__always)
    package func sharedPrefix(with other: NumberedKey) -> Int {
        let shared = bytes.sharedPrefix(with: other.bytes)
        return shared == bytes.count && shared == other.bytes.count ? shared + 1 : shared
    }

    @inline(__always)
    package func head(skipping skipped: Int) -> UInt64 {
        skipped > bytes.count ? number : bytes.head(skipping: skipped)
    }
}
