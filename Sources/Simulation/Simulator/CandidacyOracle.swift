import EsperTypes
import RaftCore

/// By what right anybody tries to lead: its leader is silent, and a quorum would elect it; or a leader whose log it has orders it to.
struct CandidacyOracle {
    private struct Round {
        var number: UInt64 = 0
        var granted: [NodeID] = []
    }

    /// Of each node, the pre-votes that it asked for last, and who gave theirs.
    private var rounds: [Round]

    init(nodes: Int) { rounds = Array(repeating: Round(), count: nodes) }

    /// The number of the pre-votes that the node asked for last.
    func round(of node: Int) -> UInt64 { rounds[node].number }

    mutating func sent(
        _ message: Message, by node: SimulatedNode, to peer: SimulatedNode
    ) throws(SimulationFailure) {
        switch message {
        case .preVoteRequest(let request):
            if rounds[node.index].number != request.round { rounds[node.index] = Round(number: request.round) }
        case .preVoteResponse(let response):
            guard response.isGranted, rounds[peer.index].number == response.round else { return }
            rounds[peer.index].granted.append(node.id)
        case .timeoutNow:
            let last = node.raft.status.last
            guard peer.disk.holds(last) else {
                throw SimulationFailure(
                    .stability, "n\(node.index + 1) hands over to n\(peer.index + 1), which has not got \(last)")
            }
        default: return
        }
    }

    /// - Parameter now: by the node's own clock.
    func check(
        _ change: RoleChange, of node: SimulatedNode, at now: Instant, _ options: RaftOptions
    ) throws(SimulationFailure) {
        switch change.role {
        case .preCandidate:
            guard change.reason == .timeout, let heard = node.leaderHeardAt, now - heard < options.electionTimeout
            else { return }
            throw SimulationFailure(
                .stability, "n\(node.index + 1) finds its leader silent, and heard it \(now - heard) ago")
        case .candidate:
            // What the same turn brought after that may have changed the configuration.
            guard change.reason == .preVoteWon, node.raft.currentRole == .candidate,
                node.raft.currentTerm == change.term
            else { return }
            let granted = rounds[node.index].granted
            let result = node.raft.configuration.quorum.result { $0 == node.id || granted.contains($0) ? true : nil }
            guard result == .won else {
                throw SimulationFailure(
                    .stability,
                    "n\(node.index + 1) begins term \(change.term) on the word of "
                        + "\(granted.map { "n\($0.rawValue)" }.joined(separator: " ")) in \(node.raft.configuration)")
            }
        case .follower, .leader: return
        }
    }
}
