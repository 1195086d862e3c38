import Dispatch
import EsperNode
import Glibc
import Synchronization

/// What signals ask of a node. SIGTERM and SIGINT: the first asks for an orderly stop, the second stops at once. SIGHUP:
/// read the certificates again.
final class NodeSignals: Sendable {
    private struct State {
        var count = 0
        var waiter: CheckedContinuation<Void, Never>?
    }

    /// One element for each SIGHUP; several that come together are one.
    let hangups: AsyncStream<Void>
    private let hangup: AsyncStream<Void>.Continuation
    private let state = Mutex(State())
    private let stopLimit: Duration
    /// Kept alive and never touched again after `init`, so no two threads can meet in them.
    nonisolated(unsafe) private let sources: [any DispatchSourceSignal]

    /// - Parameter stopLimit: the process ends by force when this much time has passed since the first signal to stop.
    init(stopLimit: Duration) {
        self.stopLimit = stopLimit
        (hangups, hangup) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
        sources = [SIGTERM, SIGINT, SIGHUP].map { number in
            signal(number, SIG_IGN)
            return DispatchSource.makeSignalSource(signal: number, queue: .global())
        }
        signal(SIGPIPE, SIG_IGN)
        for (number, source) in zip([SIGTERM, SIGINT, SIGHUP], sources) {
            source.setEventHandler { [self] in
                if number == SIGHUP { hangup.yield() } else { stopReceived() }
            }
            source.resume()
        }
    }

    /// Returns once the first signal to stop has come.
    func stop() async {
        await withCheckedContinuation { continuation in
            let isOver = state.withLock { state in
                if state.count == 0 { state.waiter = continuation }
                return state.count > 0
            }
            if isOver { continuation.resume() }
        }
    }

    private func stopReceived() {
        let (count, waiter) = state.withLock { state in
            state.count += 1
            defer { state.waiter = nil }
            return (state.count, state.waiter)
        }
        if count > 1 { _exit(1) }
        StopWatchdog.arm(limit: stopLimit)
        waiter?.resume()
    }
}
