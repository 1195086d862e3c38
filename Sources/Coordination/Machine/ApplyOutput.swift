public import EsperTypes

/// What applying entries did, for the node that applies them. Reuse one value: `removeAll` keeps its capacity.
///
/// Everything is in the order in which it happened.
public struct ApplyOutput: Sendable {
    /// The answer to one proposal; every replica produces it, the origin node hands it to its caller.
    public struct Result: Hashable, Sendable {
        public var proposal: ProposalID
        public var reply: CommandReply
        /// The answer of an earlier execution, found in the request table.
        public var isDuplicate: Bool

        public init(proposal: ProposalID, reply: CommandReply, isDuplicate: Bool) {
            self.proposal = proposal
            self.reply = reply
            self.isDuplicate = isDuplicate
        }
    }

    public var results: [Result] = []
    /// Every change of the keyspace; the events of one revision are neighbours.
    public var events: [WatchEvent] = []
    /// Every session that became holder or leader, those that did so at once included.
    public var grants: [Grant] = []
    /// Every session that left a queue in which it waited, unless it left because it ended.
    public var departures: [Departure] = []
    /// Sessions that began and ended, for the ``SessionClock`` and for calls that wait on their behalf. One may end and
    /// another with its ID begin.
    public var sessionChanges: [SessionChange] = []
    /// Every change of what a name of the cache stands for, with what is kept of it now.
    public var cacheChanges: [NamedBinding] = []
    /// Whether the outbox has new records.
    public var outboxGrew = false
    /// Whether the address book is another one now.
    public var membersChanged = false
    /// Committed entries that could not be read: a defect or a newer version; each must be counted and reported.
    public var malformedEntries: [LogIndex] = []

    public init() {}

    public var sessionsGranted: [SessionGrant] {
        sessionChanges.compactMap { if case .granted(let grant) = $0 { grant } else { nil } }
    }

    public var sessionsEnded: [SessionID] {
        sessionChanges.compactMap { if case .ended(let session) = $0 { session } else { nil } }
    }

    public mutating func removeAll() {
        results.removeAll(keepingCapacity: true)
        events.removeAll(keepingCapacity: true)
        grants.removeAll(keepingCapacity: true)
        departures.removeAll(keepingCapacity: true)
        sessionChanges.removeAll(keepingCapacity: true)
        cacheChanges.removeAll(keepingCapacity: true)
        outboxGrew = false
        membersChanged = false
        malformedEntries.removeAll(keepingCapacity: true)
    }
}
