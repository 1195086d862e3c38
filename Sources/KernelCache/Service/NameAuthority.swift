public import CacheCore
public import EsperTypes

/// The agreed part of the cache as the service needs it: what names stand for, and who the nodes are.
public protocol NameAuthority: AnyObject, Sendable {
    var nodeID: NodeID { get }

    /// Linearizable, at once and on any thread; nil when this node cannot know by itself, or may not tell `principal`.
    func binding(_ name: [UInt8], principal: String?) -> BindingLookup?

    /// What this node has applied, true once.
    func staleBinding(_ name: [UInt8]) -> BindingLookup

    /// Linearizable; nil: nothing is bound.
    func look(_ name: [UInt8], principal: String, deadline: Instant) async throws(CacheFailure) -> Binding?

    func change(
        _ change: CacheChange, request: StoreRequest.RequestName?, principal: String, deadline: Instant
    ) async throws(CacheFailure) -> CacheChangeResult

    func list(
        prefix: [UInt8], after: [UInt8]?, limit: Int, principal: String, deadline: Instant
    ) async throws(CacheFailure) -> ListReply

    /// Every member of the cluster, this node too, in order of ID; from this node's own state.
    func members(deadline: Instant) async throws(CacheFailure) -> [CacheMember]

    /// The map of shards as this node has it; nil: there is none yet.
    func shardMap(deadline: Instant) async throws(CacheFailure) -> ShardMap?
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
