internal import Synchronization

/// Work that was handed to an event loop, and notices when the loop throws it away.
///
/// A loop that has been shut down forgets what it is given, without a word: whoever waits for the work would wait for
/// ever. So the end of the only reference to it tells.
final class LoopTask: Sendable {
    private let body: @Sendable () -> Void
    private let dropped: @Sendable () -> Void
    private let isRun = Atomic<Bool>(false)

    init(_ body: @escaping @Sendable () -> Void, dropped: @escaping @Sendable () -> Void) {
        self.body = body
        self.dropped = dropped
    }

    deinit { if !isRun.load(ordering: .acquiring) { dropped() } }

    func run() {
        isRun.store(true, ordering: .releasing)
        body()
    }
}
