import CacheCore
public import EsperTypes
import KernelCache
import Logging
import Synchronization

/// What every connection of a door shares. Immutable, or of parts that guard themselves.
final class DoorContext: Sendable {
    let cache: any ArtifactCache
    let options: RedisDoorOptions
    let clock: DoorClock
    let facts: DoorFacts
    let totals = DoorTotals()
    let metrics = RedisDoorMetrics()
    let tracking: TrackingTable
    let start: Instant
    let cursors = ScanCursors()
    let hashes: (any HashStore)?
    /// Set once, before the first connection.
    let loops = Mutex<[BoundLoop]>([])
    let logger: Logger
    private let users: [[UInt8]: RedisUser]
    private let certificates: [String: RedisUser]

    init(
        cache: any ArtifactCache, hashes: (any HashStore)?, options: RedisDoorOptions, clock: DoorClock,
        facts: DoorFacts, logger: Logger
    ) {
        self.cache = cache
        self.hashes = hashes
        start = clock.now()
        tracking = TrackingTable(limit: options.trackedKeys)
        self.options = options
        self.clock = clock
        self.facts = facts
        self.logger = logger
        users = Dictionary(options.users.map { (Array($0.name.utf8), $0) }) { first, _ in first }
        certificates = Dictionary(
            options.users.compactMap { user in user.certificate.map { ($0, user) } }
        ) { first, _ in first }
    }

    /// Who a connection is before it says anything.
    ///
    /// - Parameter certificate: the name that TLS proved.
    func initialUser(certificate: String?) -> RedisUser? {
        if let certificate, let user = certificates[certificate] { return user }
        guard !options.users.isEmpty else { return .anybody }
        guard let user = users[Array("default".utf8)], case .none = user.password else { return nil }
        return user
    }

    func user(named name: [UInt8]) -> RedisUser? { options.users.isEmpty ? nil : users[name] }
}

/// The clocks, as the composition has them.
public struct DoorClock: Sendable {
    public var now: @Sendable () -> Instant
    /// Nanoseconds since 1970: what expiry is measured against.
    public var wall: @Sendable () -> UInt64

    public init(now: @escaping @Sendable () -> Instant, wall: @escaping @Sendable () -> UInt64) {
        self.now = now
        self.wall = wall
    }
}

/// What `INFO` says about the node beside the door's own numbers.
public struct DoorFacts: Sendable {
    public var esperVersion: String
    public var nodeName: String
    public var nodeID: UInt64
    public var clusterID: String
    /// Bytes in the cache's memory, and how many it may hold.
    public var memory: @Sendable () -> (used: Int, limit: Int)

    public init(
        esperVersion: String, nodeName: String, nodeID: UInt64, clusterID: String,
        memory: @escaping @Sendable () -> (used: Int, limit: Int) = { (0, 0) }
    ) {
        self.esperVersion = esperVersion
        self.nodeName = nodeName
        self.nodeID = nodeID
        self.clusterID = clusterID
        self.memory = memory
    }
}
