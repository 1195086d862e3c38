/// Bounds of the state machine. Replicas must agree on them: changing one is a change of the command format's version.
public enum CoordinationLimits {
    /// Claims of each lock in a list of locks, the holder's included.
    public static let listedClaims = 16
    /// A lock's or election's name. Escaping at most triples it; with prefix and session it fits ``Limits/keyBytes``:
    /// 3 * 1024 + 10 + 17 < 4096.
    public static let nameBytes = 1024

    /// Shorter sessions would expire in an election; longer ones are no sessions.
    public static let minimumTTL = Duration.milliseconds(100)
    public static let maximumTTL = Duration.seconds(24 * 3600)
    /// Of a session that chose its ID, as etcd's leases do: theirs.
    public static let maximumChosenTTL = Duration.seconds(9_000_000_000)

    /// What a session may be labelled with; a hundred thousand labelled sessions take 25 MiB more.
    public static let labelBytes = 256

    /// Sessions one expiry command ends: with 8 bytes each they fill half an entry at most.
    public static let sessionsPerExpiry = 4096

    public static let transactionDepth = 4
    /// The answer of one transaction, keys and values; it may be kept for retries.
    public static let transactionReplyBytes = 1 << 20

    /// Answers kept per client, clients kept, and bytes of answers kept over all clients.
    public static let repliesPerClient = 256
    public static let clients = 65_536
    public static let replyBytes = 64 << 20

    /// As many members as a configuration may have, and as many bytes as a certificate's name and a host name may.
    public static let members = 64
    public static let memberNameBytes = 64
    public static let memberHostBytes = 253

    /// Join tokens that have not expired, and nodes that may join by one; a full table takes 2 MiB at most.
    public static let joinTokens = 256
    public static let joinTokenUses = 64
    public static let minimumJoinTokenTTL = Duration.seconds(1)
    public static let maximumJoinTokenTTL = Duration.seconds(7 * 24 * 3600)
    /// Of SHA-256.
    public static let digestBytes = 32

    /// Users, roles and permissions, as ``AuthTable`` counts them; and what a door makes of one password.
    public static let authBytes = 8 << 20
    public static let passwordHashBytes = 1024

    public static let auditedPrefixes = 64
    public static let principalBytes = 512
    public static let noteBytes = 8 << 10

    /// A snapshot is written and checked in frames of about this size.
    public static let snapshotFrameBytes = 256 << 10
}
