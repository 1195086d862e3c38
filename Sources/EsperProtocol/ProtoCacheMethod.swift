/// The methods of the kernel cache's service, by number: what its door switches over, and what its method table is filled with.
///
/// The numbers mean nothing outside one process; the wire carries ``path``.
public enum ProtoCacheMethod: Int, CaseIterable, Sendable {
    case retrieve, store, findMissing, evict, list, warm, sync, stat, reportFailure, renewToken, shardMap, rebalance

    /// `/package.Service/Method`, as it stands in the `:path` of a call.
    public var path: String {
        switch self {
        case .retrieve: "/esper.v1.Cache/Retrieve"
        case .store: "/esper.v1.Cache/Store"
        case .findMissing: "/esper.v1.Cache/FindMissing"
        case .evict: "/esper.v1.Cache/Evict"
        case .list: "/esper.v1.Cache/List"
        case .warm: "/esper.v1.Cache/Warm"
        case .sync: "/esper.v1.Cache/Sync"
        case .stat: "/esper.v1.Cache/Stat"
        case .reportFailure: "/esper.v1.Cache/ReportFailure"
        case .renewToken: "/esper.v1.Cache/RenewToken"
        case .shardMap: "/esper.v1.Cache/ShardMap"
        case .rebalance: "/esper.v1.Cache/Rebalance"
        }
    }
}
