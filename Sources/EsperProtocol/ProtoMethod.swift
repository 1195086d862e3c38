/// Every method of the API, by number: what a dispatcher switches over, and what a method table is filled with.
///
/// The numbers mean nothing outside one process; the wire carries ``path``.
public enum ProtoMethod: Int, CaseIterable, Sendable {
    case put, get, range, delete, transact, compact
    case grantSession, keepAlive, revokeSession, listSessions
    case acquireLock, releaseLock, listLocks
    case campaign, proclaim, resign, leader, observe
    case watch
    case status, transferLeadership, registerClient
    case addMember, promoteMember, demoteMember, removeMember, replaceMember, drain
    case createJoinToken, listJoinTokens, revokeJoinToken
    case isolate, heal

    /// `/package.Service/Method`, as it stands in the `:path` of a call.
    public var path: String {
        switch self {
        case .put: "/esper.v1.KV/Put"
        case .get: "/esper.v1.KV/Get"
        case .range: "/esper.v1.KV/Range"
        case .delete: "/esper.v1.KV/Delete"
        case .transact: "/esper.v1.KV/Txn"
        case .compact: "/esper.v1.KV/Compact"
        case .grantSession: "/esper.v1.Session/Grant"
        case .keepAlive: "/esper.v1.Session/KeepAlive"
        case .revokeSession: "/esper.v1.Session/Revoke"
        case .listSessions: "/esper.v1.Session/List"
        case .acquireLock: "/esper.v1.Lock/Acquire"
        case .releaseLock: "/esper.v1.Lock/Release"
        case .listLocks: "/esper.v1.Lock/List"
        case .campaign: "/esper.v1.Election/Campaign"
        case .proclaim: "/esper.v1.Election/Proclaim"
        case .resign: "/esper.v1.Election/Resign"
        case .leader: "/esper.v1.Election/Leader"
        case .observe: "/esper.v1.Election/Observe"
        case .watch: "/esper.v1.Watch/Watch"
        case .status: "/esper.v1.Cluster/Status"
        case .transferLeadership: "/esper.v1.Cluster/TransferLeadership"
        case .registerClient: "/esper.v1.Cluster/RegisterClient"
        case .addMember: "/esper.v1.Cluster/AddMember"
        case .promoteMember: "/esper.v1.Cluster/PromoteMember"
        case .demoteMember: "/esper.v1.Cluster/DemoteMember"
        case .removeMember: "/esper.v1.Cluster/RemoveMember"
        case .replaceMember: "/esper.v1.Cluster/ReplaceMember"
        case .drain: "/esper.v1.Cluster/Drain"
        case .createJoinToken: "/esper.v1.Cluster/CreateJoinToken"
        case .listJoinTokens: "/esper.v1.Cluster/ListJoinTokens"
        case .revokeJoinToken: "/esper.v1.Cluster/RevokeJoinToken"
        case .isolate: "/esper.v1.Development/Isolate"
        case .heal: "/esper.v1.Development/Heal"
        }
    }

    /// Whether the answer is a stream; no method takes a stream of requests.
    public var isServerStreaming: Bool {
        switch self {
        case .observe, .watch: true
        default: false
        }
    }

    /// Whether the method changes replicated state, so that its outcome can be unknown.
    public var isMutating: Bool {
        switch self {
        case .put, .delete, .transact, .compact, .grantSession, .revokeSession, .acquireLock, .releaseLock, .campaign,
            .proclaim, .resign, .registerClient, .addMember, .promoteMember, .demoteMember, .removeMember,
            .replaceMember, .createJoinToken, .revokeJoinToken:
            true
        case .get, .range, .keepAlive, .listSessions, .listLocks, .leader, .observe, .watch, .status,
            .transferLeadership, .drain, .listJoinTokens, .isolate, .heal:
            false
        }
    }
}
