internal import Crypto
public import EsperTypes
internal import FoundationEssentials

/// What an operator hands to a new host: where to join, whom to trust there, and a secret that lets it in.
///
///     esper-join-1.<base64url of: id, secret, fingerprint, cluster, expiry, endpoints, CRC-32C>
///
/// The cluster keeps a digest of the secret alone; whoever made the token has it, and then the host. See
/// docs/formats/join.md.
public struct JoinToken: Hashable, Sendable {
    /// Names the token in lists and logs.
    public let id: JoinTokenID
    /// 32 random bytes.
    public let secret: [UInt8]
    /// SHA-256 over the DER form of the cluster's authority's certificate.
    public let authorityFingerprint: [UInt8]
    public let cluster: ClusterID
    /// In seconds since 1970. A hint for whoever holds it: the cluster goes by what it keeps itself.
    public let expires: UInt64
    /// Where nodes that can sign certificates listen for those who join.
    public let endpoints: [HostPort]

    public static let secretBytes = 32
    public static let maximumEndpoints = 8
    static let prefix = "esper-join-"
    static let format = "1."
    /// A host name has 253 bytes at most: 8 of them and the rest take 2,300, a third more in base64.
    static let maximumCharacters = 4096

    public init(
        id: JoinTokenID, secret: [UInt8], authorityFingerprint: [UInt8], cluster: ClusterID, expires: UInt64,
        endpoints: [HostPort]
    ) {
        precondition(secret.count == Self.secretBytes, "a secret of \(secret.count) bytes")
        precondition(
            authorityFingerprint.count == SHA256.byteCount, "a fingerprint of \(authorityFingerprint.count) bytes")
        precondition((1...Self.maximumEndpoints).contains(endpoints.count), "\(endpoints.count) endpoints")
        self.id = id
        self.secret = secret
        self.authorityFingerprint = authorityFingerprint
        self.cluster = cluster
        self.expires = expires
        self.endpoints = endpoints
    }

    /// What the cluster keeps of a secret: it has 256 random bits, so a plain hash gives nothing away.
    public static func digest(of secret: [UInt8]) -> [UInt8] { Array(SHA256.hash(data: secret)) }
}

/// Why a text is no join token.
public enum JoinTokenError: Error, Hashable, Sendable, CustomStringConvertible {
    case notAToken
    case newerFormat
    /// Cut off, mistyped or made by hand.
    case damaged

    public var description: String {
        switch self {
        case .notAToken: "this is no join token: one begins with \(JoinToken.prefix)\(JoinToken.format)"
        case .newerFormat: "the join token is of a newer version than this program"
        case .damaged: "the join token is damaged: copy it whole, or make another one"
        }
    }
}

extension JoinToken {
    /// The token as it is handed over. Secret.
    public var text: String {
        var writer = ByteWriter(capacity: 160)
        writer.write(id)
        secret.withUnsafeBytes { writer.append($0) }
        authorityFingerprint.withUnsafeBytes { writer.append($0) }
        writer.write(cluster)
        writer.write(expires)
        writer.write(array: endpoints) {
            $0.write($1.host)
            $0.write(UInt16(clamping: $1.port))
        }
        writer.write(CRC32C.checksum(writer.bytes))
        return Self.prefix + Self.format + Base64URL.encoded(writer.bytes)
    }

    /// Reads the one spelling that ``text`` writes; blanks around it are passed over.
    public init(_ written: String) throws(JoinTokenError) {
        let text = written.drop { $0.isWhitespace }.reversed().drop { $0.isWhitespace }.reversed()
        let token = String(text)
        guard token.hasPrefix(Self.prefix) else { throw .notAToken }
        guard token.hasPrefix(Self.prefix + Self.format) else {
            let version = token.dropFirst(Self.prefix.count).prefix { $0.isNumber }
            throw version.isEmpty ? .notAToken : .newerFormat
        }
        guard token.utf8.count <= Self.maximumCharacters,
            let bytes = Base64URL.decoded(token.dropFirst(Self.prefix.count + Self.format.count)), bytes.count > 4
        else { throw .damaged }
        var reader = ByteReader(bytes)
        do throws(DecodingError) {
            try self.init(from: &reader, checksum: CRC32C.checksum(Array(bytes.dropLast(4))))
        } catch {
            throw .damaged
        }
    }

    private init(from reader: inout ByteReader, checksum: UInt32) throws(DecodingError) {
        id = try reader.read()
        secret = try reader.readRaw(Self.secretBytes)
        authorityFingerprint = try reader.readRaw(SHA256.byteCount)
        cluster = try reader.read()
        expires = try reader.read()
        endpoints = try reader.readArray(atMost: Self.maximumEndpoints) { reader throws(DecodingError) in
            HostPort(host: try reader.readString(atMost: 253), port: Int(try reader.read(UInt16.self)))
        }
        let written = try reader.read(UInt32.self)
        try reader.finish()
        guard written == checksum, !endpoints.isEmpty else { throw .unknownTag(UInt64(written)) }
    }
}

extension JoinToken: CustomStringConvertible, CustomDebugStringConvertible {
    /// Without the secret, so that no log gets it by accident.
    public var description: String { "join token \(id)" }
    public var debugDescription: String { description }
}

/// Base64 in the alphabet for URLs, without padding (RFC 4648, section 5): a token can be selected with two clicks.
enum Base64URL {
    static func encoded(_ bytes: [UInt8]) -> String {
        String(
            Data(bytes).base64EncodedString().compactMap { character in
                switch character {
                case "+": "-"
                case "/": "_"
                case "=": nil
                default: character
                }
            })
    }

    static func decoded(_ text: Substring) -> [UInt8]? {
        var standard = ""
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "-"): standard += "+"
            case UInt8(ascii: "_"): standard += "/"
            case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "a")...UInt8(ascii: "z"):
                standard.unicodeScalars.append(UnicodeScalar(byte))
            default: return nil
            }
        }
        standard += String(repeating: "=", count: (4 - standard.utf8.count % 4) % 4)
        guard let bytes = Data(base64Encoded: standard).map({ [UInt8]($0) }), encoded(bytes) == text else { return nil }
        return bytes
    }
}
