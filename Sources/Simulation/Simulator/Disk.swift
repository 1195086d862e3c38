import EsperTypes
import RaftCore
import RaftStorage

/// A node's log device and snapshot directory: what a crash leaves is what was durable.
///
/// Batches become durable in order and in groups, as one synced write takes all that wait. A crash keeps any
/// prefix of the group that is being written and nothing after it; finished snapshot files stay.
///
/// The ``image`` says what that is; where there are ``files``, they are what a start reads, and must agree with it.
struct Disk {
    /// What is made wrong on purpose.
    let mutant: Mutant?
    /// The real thing underneath; nil in plans without, and with mistakes that only the model can make.
    let files: NodeFiles?
    private(set) var image = DiskImage()
    /// What the image may be instead since the last crash: the write under way may have got so far.
    private var possible: [DiskImage] = []
    /// What was durable before damage took some of it, until the node has it again.
    private(set) var damaged: DiskImage?
    /// Something rotted since the last start, and stands there still.
    private(set) var isRotten = false
    /// How many starts gave up a damaged log.
    private(set) var quarantines = 0
    /// Handed over, oldest first; the first ``inFlight`` are being written.
    private var waiting: [WriteBatch] = []
    private var inFlight = 0
    /// Snapshots in their place, without files underneath.
    private var snapshots: [(descriptor: SnapshotDescriptor, bytes: [UInt8])] = []
    /// What this node promised in terms up to this one may have been lost with damage, as the last start said.
    private var lostThrough: Term?
    /// A snapshot that is being received; a crash forgets it.
    private var incoming: (descriptor: SnapshotDescriptor, bytes: [UInt8])?

    init(_ mutant: Mutant? = nil, files: NodeFiles? = nil) {
        self.mutant = mutant
        self.files = files
    }

    var isIdle: Bool { inFlight == 0 }

    /// The process died in the middle of what was asked last: the node has crashed.
    var isDead: Bool { files?.isDead ?? false }

    var hasWaiting: Bool { waiting.count > inFlight }

    /// The last batch that it was given in this life, written or not.
    var lastHandedOver: WriteSequence { waiting.last?.sequence ?? lastWritten }
    private var lastWritten = WriteSequence.zero

    /// Whether the node has, or had before damage that it knows of, an entry.
    func holds(_ id: EntryID) -> Bool { image.holds(id) || damaged?.holds(id) ?? false }

    /// The last index of what is durable. What was lost to damage is not.
    var end: LogIndex { image.last.index }

    mutating func append(_ batch: WriteBatch) { waiting.append(batch) }

    /// Begins to write everything that waits.
    mutating func beginWrite() { inFlight = waiting.count }

    enum Outcome {
        case nothing
        /// Everything up to here is durable.
        case durable(WriteSequence)
        /// The write failed, or some of it: the process has to stop.
        case failed(StorageError)
    }

    /// The write is over.
    mutating func finishWrite() throws(SimulationFailure) -> Outcome {
        guard let last = waiting.prefix(inFlight).last?.sequence else { return .nothing }
        if let files {
            do throws(StorageError) {
                try files.write(Array(waiting.prefix(inFlight)))
                if inFlight == waiting.count { try files.fallIdle() }
            } catch {
                guard mutant?.hides(error) ?? false else { return .failed(error) }
                return written(last)
            }
        }
        for batch in waiting.prefix(inFlight) { try image.write(batch, mutant) }
        return written(last)
    }

    /// - Returns: nil when it failed and may be tried again.
    /// - Throws: what has failed ends the process.
    private func attempt<Value>(_ work: () throws(StorageError) -> Value) throws(StorageError) -> Value? {
        do throws(StorageError) {
            return try work()
        } catch {
            if error.isFailedSync, mutant != .takesFailedSyncForFull { throw error }
            return nil
        }
    }

    private mutating func written(_ last: WriteSequence) -> Outcome {
        lastWritten = last
        waiting.removeFirst(inFlight)
        inFlight = 0
        return .durable(last)
    }

