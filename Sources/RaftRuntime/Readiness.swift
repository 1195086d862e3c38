import EsperTypes
public import PeerTransport
import RaftCore

/// Whether work may be sent to a node, as far as consensus goes.
public enum Readiness: Hashable, Sendable {
    case ready
    case noLeader
    /// A leader is known, but this node has not applied what it has, or has not heard how far it is.
    case behind
    /// Cut off from its peers on purpose (development).
    case isolated
    case draining
    /// Storage was found damaged at the start, and what is lost has not come back from the leader yet.
    case quarantined
    /// An operator set this node aside.
    case setAside
    /// This node waits for the cluster to take it in.
    case joining
    /// The cluster does not know this node any more.
    case excluded(Exclusion)

    /// For an operator; nil when ready.
    public var reason: String? {
        switch self {
        case .ready: nil
        case .noLeader: "no leader is known"
        case .behind: "this node has not caught up with the leader"
        case .isolated: "this node is cut off from its peers on purpose; esper dev heal ends it"
        case .draining: "the node is stopping"
        case .quarantined:
            "this node's storage was damaged; it neither votes nor leads until it has fetched from the leader what it lost"
        case .setAside: "this node was drained by an operator; esper cluster drain --undo ends it"
        case .joining: "the cluster has not taken this node in yet; esper cluster add does"
        case .excluded(.removed):
            "this node was removed from the cluster; to rejoin it needs a new identity: esper cluster add NAME …, and an "
                + "empty data directory"
        case .excluded(.otherDisk):
            "the member of this name has another disk: this one was replaced or emptied; esper cluster remove NAME, then "
                + "esper cluster add NAME … takes the node in under a new identity"
        }
    }
}

extension NodeCore {
    /// So many entries between the leader and us are the usual distance under load, applied within milliseconds.
    private static let usualDistance = 1024

    /// A leader is ready once it has applied an entry of its own term, and so everything committed before; a follower when
    /// it has applied what the leader said of itself, which it does every ``RuntimeOptions/reportInterval`` and whenever a
    /// link comes up.
    var readiness: Readiness {
        if let exclusion { return .excluded(exclusion) }
        if isDraining { return .draining }
        if isSetAside { return .setAside }
        if isIsolated { return .isolated }
        if raft.isQuarantined { return .quarantined }
        if !raft.status.configuration.contains(id) { return .joining }
        guard let leader else { return .noLeader }
        if role == .leader { return appliedTerm == term ? .ready : .behind }
        guard let report = reports[leader], report.role == .leader else { return .behind }
        let goal = max(report.applied, raft.status.commit)
        return goal <= appliedIndex || goal.distance(from: appliedIndex) < Self.usualDistance ? .ready : .behind
    }

    /// Tells the observer when it has changed.
    func noteReadiness() {
        let readiness = readiness
        guard readiness != toldReadiness else { return }
        toldReadiness = readiness
        observer.readinessChanged(readiness)
    }
}
