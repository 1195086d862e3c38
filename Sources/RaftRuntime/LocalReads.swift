import Coordination
import Synchronization

/// Answers reads of this node's state on the threads that ask, while the state stands still.
///
/// The core loop lends a copy of its state when it is asked for a read that needs nothing else, and takes it back before the
/// next change: so nobody is told what was true before a change that he has been told of, and nothing that was replaced is held.
final class LocalReads: Sendable {
    private let lent = Mutex<StateCopy?>(nil)

    /// - Returns: nil when the core loop has to be asked, which should then lend its state.
    func answer(_ query: Query, to principal: String) -> QueryReply? {
        guard let copy = lent.withLock({ $0 }) else { return nil }
        return copy.state.answer(query, to: principal)
    }

    /// On the core loop.
    func lend(_ state: StateMachine) {
        let copy = StateCopy(state)
        lent.withLock { $0 = copy }
    }

    /// On the core loop, before the state changes. Whoever reads just then ends with what he has.
    func takeBack() { lent.withLock { $0 = nil } }
}
