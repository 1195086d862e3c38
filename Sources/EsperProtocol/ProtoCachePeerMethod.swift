/// The methods by which nodes exchange blobs, by number.
///
/// The numbers mean nothing outside one process; the wire carries ``path``.
public enum ProtoCachePeerMethod: Int, CaseIterable, Sendable {
    case findMissing, push, fetch, digestsOfShard, token, summaries, hottest, report, compare, progress, condemn,
        bindings

    /// `/package.Service/Method`, as it stands in the `:path` of a call.
    public var path: String {
        switch self {
        case .findMissing: "/esper.v1.CachePeer/FindMissing"
        case .push: "/esper.v1.CachePeer/Push"
        case .fetch: "/esper.v1.CachePeer/Fetch"
        case .digestsOfShard: "/esper.v1.CachePeer/DigestsOfShard"
        case .token: "/esper.v1.CachePeer/Token"
        case .summaries: "/esper.v1.CachePeer/Summaries"
        case .hottest: "/esper.v1.CachePeer/Hottest"
        case .report: "/esper.v1.CachePeer/Report"
        case .compare: "/esper.v1.CachePeer/Compare"
        case .progress: "/esper.v1.CachePeer/Progress"
        case .condemn: "/esper.v1.CachePeer/Condemn"
        case .bindings: "/esper.v1.CachePeer/Bindings"
        }
    }
}
