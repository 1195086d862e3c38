import Dispatch
import Glibc
import Synchronization

/// SIGTERM and SIGINT: the first asks for an orderly stop, the second stops at once.
final class StopSignals: Sendable {
    private struct State {
        var count = 0
        var waiter: CheckedContinuation<Void, Never>?
    }

    private let state = Mutex(State())
    /// Kept alive and never touched again after `init`, so no two threads can meet in them.
    nonisolated(unsafe) private let sources: [any DispatchSourceSignal]

    init() {
        sources = [SIGTERM, SIGINT].map { number in
            signal(number, SIG_IGN)
            return DispatchSource.makeSignalSource(signal: number, queue: .global())
        }
        signal(SIGPIPE, SIG_IGN)
        for source in sources {
            source.setEventHandler { [self] in received() }
            source.resume()
        }
    }

    /// Returns once the first signal has come.
    func first() async {
        await withCheckedContinuation { continuation in
            let isOver = state.withLock { state in
                if state.count == 0 { state.waiter = continuation }
                return state.count > 0
            }
            if isOver { continuation.resume() }
        }
    }

    private func received() {
        let (count, waiter) = state.withLock { state in
            state.count += 1
            defer { state.waiter = nil }
            return (state.count, state.waiter)
        }
        if count > 1 { _exit(1) }
        waiter?.resume()
    }
}
