/// SHA-256 of some bytes: the name of an immutable blob. Ordered as its bytes are.
public struct Digest: Hashable, Comparable, Sendable, CustomStringConvertible, LosslessStringConvertible {
    public static let byteCount = 32

    // Big-endian words, so that comparing them compares the bytes.
    @usableFromInline let words: (UInt64, UInt64, UInt64, UInt64)

    /// - Parameter bytes: exactly 32; nil for any other number.
    @inlinable
    public init?(bytes: some Collection<UInt8>) {
        guard bytes.count == Self.byteCount else { return nil }
        var words: [UInt64] = [0, 0, 0, 0]
        for (position, byte) in bytes.enumerated() { words[position / 8] = words[position / 8] << 8 | UInt64(byte) }
        self.words = (words[0], words[1], words[2], words[3])
    }

    @inlinable
    public init(words first: UInt64, _ second: UInt64, _ third: UInt64, _ fourth: UInt64) {
        words = (first, second, third, fourth)
    }

    /// 64 hexadecimal digits.
    public init?(_ description: String) {
        let digits = Array(description.utf8)
        guard digits.count == 2 * Self.byteCount else { return nil }
        var bytes: [UInt8] = []
        for position in stride(from: 0, to: digits.count, by: 2) {
            guard let high = Self.value(ofDigit: digits[position]), let low = Self.value(ofDigit: digits[position + 1])
            else { return nil }
            bytes.append(high << 4 | low)
        }
        self.init(bytes: bytes)
    }

    private static func value(ofDigit digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
        default: nil
        }
    }

    public var bytes: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Self.byteCount)
        for word in [words.0, words.1, words.2, words.3] {
            for shift in stride(from: 56, through: 0, by: -8) { bytes.append(UInt8(truncatingIfNeeded: word >> shift)) }
        }
        return bytes
    }

    /// The first eight bytes as a big-endian number: uniform, since SHA-256 is.
    @inlinable
    public var prefix: UInt64 { words.0 }

    /// Eight of the bytes, from `8 * position` on, as a big-endian number.
    @inlinable
    public func word(_ position: Int) -> UInt64 {
        switch position {
        case 0: words.0
        case 1: words.1
        case 2: words.2
        default: words.3
        }
    }

    @inlinable
    public static func == (left: Digest, right: Digest) -> Bool { left.words == right.words }

    @inlinable
    public static func < (left: Digest, right: Digest) -> Bool { left.words < right.words }

    // Uniform by itself: one word is enough.
    @inlinable
    public func hash(into hasher: inout Hasher) { hasher.combine(words.0) }

    /// 64 lower-case hexadecimal digits.
    public var description: String { Hexadecimal.text(bytes) }
}

extension ByteWriter {
    /// 32 bytes without a length.
    public mutating func write(_ digest: Digest) {
        for word in [digest.words.0, digest.words.1, digest.words.2, digest.words.3] { write(word.bigEndian) }
    }
}

extension ByteReader {
    public mutating func readDigest() throws(DecodingError) -> Digest {
        Digest(
            words: UInt64(bigEndian: try read()), UInt64(bigEndian: try read()), UInt64(bigEndian: try read()),
            UInt64(bigEndian: try read()))
    }
}

/// One of the parts into which digests are divided for placement: the first ten bits of the digest.
public struct ShardID: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// How many there are; fixed when a cluster is made, and the same for all.
    public static let count = 1024

    public let rawValue: UInt16

    /// - Parameter rawValue: below ``count``.
    @inlinable
    public init?(_ rawValue: Int) {
        guard rawValue >= 0, rawValue < Self.count else { return nil }
        self.rawValue = UInt16(rawValue)
    }

    @inlinable
    public init(of digest: Digest) { rawValue = UInt16(truncatingIfNeeded: digest.prefix >> 54) }

    @inlinable
    public static func < (left: ShardID, right: ShardID) -> Bool { left.rawValue < right.rawValue }

    public var description: String { String(rawValue) }
}
