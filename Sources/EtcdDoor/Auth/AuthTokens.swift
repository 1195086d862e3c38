package import Coordination
import Crypto
import EsperTypes
import FoundationEssentials

/// Tokens that say who a caller is: signed by a secret that every node knows, so that any of them can check one that
/// another has made, and nothing is kept.
///
///     NAME(base64) . GENERATION . EXPIRY . HMAC-SHA256
///
/// One dies at its expiry, and before that when its user's password changes, the user is deleted, or auth is enabled
/// anew.
package struct AuthTokens {
    static let secretBytes = 32
    /// A client that is told that its token is no good asks for another.
    private static let lifetime: UInt64 = 24 * 3600

    private let table: AuthTable

    package init(_ table: AuthTable) { self.table = table }

    /// - Parameter now: nanoseconds since 1970.
    package func token(for user: AuthUser, at now: UInt64) -> String {
        let name = Data(user.name.utf8).base64EncodedString()
        let claim = "\(name).\(user.generation).\(now / 1_000_000_000 + Self.lifetime)"
        return claim + "." + Self.hexadecimal(signature(of: claim))
    }

    /// The name of the user whose token it is; nil when it is no good any more, or never was.
    package func user(of token: String, at now: UInt64) -> String? {
        let parts = token.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 4, let signature = Self.bytes(parts[3]) else { return nil }
        let claim = parts[0..<3].joined(separator: ".")
        guard
            HMAC<SHA256>.isValidAuthenticationCode(
                signature, authenticating: Data(claim.utf8), using: SymmetricKey(data: table.secret)),
            let name = Data(base64Encoded: String(parts[0])).map({ String(decoding: $0, as: UTF8.self) }),
            let generation = UInt64(parts[1]), let expiry = UInt64(parts[2]), now / 1_000_000_000 < expiry,
            let user = table.user(name), user.generation == generation
        else { return nil }
        return name
    }

    private func signature(of claim: String) -> [UInt8] {
        Array(HMAC<SHA256>.authenticationCode(for: Data(claim.utf8), using: SymmetricKey(data: table.secret)))
    }

    private static func hexadecimal(_ bytes: [UInt8]) -> String {
        bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    }

    private static func bytes(_ digits: Substring) -> [UInt8]? {
        guard digits.utf8.count % 2 == 0 else { return nil }
        var bytes: [UInt8] = []
        var rest = digits
        while !rest.isEmpty {
            guard let byte = UInt8(rest.prefix(2), radix: 16) else { return nil }
            bytes.append(byte)
            rest = rest.dropFirst(2)
        }
        return bytes
    }
}
