package import EsperTypes

/// Whether a new snapshot is owed for what was found damaged on the disk: until one has been written, however often that fails.
///
/// A value; the driver says what happened.
package struct StorageRepair: Sendable {
    /// Between an attempt that failed and the next one: a full disk is not asked all the time.
    package static let pause = Duration.seconds(5)

    /// From when on it is to be tried; nil when nothing is damaged, or a snapshot that makes up for it is being written.
    private var dueFrom: Instant?
    private var isUnderWay = false

    package init() {}

    /// The snapshot that is being written may have begun before: another one is owed.
    package mutating func damageFound(at now: Instant) { dueFrom = now }

    /// A pass of the scrub has ended. What a damaged file held is in memory, as state or as log.
    package mutating func scrubbed(_ report: Scrubber.Report, at now: Instant) {
        if !report.damages.isEmpty { damageFound(at: now) }
    }

    /// A snapshot could not be read for a peer: when it is the newest and damaged, one of the state in memory takes its place.
    package mutating func readFailed(_ error: StorageError, isNewest: Bool, at now: Instant) {
        if error.isDamage, isNewest { damageFound(at: now) }
    }

    package func isDue(at now: Instant) -> Bool { dueFrom.map { $0 <= now } ?? false }

    /// A snapshot begins, for whatever reason.
    ///
    /// - Returns: whether it makes up for damage.
    package mutating func snapshotBegins() -> Bool {
        isUnderWay = dueFrom != nil
        dueFrom = nil
        return isUnderWay
    }

    package mutating func snapshotFailed(at now: Instant) {
        if isUnderWay { dueFrom = dueFrom ?? now + Self.pause }
        isUnderWay = false
    }

    package mutating func snapshotWritten() { isUnderWay = false }
}
