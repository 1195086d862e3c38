import Foundation
import Glibc
import Synchronization

/// SIGINT and SIGTERM as something to wait for, so that what was acquired can be given back.
///
/// A signal handler may do next to nothing: ours writes the signal's number into a pipe, which a thread reads for as
/// long as the process runs.
final class Interruption: Sendable {
    private struct State {
        var received: CInt?
        var waiters: [UInt64: CheckedContinuation<CInt?, Never>] = [:]
        var nextKey: UInt64 = 0
    }

    private let state = Mutex(State())
    private static let writingEnd = Atomic<CInt>(-1)

    /// From its first use on the signals no longer end the process by themselves; a second one does.
    static let shared = Interruption()

    private init() {
        var ends: [CInt] = [-1, -1]
        guard pipe(&ends) == 0 else { preconditionFailure("no pipe: \(errno)") }
        let readingEnd = ends[0]
        Self.writingEnd.store(ends[1], ordering: .releasing)
        for number in [SIGINT, SIGTERM] {
            signal(number) { number in
                var byte = UInt8(truncatingIfNeeded: number)
                _ = write(Interruption.writingEnd.load(ordering: .acquiring), &byte, 1)
            }
        }
        Thread.detachNewThread { [self] in
            var byte: UInt8 = 0
            while true {
                let count = read(readingEnd, &byte, 1)
                if count == 1 { receive(CInt(byte)) } else if count == 0 || errno != EINTR { return }
            }
        }
    }

    /// The signal that arrived; nil when the task is cancelled first.
    func wait() async -> CInt? {
        let key = state.withLock { state in
            state.nextKey += 1
            return state.nextKey
        }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let answer: CInt?? = state.withLock { state in
                    if let received = state.received { return .some(received) }
                    if Task.isCancelled { return .some(nil) }
                    state.waiters[key] = continuation
                    return nil
                }
                if let answer { continuation.resume(returning: answer) }
            }
        } onCancel: {
            state.withLock { $0.waiters.removeValue(forKey: key) }?.resume(returning: nil)
        }
    }

    private func receive(_ number: CInt) {
        let (waiters, isSecond) = state.withLock { state in
            defer {
                state.received = number
                state.waiters = [:]
            }
            return (Array(state.waiters.values), state.received != nil)
        }
        if isSecond { _exit(128 + number) }
        for waiter in waiters { waiter.resume(returning: number) }
    }
}
