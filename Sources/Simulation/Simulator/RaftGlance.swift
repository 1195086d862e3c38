import Coordination
import EsperTypes
import RaftCore

/// What the oracles and the driver look at after every turn of a node, taken once.
struct RaftGlance {
    var role: Role
    var term: Term
    var commit: LogIndex
    var configuration: Configuration
    var configurationIndex: LogIndex
    var isQuarantined: Bool
    var nextDeadline: Instant
}

extension RaftNode {
    var glance: RaftGlance {
        RaftGlance(
            role: currentRole, term: currentTerm, commit: commitIndex, configuration: configuration,
            configurationIndex: configurationIndex, isQuarantined: isQuarantined, nextDeadline: nextDeadline)
    }
}

/// The same without a copy of the node: what is called on a value in memory copies it first, unless it may change it.
extension SessionClock {
    mutating func findNextDeadline() -> Instant? { nextDeadline }
}

extension WatchRegistry {
    mutating func isBehind() -> Bool { needsCatchUp }
}

extension RaftNode {
    mutating func takeGlance() -> RaftGlance { glance }

    mutating func readsByLease(at now: Instant) -> Bool { holdsLease(at: now) }

    mutating func findLastIndex() -> LogIndex { lastIndex }

    mutating func findLastGuarded(after applied: LogIndex) -> LogIndex? { lastGuarded(after: applied) }

    mutating func findTerm() -> Term { currentTerm }

    mutating func findLease() -> HolderLease? { holderLease }

    mutating func isDue(at now: Instant) -> Bool { now >= nextDeadline }

    mutating func follows(_ node: NodeID, in term: Term) -> Bool { currentLeader == node && currentTerm == term }

    mutating func verify(tail: Int) { checkInvariants(tail: tail) }

    mutating func find(_ index: LogIndex) -> Entry? { entry(at: index) }

    mutating func snapshotsOnTheirWay() -> [SnapshotDescriptor] { status.snapshotsInUse }

    mutating func newestSnapshot() -> SnapshotDescriptor? { status.snapshot }

    mutating func basis(at index: LogIndex) -> SnapshotBasis? { snapshotBasis(at: index) }
}
