public import CacheCore
import EsperTypes

/// How a node's cache behaves; what has no meaning for other nodes.
public struct CacheOptions: Sendable {
    public var node = ""
    /// Copies of a blob in the cluster.
    public var copies = 2
    public var limits = RetrievalPlan.Limits()
    /// No load takes longer, whatever its callers' deadlines.
    public var loadLimit: Duration = .seconds(15)
    public var maximumLoads = 16_384
    /// Of one blob, or of one name that is being made.
    public var maximumWaiters = 16_384
    /// A retrieval brings all blobs of an artifact up to this size, and checks that those of a larger one are there.
    public var prefetchBytes: UInt64 = 8 << 20
    public var tokens = CompileTokens.Settings()
    /// How long a blob that nothing refers to is kept: longer than the longest store takes.
    public var garbageGrace: Duration = .seconds(24 * 3600)
    public var garbageInterval: Duration = .seconds(3600)
    /// Between two pages of what an outer tier has, while garbage is looked for there.
    public var listPause: Duration = .seconds(1)
    public var listedBlobs = 1000
    /// Of all copies, how much is hashed again in a day: 0.01 is one of a hundred; 0: nothing.
    public var scrubShare = 0.01
    public var scrubInterval: Duration = .seconds(600)
    /// How often a node compares the shards that it holds with other nodes and tiers, give or take a quarter; 0: never by itself.
    public var syncInterval: Duration = .seconds(3600)
    /// How often the auditor looks, and at how many names each time.
    public var auditInterval: Duration = .seconds(60)
    public var auditedNames = 32
    /// How long a collection of garbage may take, from its first question to the last deletion that it sends.
    public var collectionTime: Duration = .seconds(5 * 60)
    /// How long stores wait at most for a deletion that nobody has heard of again: S3 refuses requests that were signed a quarter of an
    /// hour ago, by its own clock, which may be a quarter of an hour off. 5 + 15 + 15 minutes, and 5 for clocks of different rates.
    public var condemnation: Duration = .seconds(40 * 60)
    /// How long a change of a name that was asked for may take to happen when nobody hears of it: so long what it refers to stays held, and
    /// so long after its start a node lets nothing go.
    public var settling: Duration = .seconds(5 * 60)
    /// How long what `add` took is held for its store.
    public var addHold: Duration = .seconds(3600)
    /// Of warming, when the request does not say.
    public var warmBytesPerSecond: UInt64 = 32 << 20
    /// How often the list of what is to be in memory again after a start is written, and how long it is at most.
    public var hotListInterval: Duration = .seconds(60)
    public var hotListEntries = 1 << 18
    /// How long copies wait for holders that do not answer, or that know another map.
    public var copyLimit: Duration = .seconds(5)
    public var seed: UInt64 = 0

    // MARK: Placement

    /// Of this node's share of the shards, relative to the others'; 0: none.
    public var weight: UInt32 = 100
    /// Bytes a second that moves may bring to this node; nil: what the map of shards says. The lower of the two holds.
    public var moveRate: UInt64?
    /// How long a node acts on its map after it was heard; how long the others wait for one that is silent.
    public var nodeLease: Duration = .seconds(2)
    public var moves: RebalanceDriver.Options = {
        var options = RebalanceDriver.Options()
        options.replanInterval = .seconds(5)
        return options
    }()
    /// Moves are slowed while reads from peers, or reports to the leader, take longer than this; or while the cache of the node that gets or
    /// of one that gives is used, and its threads wait longer than this on average before they run.
    public var slowestPeerRead: Duration = .milliseconds(100)
    public var slowestReport: Duration = .milliseconds(250)
    public var longestProcessorWait: Duration = .microseconds(60)
    /// Before what did not work is tried again, or looked at that nobody tells of.
    public var movePause: Duration = .milliseconds(10)
    /// Between two looks at what there is to do when nothing tells that there is.
    public var restPause: Duration = .milliseconds(100)

    public init() {}
}
