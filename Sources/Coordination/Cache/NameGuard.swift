public import CacheCore
public import EsperTypes

/// Tells, where commands are appended to the log, which of them may change what a lookup of a name says: nobody may see such a
/// command before every node has it that looks names up in its own state.
///
/// These are the commands that change names or permissions, and whatever moves the replicated clock past the time of a name. All others change
/// nothing for a node that lacks them, as every name's end between two of them would have made one of those.
///
/// One of a leader; it errs only towards telling of too many. Pure.
public struct NameGuard: Sendable {
    private var term: Term?
    /// No entry of the log beyond it changes names; nil: none does that is not applied.
    private var lastChange: LogIndex?

    public init() {}

    /// A leader is about to append to its log.
    ///
    /// - Parameter lastChange: the last entry that is not applied and may change names; asked for once in a term.
    public mutating func leads(in term: Term, lastChange: () -> LogIndex?) {
        guard term != self.term else { return }
        self.term = term
        self.lastChange = lastChange()
    }

    /// Whether an encoded envelope is such a command; see ``Envelope/nameChange(in:)``.
    ///
    /// - Parameters:
    ///   - index: where it comes to stand in the log, or beyond.
    ///   - state: what this node has applied; it may be behind the log.
    public mutating func guards(_ payload: [UInt8], at index: LogIndex, _ state: StateMachine) -> Bool {
        let (change, stamp) = Envelope.nameChange(in: payload)
        return guards(change, stamp, at: index, state)
    }

    public mutating func guards(
        _ change: NameChange, _ stamp: UInt64, at index: LogIndex, _ state: StateMachine
    ) -> Bool {
        if change != .none {
            lastChange = index
            return true
        }
        guard stamp > state.time else { return false }
        // A name that is not applied yet may end at any time.
        if let lastChange, state.applied.index < lastChange { return true }
        return state.cache.nextExpiry(after: state.time).map { $0 <= stamp } ?? false
    }
}
