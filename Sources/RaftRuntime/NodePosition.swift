import Coordination
import EsperTypes
import Synchronization

/// Where the node stands, for whoever must know without asking the core loop; published at the end of each of its turns.
///
/// What a reply tells of has been published when the reply is delivered.
final class NodePosition: Sendable {
    private let termValue: Atomic<UInt64>
    private let revisionValue: Atomic<UInt64>
    private let authTable: Mutex<AuthTable>
    /// Since when no leader is known, in nanoseconds of the node's clock; ``knowsLeader`` while one is.
    private let leaderlessSince: Atomic<UInt64>

    private static let knowsLeader = UInt64.max

    init(term: Term, _ state: StateMachine) {
        termValue = Atomic(term.rawValue)
        revisionValue = Atomic(state.revision.rawValue)
        authTable = Mutex(state.auth)
        leaderlessSince = Atomic(NodeClock.now().nanoseconds)
    }

    func publish(_ term: Term, _ revision: Revision) {
        termValue.store(term.rawValue, ordering: .releasing)
        revisionValue.store(revision.rawValue, ordering: .releasing)
    }

    /// - Parameter now: when it was found or lost.
    func publish(hasLeader: Bool, at now: Instant) {
        if hasLeader {
            leaderlessSince.store(Self.knowsLeader, ordering: .releasing)
        } else if leaderlessSince.load(ordering: .relaxed) == Self.knowsLeader {
            leaderlessSince.store(now.nanoseconds, ordering: .releasing)
        }
    }

    /// For how long no leader has been known; nil while one is.
    var leaderless: Duration? {
        let since = leaderlessSince.load(ordering: .acquiring)
        return since == Self.knowsLeader ? nil : max(NodeClock.now() - Instant(nanoseconds: since), .zero)
    }

    func publish(_ table: AuthTable) { authTable.withLock { $0 = table } }

    var term: Term { Term(termValue.load(ordering: .acquiring)) }
    var revision: Revision { Revision(revisionValue.load(ordering: .acquiring)) }
    var auth: AuthTable { authTable.withLock { $0 } }
}
