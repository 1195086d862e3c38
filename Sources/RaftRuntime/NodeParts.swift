public import Coordination
public import EsperTypes
public import FoundationEssentials
public import Identity
public import Logging
public import PeerTransport
public import RaftStorage

/// Everything a node's runtime is built from; made by the composition root.
public struct NodeParts: Sendable {
    public var name: String
    public var version: String
    public var members: [ClusterMember]
    public var directory: DataDirectory
    public var recovery: DataDirectory.Recovery
    /// Restored from the recovered snapshot; empty without one.
    public var state: StateMachine
    /// What the recovered log leads to beyond `state`.
    public var replay: StateReplay?
    public var credentials: TLSCredentials
    public var settings: CoordinationSettings
    public var options: RuntimeOptions
    public var peerOptions: PeerOptions
    /// Drawn anew at every start: seeds jitter and names this life of the process in proposals.
    public var seed: UInt64
    public var logger: Logger
    /// The wall clock against which certificates are judged.
    public var date: @Sendable () -> Date

    public init(
        name: String, version: String, members: [ClusterMember], directory: DataDirectory,
        recovered: RecoveredNode, credentials: TLSCredentials,
        settings: CoordinationSettings, options: RuntimeOptions, peerOptions: PeerOptions, seed: UInt64,
        logger: Logger, date: @escaping @Sendable () -> Date
    ) {
        self.name = name
        self.version = version
        self.members = members
        self.directory = directory
        recovery = recovered.log
        state = recovered.state
        replay = recovered.replay
        self.credentials = credentials
        self.settings = settings
        self.options = options
        self.peerOptions = peerOptions
        self.seed = seed
        self.logger = logger
        self.date = date
    }
}

/// Told about what concerns more than one request; called on the core loop and must not block it.
public protocol NodeObserver: AnyObject, Sendable {
    /// This node leads in the given term, or leads no more.
    func leadershipChanged(_ term: Term?)
    /// Whether work may be sent here has changed; until the first call it may not.
    func readinessChanged(_ readiness: Readiness)
    /// The log has failed: the process must stop.
    func storageFailed(_ error: StorageError)
    /// A peer has another state than this node, in words for an operator; nil when none that is known has.
    func statesCompared(difference: String?)
    /// This node has another state than the majority of the voters: the process must stop.
    func stateDiverged(_ difference: StateDifference)
    /// The outbox has something for the catalog.
    func outboxGrew()
    /// Names of the cache stand for something else on this node from now on; nil: any may. Whoever looks one up after the
    /// call finds what is told here, or something newer.
    func namesChanged(_ names: [NamedBinding]?)
}
