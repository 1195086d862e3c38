import DequeModule
import EsperTypes
import RaftCore

/// How much log was applied, and where: what decides when the next snapshot is due and how much log is kept behind it.
struct AppliedLog: Sendable {
    /// Every so many bytes, where the log stood: to find the index that keeps a tail of given size.
    private(set) var marks: Deque<LogIndex> = []
    private(set) var bytesSinceSnapshot = 0
    private var bytesSinceMark = 0

    private static let markBytes = 1 << 20

    mutating func add(_ entry: Entry) {
        let bytes = entry.payload.count + 32
        bytesSinceSnapshot += bytes
        bytesSinceMark += bytes
        guard bytesSinceMark >= Self.markBytes else { return }
        bytesSinceMark = 0
        marks.append(entry.index)
    }

    mutating func snapshotBegun() { bytesSinceSnapshot = 0 }

    /// Forgets marks that lie further back than the tail to be kept.
    mutating func trim(toBytes tail: Int) {
        let surplus = marks.count - tail / Self.markBytes
        if surplus > 0 { marks.removeFirst(surplus) }
    }
}
