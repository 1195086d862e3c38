import Synchronization

/// Whether a stream's end has been told.
final class StreamProgress: Sendable {
    private let finished = Mutex(false)

    var isFinished: Bool { finished.withLock { $0 } }

    func finish() { finished.withLock { $0 = true } }
}
