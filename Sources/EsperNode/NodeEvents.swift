import Catalog
import EsperTypes
import Glibc
import Logging
import Observability
import RaftRuntime
import RaftStorage
import Synchronization

/// What the runtime tells the rest of the node.
final class NodeEvents: NodeObserver {
    private struct State {
        var term: Term?
        var projector: OutboxProjector?
    }

    private let state = Mutex(State())
    private let logger: Logger

    init(_ logger: Logger) { self.logger = logger }

    /// From now on the projector hears of leadership and records, beginning with how things stand.
    func attach(_ projector: OutboxProjector) {
        let term = state.withLock { state in
            state.projector = projector
            return state.term
        }
        projector.leadershipChanged(term)
    }

    func leadershipChanged(_ term: Term?) {
        let projector = state.withLock { state in
            state.term = term
            return state.projector
        }
        projector?.leadershipChanged(term)
    }

    func outboxGrew() { state.withLock { $0.projector }?.outboxGrew() }

    /// A node whose log has failed must not go on: nothing it says about durability would be true.
    func storageFailed(_ error: StorageError) {
        logger.critical("the log failed; the node stops", metadata: ["error": "\(error)"])
        LogSink.standardError.flush()
        _exit(74)
    }
}
