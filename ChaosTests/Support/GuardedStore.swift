import EsperTypes
import Synchronization

/// What stands behind the locks: it refuses a token below one it has seen, and keeps who wrote with which.
final class GuardedStore: Sendable {
    private struct Guarded {
        var highest = FencingToken(0)
        var writers: [FencingToken: Int] = [:]
    }

    private struct State {
        var locks: [String: Guarded] = [:]
        var writes = 0
        var refused = 0
        var problems: [String] = []
    }

    private let state = Mutex(State())

    /// Writes that were taken and refused, and what should never have happened.
    var report: (writes: Int, refused: Int, problems: [String]) {
        state.withLock { ($0.writes, $0.refused, $0.problems) }
    }

    /// - Parameter holds: asked right after: whether the writer certainly still holds the lock. A certain holder is
    ///   never refused, for nobody else can have been given a higher token.
    func write(_ lock: String, _ token: FencingToken, by writer: Int, holds: () -> Bool) {
        state.withLock { state in
            var guarded = state.locks[lock] ?? Guarded()
            defer { state.locks[lock] = guarded }
            guard token >= guarded.highest else {
                state.refused += 1
                if holds() {
                    state.problems.append(
                        "\(lock): \(writer) holds it with \(token), and \(guarded.highest) has written")
                }
                return
            }
            state.writes += 1
            guarded.highest = token
            if let other = guarded.writers.updateValue(writer, forKey: token), other != writer {
                state.problems.append("\(lock): \(other) and \(writer) wrote with \(token)")
            }
        }
    }
}
