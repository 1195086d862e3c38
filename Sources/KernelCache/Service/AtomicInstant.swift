import EsperTypes
import Synchronization

/// A moment that several threads look at.
final class AtomicInstant: Sendable {
    private let nanoseconds = Atomic<UInt64>(0)

    var value: Instant {
        get { Instant(nanoseconds: nanoseconds.load(ordering: .relaxed)) }
        set { nanoseconds.store(newValue.nanoseconds, ordering: .relaxed) }
    }
}
