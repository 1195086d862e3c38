import Coordination
import EsperTypes

/// Every watcher is told every event of its range once, in order, from where it began; of a gap, where history was compacted.
struct WatchOracle {
    private struct Event {
        var revision: Revision
        var key: [UInt8]
        var isDeletion: Bool
    }

    /// How far one watcher has come.
    struct Cursor {
        let range: KeyRange
        /// The next event that may be for it.
        fileprivate(set) var position = 0
        /// It knows everything up to and with this revision.
        fileprivate(set) var through = Revision.zero

        init(_ range: KeyRange) { self.range = range }
    }

    /// What happened, as the first node that applied it saw it.
    private var events: [Event] = []
    private(set) var delivered = 0
    /// What may be forgotten.
    private var compacted = Revision.zero

    mutating func happened(_ new: [WatchEvent]) {
        for event in new {
            events.append(Event(revision: event.revision, key: event.key, isDeletion: event.isDeletion))
        }
    }

    mutating func compacted(through revision: Revision) { compacted = max(compacted, revision) }

    /// The watcher is told that what it asks for is forgotten: it was behind, and goes on behind what is forgotten.
    func toldOfCompaction(
        at revision: Revision, through: Revision, to watcher: String, at cursor: inout Cursor
    ) throws(SimulationFailure) {
        guard revision <= compacted, through < revision else {
            throw SimulationFailure(
                .watch,
                "\(watcher) knows \(through) and is told of a compaction at \(revision); there was one at \(compacted)")
        }
        if let next = next(at: cursor), events[next].revision <= through {
            throw SimulationFailure(
                .watch, "\(watcher) is said to know everything through \(through), but not \(events[next].revision)")
        }
        cursor.through = revision
        cursor.position = events[cursor.position...].firstIndex { $0.revision > revision } ?? events.endIndex
    }

    /// The watcher is told something.
    mutating func told(
        _ told: [WatchEvent], continues: Bool, through: Revision, to watcher: String, at cursor: inout Cursor
    ) throws(SimulationFailure) {
        for event in told {
            delivered += 1
            guard let next = next(at: cursor) else {
                throw SimulationFailure(.watch, "\(watcher) is told \(event.keyValue), which never happened, or twice")
            }
            let due = events[next]
            guard due.revision == event.revision, due.key == event.key, due.isDeletion == event.isDeletion else {
                throw SimulationFailure(
                    .watch,
                    "\(watcher) is told \(event.keyValue); due is \(String(decoding: due.key, as: UTF8.self)) at "
                        + "\(due.revision)")
            }
            cursor.position = next + 1
        }
        guard !continues else { return }
        if let next = next(at: cursor), events[next].revision <= through {
            throw SimulationFailure(
                .watch, "\(watcher) is said to know everything through \(through), but not \(events[next].revision)")
        }
        cursor.through = max(cursor.through, through)
    }

    /// Whether the watcher knows everything that happened.
    func isLevel(_ cursor: Cursor) -> Bool { next(at: cursor) == nil }

    private func next(at cursor: Cursor) -> Int? {
        events[cursor.position...].firstIndex { cursor.range.contains($0.key) }
    }
}
