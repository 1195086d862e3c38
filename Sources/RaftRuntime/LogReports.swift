import EsperTypes
import NIOCore
import RaftCore
import RaftStorage
import Synchronization

/// Carries the log's reports from its threads to the core loop: the latest durable write, with one wake-up for all
/// that arrive before the loop looks.
final class LogReports: Sendable {
    private struct State {
        var core: NIOLoopBound<NodeCore>?
        var durable: WriteSequence = .zero
        var isWakePending = false
    }

    private let state = Mutex(State())
    private let eventLoop: any EventLoop
    private let observer: any NodeObserver

    init(eventLoop: any EventLoop, observer: any NodeObserver) {
        self.eventLoop = eventLoop
        self.observer = observer
    }

    func attach(_ core: NIOLoopBound<NodeCore>) { state.withLock { $0.core = core } }

    var callbacks: LogWriter.Callbacks {
        LogWriter.Callbacks(
            onDurable: { [self] in durable(through: $0) },
            onFailure: { [observer] in observer.storageFailed($0) },
            onSpaceReserved: { [self] in spaceReserved($0) })
    }

    private func durable(through sequence: WriteSequence) {
        let wakes = state.withLock { state in
            state.durable = sequence
            defer { state.isWakePending = true }
            return !state.isWakePending
        }
        guard wakes else { return }
        eventLoop.execute { [self] in
            let (core, durable) = state.withLock { state in
                state.isWakePending = false
                return (state.core, state.durable)
            }
            core?.value.persisted(through: durable)
        }
    }

    private func spaceReserved(_ refusal: StorageError?) {
        eventLoop.execute { [self] in
            state.withLock { $0.core }?.value.logSpaceReserved(refusal)
        }
    }
}
