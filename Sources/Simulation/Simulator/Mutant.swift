import EsperTypes
import EsperTypes
import RaftCore

/// A deliberate mistake in the world around the cores. A checker that cannot fail is a defect: tests switch these on and
/// demand that a run finds each of them. No run of the executable has one.
package enum Mutant: String, CaseIterable, Sendable {
    /// Votes leave before they are durable.
    case votesBeforeDurable
    /// Followers acknowledge entries before they are durable.
    case acknowledgementsBeforeDurable
    /// A crash takes the end of what was synced.
    case losesSyncedEntries
    /// A crash takes the vote.
    case losesVote
    /// Whoever believes to lead serves reads without a round.
    case readsWithoutRound
    /// Any node serves reads from what it has.
    case readsAnywhere
    /// Clients are answered when their command is appended.
    case answersBeforeCommit
    /// An attempt that is repeated gets a new request ID.
    case forgetsRequestIDs
    /// A follower that misses entries says that it has them.
    case claimsMissingEntries
    /// Every answer to a request for a vote says yes.
    case grantsEveryVote
    /// Voters are changed in one step, without joint consensus (dissertation §4.2).
    case switchesWithoutJoint
    /// Joint consensus is left before it is committed.
    case leavesJointEarly
    /// A change begins while another is not committed.
    case stacksChanges
    /// A change begins before an entry of the leader's own term is committed.
    case changesBeforeOwnTerm
    /// Nobody leaves joint consensus.
    case forgetsToLeave
    /// Nodes get a vote that nobody has ever heard of.
    case addsNodesNeverStarted
    /// A leader counts itself although it has no vote any more.
    case countsRemovedLeader
    /// In joint consensus the new voters decide alone.
    case ignoresOldVoters
    /// A configuration stays in force after its entry was cut off.
    case keepsTruncatedConfiguration
    /// Snapshots name the first configuration.
    case snapshotsFirstConfiguration
    /// A node that lost its disk comes back under its old name.
    case rejoinsWiped

    /// Whether the mistake makes the core contradict itself.
    var breaksCore: Bool {
        switch self {
        case .switchesWithoutJoint, .leavesJointEarly, .stacksChanges, .changesBeforeOwnTerm, .addsNodesNeverStarted:
            true
        default: false
        }
    }

    /// Whether the message leaves although its write is not durable.
    func releases(_ message: Message) -> Bool {
        switch (self, message) {
        case (.votesBeforeDurable, .requestVoteResponse): true
        case (.acknowledgementsBeforeDurable, .appendEntriesResponse): true
        default: false
        }
    }

    /// What is sent in place of a message.
    func forges<Machine>(
        _ message: Message, from: SimulatedNode<Machine>, to: SimulatedNode<Machine>
    ) -> Message {
        let configuration = to.raft.configuration
        switch (self, message) {
        case (.claimsMissingEntries, .appendEntriesResponse(var response)):
            guard case .conflict(let previous, _) = response.outcome else { return message }
            response.outcome = .matched(durable: previous.index, received: previous.index)
            return .appendEntriesResponse(response)
        case (.grantsEveryVote, .requestVoteResponse(var response)):
            response.isGranted = true
            return .requestVoteResponse(response)
        case (.countsRemovedLeader, .appendEntriesResponse(var response)):
            // One voter's word stands for the leader's own disk.
            guard to.raft.currentRole == .leader, !configuration.isVoter(to.id), configuration.voters.first == from.id
            else { return message }
            response.claim(to.raft.status.durable)
            return .appendEntriesResponse(response)
        case (.ignoresOldVoters, .appendEntriesResponse(var response)):
            guard to.raft.currentRole == .leader, configuration.isJoint, !configuration.incoming.contains(from.id)
            else { return message }
            response.claim(to.raft.status.last.index)
            return .appendEntriesResponse(response)
        case (.ignoresOldVoters, .requestVoteResponse(var response)):
            guard configuration.isJoint, !configuration.incoming.contains(from.id) else { return message }
            response.isGranted = true
            return .requestVoteResponse(response)
        default:
            return message
        }
    }
}

extension AppendEntriesResponse {
    fileprivate mutating func claim(_ index: LogIndex) {
        guard case .matched = outcome else { return }
        outcome = .matched(durable: index, received: index)
    }
}
