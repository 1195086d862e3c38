import Crypto
import CryptoExtras
import FoundationEssentials

/// A password as it is kept: PBKDF2 with HMAC-SHA-256 over a salt of its own.
///
/// Sixteen bytes of salt, four of the number of rounds (big endian), thirty-two of the key.
package struct PasswordHash {
    /// What a guess costs; OWASP's figure of 2023.
    private static let rounds: UInt32 = 600_000
    private static let saltBytes = 16
    private static let keyBytes = 32

    package let bytes: [UInt8]

    package init(of password: String) throws {
        var random = SystemRandomNumberGenerator()
        let salt = (0..<Self.saltBytes).map { _ in UInt8.random(in: .min ... .max, using: &random) }
        bytes = salt + Self.written(Self.rounds) + (try Self.key(password, salt, Self.rounds))
    }

    /// - Returns: nil for what no password was made to.
    package init?(bytes: [UInt8]) {
        guard bytes.count == Self.saltBytes + 4 + Self.keyBytes else { return nil }
        self.bytes = bytes
    }

    /// Matches nothing, and takes as long to say so.
    package static let nobody = PasswordHash(unmatched: [UInt8](repeating: 0, count: saltBytes) + written(rounds))

    private init(unmatched head: [UInt8]) { bytes = head + [UInt8](repeating: 0, count: Self.keyBytes) }

    package func matches(_ password: String) -> Bool {
        let salt = Array(bytes[..<Self.saltBytes])
        let rounds = bytes[Self.saltBytes..<Self.saltBytes + 4].reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
        guard let key = try? Self.key(password, salt, rounds) else { return false }
        // Every byte is looked at, so that the time tells nothing.
        return zip(key, bytes.suffix(Self.keyBytes)).reduce(UInt8(0)) { $0 | ($1.0 ^ $1.1) } == 0
    }

    private static func written(_ rounds: UInt32) -> [UInt8] {
        (0..<4).map { UInt8(truncatingIfNeeded: rounds >> (24 - 8 * $0)) }
    }

    private static func key(_ password: String, _ salt: [UInt8], _ rounds: UInt32) throws -> [UInt8] {
        try KDF.Insecure.PBKDF2.deriveKey(
            from: Data(password.utf8), salt: salt, using: .sha256, outputByteCount: keyBytes, rounds: Int(rounds)
        ).withUnsafeBytes { Array($0) }
    }
}
