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
    let values: ValueBudget
    /// Set once, before the first connection.
    let loops = Mutex<[BoundLoop]>([])
    let logger: Logger
    private let users: Mutex<Users>

    private struct Users {
        var byName: [[UInt8]: RedisUser]
        var byCertificate: [String: RedisUser]

        init(_ users: [RedisUser]) {
            byName = Dictionary(users.map { (Array($0.name.utf8), $0) }) { first, _ in first }
            byCertificate = Dictionary(users.compactMap { user in user.certificate.map { ($0, user) } }) { first, _ in
                first
            }
        }
    }

    init(
        cache: any ArtifactCache, hashes: (any HashStore)?, options: RedisDoorOptions, clock: DoorClock,
        facts: DoorFacts, logger: Logger
    ) {
        self.cache = cache
        self.hashes = hashes
        start = clock.now()
        tracking = TrackingTable(limit: options.trackedKeys)
        values = ValueBudget(limit: options.valueBytes)
        self.options = options
        self.clock = clock
        self.facts = facts
        self.logger = logger
        users = Mutex(Users(options.users))
    }

    func update(_ users: [RedisUser]) { self.users.withLock { $0 = Users(users) } }

    /// Who a connection is before it says anything.
    ///
    /// - Parameter certificate: the name that TLS proved.
    func initialUser(certificate: String?) -> RedisUser? {
        users.withLock { users in
            if let certificate, let user = users.byCertificate[certificate] { return user }
            guard !users.byName.isEmpty else { return .anybody(certificate: certificate) }
            guard let user = users.byName[Array("default".utf8)], case .none = user.password else { return nil }
            return user
        }
    }

    /// Nil: there is nobody of this name.
    func user(named name: [UInt8]) -> RedisUser? { users.withLock { $0.byName[name] } }

    /// Whether anybody is told apart at all.
    var hasUsers: Bool { users.withLock { !$0.byName.isEmpty } }
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
