public import CacheCore
public import EsperTypes

/// The version of Redis whose behaviour the door follows, as `HELLO` and `INFO` say it. redis-py's client-side cache asks for
/// 7.4 at least.
package let followedRedisVersion = "7.4.0"

/// Who may use the door, where it stands, and its bounds.
public struct RedisDoorOptions: Sendable {
    public var host: String
    /// 0: one that the system chooses.
    public var port: Int
    /// Without any, everybody who can connect is the user `default` of the tenant `default`.
    public var users: [RedisUser]
    public var maximumConnections = 10_000
    /// One argument, and so one value.
    public var maximumBulkBytes = 512 << 20
    /// One request with all its arguments; beyond, its connection is closed.
    public var maximumRequestBytes = 1 << 30
    /// Values of all connections together that are on their way in or out, up to 2 GiB; what does not fit is refused.
    public var valueBytes = 1 << 30
    /// Requests of one connection that wait for an answer from elsewhere; more wait in its socket.
    public var maximumOutstanding = 256
    /// Answers that a client has not read; more are not made until it reads.
    public var outputBytes = 1 << 20
    /// Invalidations that a client has not read; beyond, its connection is closed.
    public var pushBytes = 8 << 20
    /// How long a request may take until its connection is closed; large values get more, see ``bytesPerSecond``.
    public var answerWithin: Duration = .seconds(1)
    public var bytesPerSecond = 16 << 20
    /// How long a client may leave an answer unread.
    public var unreadWithin: Duration = .seconds(60)
    /// Keys that are remembered for clients which keep copies; the oldest beyond are invalidated.
    public var trackedKeys = 1_000_000

    public init(host: String, port: Int, users: [RedisUser] = []) {
        self.host = host
        self.port = port
        self.users = users
    }
}

/// A name and password, or a certificate, and what it stands for.
public struct RedisUser: Sendable {
    public enum Kind: String, Sendable, CaseIterable {
        /// What is lost can be made again: writes are never refused, reads that cannot be answered find nothing.
        case cache
        /// What is acknowledged is kept; what cannot be done is answered with an error.
        case store
    }

    /// What reads are answered with where nothing confirms what a name stands for: the node has no lease and reaches no quorum.
    public enum Consistency: String, Sendable, CaseIterable {
        /// As what cannot be done.
        case linearizable
        /// What the node knew last.
        case stale
    }

    public struct Rights: OptionSet, Sendable {
        public let rawValue: UInt8
        public init(rawValue: UInt8) { self.rawValue = rawValue }
        public static let read = Rights(rawValue: 1)
        public static let write = Rights(rawValue: 2)
    }

    public enum Password: Sendable {
        case none
        /// SHA-256 of it, as in Redis's ACL files after `#`.
        case sha256(Digest)
        /// Only a certificate proves this user.
        case impossible
    }

    public var name: String
    public var password: Password
    /// The name in the client's certificate, such as `client/alice`, that proves it without a password.
    public var certificate: String?
    /// The first part of every name this user can touch.
    public var tenant: String
    public var kind: Kind
    public var rights: Rights
    public var mode: StoreMode
    public var consistency: Consistency

    public init(
        name: String, password: Password = .none, certificate: String? = nil, tenant: String, kind: Kind = .cache,
        rights: Rights = [.read, .write], mode: StoreMode? = nil, consistency: Consistency = .linearizable
    ) {
        self.name = name
        self.password = password
        self.certificate = certificate
        self.tenant = tenant
        self.kind = kind
        self.rights = rights
        self.mode = mode ?? Self.usualMode(of: kind)
        self.consistency = consistency
    }

    /// How values are kept unless a tenant says otherwise.
    public static func usualMode(of kind: Kind) -> StoreMode { kind == .cache ? .memory : .durable }

    /// Whoever connects where no user is configured; with a certificate, what he writes bears its name.
    static func anybody(certificate: String?) -> RedisUser {
        RedisUser(name: "default", certificate: certificate, tenant: "default")
    }
}
