public import EsperTypes

/// How blobs that nobody uses move from the catalog to the archive (C11).
///
///     read ─→ find ─→ copy ─→ confirm ─→ read back ─→ mark ─→ drop
///
/// - A step begins when the one before it has succeeded; a failure or a crash anywhere leaves the upper copy, and the next pass
///   begins with it anew.
/// - Nothing is dropped but after the whole copy was read back and its bytes compared: what a store *says* of an object is asked first,
///   and never enough.
/// - Whoever marks and drops passes over a blob that was used since.
///
/// One step at a time: whoever performs ``step`` calls the method that says what came of it.
public struct DemotionBatch: Sendable {
    public enum Step: Hashable, Sendable {
        /// Above: ``read(_:isRight:)``.
        case read([Digest])
        /// Damaged above: ``discarded()``.
        case discard([Digest])
        /// Which of them the archive says it has: ``found(_:)``.
        case find([Digest])
        /// To the archive: ``copied()``.
        case copy([Digest])
        /// As `find`, once more: ``confirmed(_:)``.
        case confirm([Digest])
        /// From the archive: ``readBack(_:)``.
        case readBack([Digest])
        /// Note above that the archive has them, unless they were used: ``marked(_:)``.
        case mark([Digest])
        /// Give up those that are marked and still unused: ``dropped(_:)``.
        case drop([Digest])
        case done
    }

    public private(set) var step: Step
    public private(set) var blobs: [Digest: [UInt8]] = [:]
    /// Of other bytes than their digest says.
    public private(set) var damaged: [Digest] = []
    /// Copied, and not found in the archive as they should be.
    public private(set) var unverified = 0
    public private(set) var moved: Set<Digest> = []

    public init(_ digests: [Digest]) { step = .read(digests) }

    public mutating func read(_ found: [Digest: [UInt8]], isRight: (Digest, [UInt8]) -> Bool) {
        blobs = found.filter { isRight($0.key, $0.value) }
        damaged = found.keys.filter { blobs[$0] == nil }.sorted()
        step = damaged.isEmpty ? .find(blobs.keys.sorted()) : .discard(damaged)
    }

    public mutating func discarded() { step = .find(blobs.keys.sorted()) }

    public mutating func found(_ there: Set<Digest>) {
        step = .copy(blobs.keys.filter { !there.contains($0) }.sorted())
    }

    public mutating func copied() { step = .confirm(blobs.keys.sorted()) }

    public mutating func confirmed(_ there: Set<Digest>) { step = .readBack(there.sorted()) }

    public mutating func readBack(_ copies: [Digest: [UInt8]]) {
        let verified = copies.filter { blobs[$0.key] == $0.value }.keys.sorted()
        unverified = blobs.count - verified.count
        step = .mark(verified)
    }

    public mutating func marked(_ unused: Set<Digest>) { step = .drop(unused.sorted()) }

    public mutating func dropped(_ unused: Set<Digest>) {
        moved = unused
        step = .done
    }
}
