import EsperTypes
import Synchronization

/// When the core loop last came round, for whoever must know without asking it.
///
/// A node reports to its peers every ``RuntimeOptions/reportInterval``, so an idle loop comes round that often too.
final class Heartbeat: Sendable {
    private let last = Atomic(NodeClock.now().nanoseconds)

    func beat(_ now: Instant) { last.store(now.nanoseconds, ordering: .relaxed) }

    var silence: Duration { max(NodeClock.now() - Instant(nanoseconds: last.load(ordering: .relaxed)), .zero) }
}
