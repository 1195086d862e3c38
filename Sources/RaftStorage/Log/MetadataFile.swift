package import EsperTypes
internal import Synchronization

/// What the two metadata slots remember outside the log.
package struct Metadata: Hashable, Sendable {
    package var identity: StorageIdentity
    /// Every batch up to this one is durable; the log may know of later ones.
    package var durableThrough: UInt64
    /// The header of this segment is durable, and so are those before it that still exist.
    package var activeSegment: UInt64
    /// Grows with every write; the slot with the higher one counts.
    package var generation: UInt64
    /// The log begins with this segment; what earlier ones hold was given up after damage. 0 while that never happened.
    package var firstSegment: UInt64 = 0
    /// The term in force at the log's end, while `durableThrough` is the end: from a clean stop to the next start.
    package var closedIn: Term?
    /// What this node promised in terms up to this one may have been lost with damage.
    package var lostThrough: Term?
}

/// Two slots, written in turn and each with a checksum, so that a torn write leaves the other. Format: docs/formats/log.md.
package final class MetadataFile: Sendable {
    static let slotDistance = 4096
    static let slotBytes = 512
    private static let magic: UInt64 = 0x3141_5445_4d52_5345  // "ESRMETA1"
    private static let prefixBytes = 20

    private let file: any File
    private let current: Mutex<Metadata>

    private init(file: any File, current: Metadata) {
        self.file = file
        self.current = Mutex(current)
    }

    package var metadata: Metadata { current.withLock { $0 } }

    /// Creates the file with both slots written. The caller makes its name durable.
    static func create(
        _ path: String, _ metadata: Metadata, in fileSystem: some FileSystem
    ) throws(FileError) -> MetadataFile {
        let file = try fileSystem.create(path)
        try file.reserve(UInt64(2 * slotDistance))
        let created = MetadataFile(file: file, current: metadata)
        try created.writeSlot(metadata)
        var next = metadata
        next.generation += 1
        try created.writeSlot(next)
        try file.synchronize()
        created.current.withLock { $0 = next }
        return created
    }

    /// - Throws: `corrupted` when neither slot is readable, `newerFormat` when a later release wrote one.
    static func open(_ path: String, in fileSystem: some FileSystem) throws(StorageError) -> MetadataFile {
        let file: any File
        var slots: [Slot] = []
        do throws(FileError) {
            file = try fileSystem.open(path)
            // The newer slot may be no more than what a process before wrote, and the next write goes over the other one.
            try file.settle()
            for number in 0...1 {
                let bytes = try file.readBytes(slotBytes, at: UInt64(number * slotDistance))
                slots.append(bytes.count == slotBytes ? decode(bytes) : .unreadable)
            }
        } catch {
            throw StorageError(error)
        }
        var newest: Metadata?
        for slot in slots {
            switch slot {
            case .newerFormat(let version):
                throw StorageError(
                    .newerFormat,
                    "written with format version \(version), this program reads up to \(storageFormatVersion)",
                    path: path)
            case .metadata(let metadata):
                if metadata.generation >= newest?.generation ?? 0 { newest = metadata }
            case .unreadable: break
            }
        }
        guard let newest else {
            throw StorageError(.corrupted, "neither of the two metadata slots is readable", path: path, offset: 0)
        }
        return MetadataFile(file: file, current: newest)
    }

    /// Makes a newer state durable in the slot that holds the older one, and another active segment in both: else the log would end before
    /// a segment whose header is lost with the one slot that tells of it. Never goes back.
    package func update(durableThrough: UInt64, activeSegment: UInt64) throws(StorageError) {
        do throws(FileError) {
            try current.withLock { (metadata) throws(FileError) in
                guard durableThrough > metadata.durableThrough || activeSegment > metadata.activeSegment else { return }
                var next = metadata
                next.durableThrough = max(durableThrough, metadata.durableThrough)
                next.activeSegment = max(activeSegment, metadata.activeSegment)
                next.closedIn = nil
                let isNewSegment = next.activeSegment > metadata.activeSegment
                try write(next, over: &metadata)
                if isNewSegment { try write(next, over: &metadata) }
            }
        } catch {
            throw StorageError(error)
        }
    }

    /// Says that the log ends here, in this term: nothing may be written after.
    package func close(durableThrough: UInt64, activeSegment: UInt64, term: Term) throws(StorageError) {
        do throws(FileError) {
            try current.withLock { (metadata) throws(FileError) in
                var next = metadata
                next.durableThrough = durableThrough
                next.activeSegment = activeSegment
                next.closedIn = term
                try write(next, over: &metadata)
            }
        } catch {
            throw StorageError(error)
        }
    }

    /// The commit point of a log that begins anew after damage, in both slots: whichever is lost later, the other knows.
    func beginAnew(firstSegment: UInt64, durableThrough: UInt64, lostThrough: Term) throws(FileError) {
        try current.withLock { (metadata) throws(FileError) in
            var next = metadata
            next.durableThrough = durableThrough
            next.activeSegment = firstSegment
            next.firstSegment = firstSegment
            next.closedIn = nil
            next.lostThrough = lostThrough
            for _ in 0...1 { try write(next, over: &metadata) }
        }
    }

    /// Makes `next` durable in the slot that holds the older state.
    private func write(_ next: Metadata, over metadata: inout Metadata) throws(FileError) {
        var next = next
        next.generation = metadata.generation + 1
        try writeSlot(next)
        try file.synchronize()
        metadata = next
    }

    func closeFile() { file.close() }

    private func writeSlot(_ metadata: Metadata) throws(FileError) {
        try file.writeBytes(
            Self.encode(metadata), at: UInt64(metadata.generation % 2) * UInt64(Self.slotDistance))
    }

    private enum Slot {
        case metadata(Metadata)
        case newerFormat(UInt32)
        case unreadable
    }

    private static func encode(_ metadata: Metadata) -> [UInt8] {
        var body = ByteWriter(capacity: slotBytes)
        body.write(metadata.identity.cluster)
        body.write(metadata.identity.node)
        body.write(metadata.identity.incarnation)
        body.write(metadata.durableThrough)
        body.write(metadata.activeSegment)
        body.write(metadata.generation)
        body.write(metadata.firstSegment)
        body.write(optional: metadata.closedIn) { $0.write($1) }
        body.write(optional: metadata.lostThrough) { $0.write($1) }
        var slot = ByteWriter(capacity: slotBytes)
        slot.write(magic)
        slot.write(storageFormatVersion)
        slot.write(UInt32(body.bytes.count))
        let padding = [UInt8](repeating: 0, count: slotBytes - prefixBytes - body.bytes.count)
        var crc = CRC32C()
        crc.update(slot.bytes)
        crc.update(body.bytes)
        crc.update(padding)
        slot.write(crc.checksum)
        return slot.bytes + body.bytes + padding
    }

    /// The checksum covers the whole slot whatever its version, so damage never looks like a newer format.
    private static func decode(_ slot: [UInt8]) -> Slot {
        var crc = CRC32C()
        crc.update([UInt8](slot[..<16]))
        crc.update([UInt8](slot[prefixBytes...]))
        var prefix = ByteReader(slot)
        guard (try? prefix.read(UInt64.self)) == magic, let version = try? prefix.read(UInt32.self),
            (try? prefix.read(UInt32.self)) != nil, (try? prefix.read(UInt32.self)) == crc.checksum
        else { return .unreadable }
        guard version <= storageFormatVersion else { return .newerFormat(version) }
        var body = ByteReader(slot[prefixBytes...])
        guard let cluster = try? body.read(ClusterID.self), let node = try? body.read(NodeID.self),
            let incarnation = try? body.read(Incarnation.self), let durableThrough = try? body.readExtent(),
            let activeSegment = try? body.readExtent(), let generation = try? body.readExtent()
        else { return .unreadable }
        var metadata = Metadata(
            identity: StorageIdentity(cluster: cluster, node: node, incarnation: incarnation),
            durableThrough: durableThrough, activeSegment: activeSegment, generation: generation)
        do throws(DecodingError) {
            // A slot of an early release has zeros from here on, which say that none of this ever happened.
            metadata.firstSegment = try body.readExtent()
            metadata.closedIn = try body.readOptional(readTerm)
            metadata.lostThrough = try body.readOptional(readTerm)
        } catch {
            return .unreadable
        }
        return .metadata(metadata)
    }

    private static func readTerm(_ reader: inout ByteReader) throws(DecodingError) -> Term {
        try reader.readReachable(Term.self)
    }
}
