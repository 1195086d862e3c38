/// A rule that a run broke.
public struct SimulationFailure: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Rule: String, Hashable, Sendable, CaseIterable {
        /// At most one leader in a term (§5.2).
        case electionSafety
        /// Two logs with the same entry agree on everything before it (§5.3).
        case logMatching
        /// Every leader has every entry committed before (§5.4).
        case leaderCompleteness
        /// No two nodes apply different entries at one index (§5.4.3).
        case stateMachineSafety
        /// Machines that applied the same entries are in the same state.
        case stateHash
        case committedNeverChanges
        /// Committed means durable on a quorum, and acknowledged means durable.
        case committedIsDurable
        /// What a leader commits ends with an entry of its own term (§5.4.2).
        case commitsOwnTerm
        /// A configuration that is no legal step, came too early, or is not what the log says (dissertation §4).
        case configurationSafety
        case monotonicTerm
        case monotonicCommit
        case monotonicApplied
        /// An effect that no driver could perform.
        case driverContract
        case linearizability
        /// A request was executed twice.
        case exactlyOnce
        /// Tokens fell, or two sessions held one lock.
        case fencing
        /// A session expired before its time.
        case session
        /// A watcher missed an event, or was told one twice or out of order.
        case watch
        /// What was durable is there after a crash, and enough to start from.
        case durability
        /// A process ends when a sync has failed, whatever was to be made durable.
        case failStop
        /// The healed cluster did not recover in time.
        case liveness
        /// Nobody tries to lead without a right to; once recovered, and with nothing wrong any more, leader and term stay.
        case stability
        /// The recorder of the history is broken, or its judge gave up.
        case history
    }

    public var rule: Rule
    public var detail: String

    public init(_ rule: Rule, _ detail: String) {
        self.rule = rule
        self.detail = detail
    }

    public var description: String { "\(rule.rawValue): \(detail)" }
}
