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