    // MARK: Crashes and starts

    /// Power is lost.
    ///
    /// - Returns: how many batches may be lost.
    mutating func crash(using random: inout SeededRandom) throws(SimulationFailure) -> Int {
        let lost = waiting.count
        if let files {
            var next = image
            for batch in waiting.prefix(inFlight) {
                try next.write(batch, mutant)
                possible.append(next)
            }
            files.crash(during: Array(waiting.prefix(inFlight)))
        } else {
            let survivors = inFlight == 0 ? 0 : random.int(in: 0...inFlight)
            for batch in waiting.prefix(survivors) { try image.write(batch, mutant) }
            if mutant == .tearsCompaction, survivors < inFlight, let compaction = waiting[survivors].compaction {
                image.drop(through: compaction.through)
            }
        }
        lastWritten = .zero
        waiting.removeAll()
        inFlight = 0
        incoming = nil
        return lost
    }

    enum Start {
        /// - Parameters: see ``RestoredState``.
        case ready(lostThrough: Term?, receiving: PartialSnapshot?)
        /// The disk refuses for the moment.
        case later
        /// Nothing can be made of what is left; the node has to be replaced.
        case never(StorageError)
    }

    /// Reads everything back, and judges it.
    mutating func start(of node: Int) throws(SimulationFailure) -> Start {
        guard let files else {
            try image.checkStart(of: node)
            return .ready(lostThrough: nil, receiving: nil)
        }
        let found: NodeFiles.Start
        do throws(StorageError) {
            found = try files.start()
        } catch {
            guard error.isDamage else { return .later }
            guard isRotten else {
                throw SimulationFailure(.durability, "n\(node + 1) cannot start from a sound disk: \(error)")
            }
            return .never(error)
        }
        let restored = DiskImage(found.restored)
        if mutant == .refusesTornTail, let all = possible.last, restored != all {
            return .never(StorageError(.corrupted, "a torn write", path: ""))
        }
        // A start before this one may have died when it had given the log up.
        if found.damage != nil || found.restored.lostThrough != lostThrough {
            try gaveUp(restored, found.restored.lostThrough, found.damage, of: node)
            if mutant == .damageTakenForEnd { pretendEnd() }
        } else {
            guard restored == image || possible.contains(restored) else {
                throw SimulationFailure(
                    .durability, "n\(node + 1) had \(image.summary), and finds \(restored.summary)")
            }
            image = restored
        }
        possible = []
        isRotten = false
        lostThrough = found.restored.lostThrough
        return .ready(
            lostThrough: mutant == .damageTakenForEnd ? nil : found.restored.lostThrough,
            receiving: found.restored.receiving)
    }

    /// The start has found damage, and begun anew behind a snapshot.
    private mutating func gaveUp(
        _ restored: DiskImage, _ lostThrough: Term?, _ damage: StorageError?, of node: Int
    ) throws(SimulationFailure) {
        guard isRotten else {
            throw SimulationFailure(
                .durability,
                "n\(node + 1) calls its sound disk damaged: \(damage?.description ?? "in an earlier start")")
        }
        guard let lostThrough, lostThrough >= image.hardState.term, restored.hardState.term > lostThrough else {
            throw SimulationFailure(
                .durability,
                "n\(node + 1) was in \(image.hardState), and begins anew in \(restored.hardState) above "
                    + "\(lostThrough?.description ?? "nothing")")
        }
        quarantines += 1
        damaged = damaged ?? image
        image = restored
    }

    /// Goes on with half of what there was as if that were all.
    private mutating func pretendEnd() {
        guard var all = damaged, image.compactedThrough.index >= all.compactedThrough.index else { return }
        all.entries.removeAll { $0.index <= image.compactedThrough.index }
        all.entries.removeLast((all.entries.count + 1) / 2)
        (all.compactedThrough, all.snapshot) = (image.compactedThrough, image.snapshot)
        let batch = WriteBatch(sequence: WriteSequence(1), hardState: all.hardState, entries: all.entries)
        guard (try? files?.write([batch])) != nil else { return }
        image = all
        damaged = nil
    }

