public import CacheCore
public import EsperTypes
public import RaftRuntime

/// The agreed part of the cache as the service needs it: what names stand for, and who the nodes are.
public protocol NameAuthority: AnyObject, Sendable {
    var nodeID: NodeID { get }

    /// Linearizable, at once and on any thread; nil when this node cannot know by itself, or may not tell `principal`.
    func binding(_ name: [UInt8], principal: String?) -> BindingLookup?

    /// What every name stands for at this moment, at once and on any thread; nil when this node cannot know by itself, or may
    /// not tell everybody.
    func picture() -> NamePicture?

    /// What this node has applied, true once.
    func staleBinding(_ name: [UInt8]) -> BindingLookup

    /// What this node has applied of the name, an eviction too; nil: it knows of nothing.
    func record(_ name: [UInt8]) -> Binding?

    /// As ``record(_:)``, of names above `first`, in order.
    func records(after first: [UInt8]?, limit: Int) -> [(name: [UInt8], binding: Binding)]

    /// The catalog has been told what names stand for as of this entry; nil: it is not told of names.
    func settled(deadline: Instant) async throws(CacheFailure) -> LogIndex?

    /// Linearizable; nil: nothing is bound.
    func look(_ name: [UInt8], principal: String, deadline: Instant) async throws(CacheFailure) -> Binding?

    /// - Returns: with the index of the entry that made the change, which is the version of what it left.
    func change(
        _ change: CacheChange, request: CacheRequestName?, principal: String, deadline: Instant
    ) async throws(CacheFailure) -> (result: CacheChangeResult, index: LogIndex)

    func list(
        prefix: [UInt8], after: [UInt8]?, limit: Int, principal: String, deadline: Instant
    ) async throws(CacheFailure) -> ListReply

    /// Every member of the cluster, this node too, in order of ID; from this node's own state.
    func members(deadline: Instant) async throws(CacheFailure) -> [CacheMember]

    /// The map of shards as this node has applied it, at once; nil: there is none yet.
    var appliedMap: ShardMap? { get }

    /// Has `changed` called each time that ``appliedMap`` is another; on any thread, and it returns at once. There is one such caller.
    func observeMap(_ changed: @escaping @Sendable () -> Void)

    /// The map after every change that anybody was told of, once a quorum has confirmed the leader in between.
    func confirmedMap(deadline: Instant) async throws(CacheFailure) -> ShardMap?

    /// Who leads, as far as this node knows; nil: nobody.
    func leadership(deadline: Instant) async -> CacheLeadership?

    /// - Parameter principal: who asks for it; nil: the node itself.
    func propose(
        _ command: MapCommand, principal: String?, deadline: Instant
    ) async throws(CacheFailure) -> MapReply
}

/// Who leads the cluster.
public struct CacheLeadership: Hashable, Sendable {
    public var leader: NodeID
    /// A node that leads at two moments of one term has led all the time between.
    public var term: UInt64
    /// An operator has drained the node that answers.
    public var isSetAside: Bool

    public init(leader: NodeID, term: UInt64, isSetAside: Bool = false) {
        self.leader = leader
        self.term = term
        self.isSetAside = isSetAside
    }
}

/// A node of the cluster that may hold blobs.
public struct CacheMember: Hashable, Sendable {
    public var id: NodeID
    public var name: String
    public var api: HostPort
    public var zone: String

    public init(id: NodeID, name: String, api: HostPort, zone: String = "") {
        self.id = id
        self.name = name
        self.api = api
        self.zone = zone
    }
}
