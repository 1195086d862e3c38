/// Who a certificate speaks for: `spiffe://<trust-domain>/node/<name>` or `spiffe://<trust-domain>/client/<name>`.
///
/// The trust domain is a setting of the cluster (`esper.local` unless told otherwise); the name is a node's or a
/// client's, unique within its role. Equality is equality of bytes: the parser accepts one spelling of each identity.
/// Source: SPIFFE-ID specification, sections 2.1 to 2.4, narrowed to our two shapes of path.
public struct SPIFFEID: Hashable, Sendable, CustomStringConvertible {
    /// What the holder may do: a node talks to its peers and serves the API, a client only calls the API.
    public enum Role: String, Hashable, Sendable, CaseIterable {
        case node
        case client
    }

    /// Why a text is no identity of ours.
    public enum ParseError: Error, Hashable, Sendable {
        /// It does not begin with `spiffe://`.
        case notSPIFFE
        /// The trust domain is empty, too long or has a character outside `a-z 0-9 . - _`.
        case trustDomain
        /// The path is not `/node/<name>` or `/client/<name>`.
        case path
        /// The name is empty, too long, a dot segment or has a character outside `A-Z a-z 0-9 . - _`.
        case name
    }

    /// The longest trust domain the specification allows.
    public static let trustDomainBytes = 255

    /// The longest name: a common name in a certificate's subject holds 64 characters (RFC 5280, appendix A.1).
    public static let nameBytes = 64

    public let trustDomain: String
    public let role: Role
    public let name: String

    /// - Throws: ``ParseError/trustDomain`` or ``ParseError/name`` when the part does not keep its alphabet or length.
    public init(trustDomain: String, role: Role, name: String) throws(ParseError) {
        guard Self.isTrustDomain(trustDomain.utf8[...]) else { throw .trustDomain }
        guard Self.isName(name.utf8[...]) else { throw .name }
        self.trustDomain = trustDomain
        self.role = role
        self.name = name
    }

    /// Reads the one spelling that ``description`` writes. Total: any text is either an identity or an error.
    public init(_ text: String) throws(ParseError) {
        let prefix = "spiffe://"
        guard text.utf8.starts(with: prefix.utf8) else { throw .notSPIFFE }
        let parts = text.utf8.dropFirst(prefix.utf8.count).split(
            separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
        guard let domain = parts.first, Self.isTrustDomain(domain) else { throw .trustDomain }
        guard parts.count == 3, let role = Role(rawValue: String(Substring(parts[1]))) else { throw .path }
        guard Self.isName(parts[2]) else { throw .name }
        trustDomain = String(Substring(domain))
        self.role = role
        name = String(Substring(parts[2]))
    }

    public var description: String { "spiffe://\(trustDomain)/\(role.rawValue)/\(name)" }

    /// Whether a setting may be used as the trust domain of a cluster.
    public static func isTrustDomain(_ text: String) -> Bool { isTrustDomain(text.utf8[...]) }

    private static func isTrustDomain(_ bytes: Substring.UTF8View) -> Bool {
        (1...trustDomainBytes).contains(bytes.count)
            && bytes.allSatisfy { isDigit($0) || isLower($0) || isPunctuation($0) }
    }

    private static func isName(_ bytes: Substring.UTF8View) -> Bool {
        guard (1...nameBytes).contains(bytes.count) else { return false }
        guard bytes.contains(where: { $0 != UInt8(ascii: ".") }) else { return false }
        return bytes.allSatisfy { isDigit($0) || isLower($0) || isUpper($0) || isPunctuation($0) }
    }

    private static func isDigit(_ byte: UInt8) -> Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) }
    private static func isLower(_ byte: UInt8) -> Bool { (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) }
    private static func isUpper(_ byte: UInt8) -> Bool { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte) }
    private static func isPunctuation(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: ".") || byte == UInt8(ascii: "-") || byte == UInt8(ascii: "_")
    }
}