    /// The node has again what the others committed.
    mutating func healed() { damaged = nil }

    /// - Returns: whether there is room for what comes next.
    /// - Throws: what ends the process.
    func reserve() throws(StorageError) -> Bool {
        guard let files else { return true }
        do throws(StorageError) { return try files.reserve() == nil } catch {
            if mutant == .takesFailedSyncForFull { return false }
            throw error
        }
    }

    /// A sync has failed in this life of the process. What comes of a failed write of the log is for the other oracles to find.
    var hasFailedSync: Bool { mutant != .goesOnAfterFailedSync && files?.hasFailedSync ?? false }

    // MARK: What only a broken disk does

    /// - Returns: the file that is damaged now.
    mutating func rot() -> String? {
        guard let path = files?.rot() else { return nil }
        isRotten = true
        return path
    }

    /// What had rotted may have been replaced or removed.
    ///
    /// - Returns: whether it has.
    mutating func isRidOfRot() -> Bool {
        guard isRotten, let files, !files.isDecayed else { return false }
        isRotten = false
        return true
    }

    /// Rolls durable state back.
    mutating func forgetTail(_ count: Int) {
        // What a snapshot covers is in its file.
        let above = image.last.index.distance(from: max(image.compactedThrough.index, image.snapshot?.index ?? .zero))
        image.entries.removeLast(max(0, min(count, above)))
    }

    mutating func forgetVote() { image.hardState.vote = nil }

    // MARK: Snapshots

    /// - Returns: whether it is in its place.
    /// - Throws: what ends the process, as the others do.
    mutating func store(_ descriptor: SnapshotDescriptor, _ bytes: [UInt8]) throws(StorageError) -> Bool {
        if let files {
            return try attempt { () throws(StorageError) in try files.store(descriptor, bytes) } != nil
        }
        snapshots.removeAll { $0.descriptor == descriptor }
        snapshots.append((descriptor, bytes))
        return true
    }

    /// Removes files older than the one the durable log names, unless a transfer uses them.
    mutating func prune(keeping used: [SnapshotDescriptor]) throws(StorageError) {
        guard let named = image.snapshot else { return }
        if let files {
            // What cannot be removed now is removed with the next.
            _ = try attempt { () throws(StorageError) in try files.prune(keeping: used + [named]) }
            return
        }
        snapshots.removeAll { $0.descriptor.index < named.index && !used.contains($0.descriptor) }
    }

    func snapshot(_ descriptor: SnapshotDescriptor) throws(StorageError) -> [UInt8] {
        if let files { return try files.read(descriptor) }
        guard let found = snapshots.first(where: { $0.descriptor == descriptor }) else {
            throw StorageError(.snapshotMissing, "\(descriptor.id)", path: "")
        }
        return found.bytes
    }

    enum Receipt {
        case written(UInt64)
        case installed
        case failed
    }

    mutating func receive(
        _ descriptor: SnapshotDescriptor, offset: UInt64, bytes: [UInt8], isLast: Bool
    ) throws(StorageError) -> Receipt {
        if let files {
            let received = try attempt { () throws(StorageError) in
                try files.receive(descriptor, offset: offset, bytes: bytes, isLast: isLast)
            }
            guard let through = received else { return .failed }
            return isLast ? .installed : .written(through)
        }
        if offset == 0 { incoming = (descriptor, []) }
        guard incoming?.descriptor == descriptor, UInt64(incoming?.bytes.count ?? 0) == offset else { return .failed }
        incoming?.bytes.append(contentsOf: bytes)
        let received = incoming?.bytes ?? []
        guard isLast else { return .written(UInt64(received.count)) }
        incoming = nil
        guard UInt64(received.count) == descriptor.sizeBytes, CRC32C.checksum(received) == descriptor.checksum else {
            return .failed
        }
        return try store(descriptor, received) ? .installed : .failed
    }
}
