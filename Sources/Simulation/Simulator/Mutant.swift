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

    /// Whether the message leaves although its write is not durable.
    func releases(_ message: Message) -> Bool {
        switch (self, message) {
        case (.votesBeforeDurable, .requestVoteResponse): true
        case (.acknowledgementsBeforeDurable, .appendEntriesResponse): true
        default: false
        }
    }

    /// What is sent in place of a message.
    func forges(_ message: Message) -> Message {
        switch (self, message) {
        case (.claimsMissingEntries, .appendEntriesResponse(var response)):
            guard case .conflict(let previous, _) = response.outcome else { return message }
            response.outcome = .matched(durable: previous.index, received: previous.index)
            return .appendEntriesResponse(response)
        case (.grantsEveryVote, .requestVoteResponse(var response)):
            response.isGranted = true
            return .requestVoteResponse(response)
        default:
            return message
        }
    }
}
