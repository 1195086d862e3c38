import CacheCore
public import EsperTypes

/// Why a snapshot cannot be restored. The bytes are damaged or from a newer version; nothing was changed.
public enum SnapshotError: Error, Hashable, Sendable {
    /// The stream does not start as a snapshot does.
    case notASnapshot
    case unsupportedVersion(UInt16)
    /// A frame's checksum is wrong; `offset` counts from the start of the stream.
    case damaged(offset: Int)
    case unreadable(offset: Int, DecodingError)
    /// The stream ended early, or goes on after its end.
    case incomplete
    case trailingBytes
    /// Everything could be read, but the state is not the one that was written.
    case hashMismatch
}

/// Rebuilds a state machine from the bytes of ``SnapshotEncoder``, cut into pieces anyhow.
public struct SnapshotDecoder: Sendable {
    private var state = StateMachine()
    /// Bytes that do not make a frame yet, from `position` on.
    private var buffer: [UInt8] = []
    private var position = 0
    /// Where `buffer` starts in the stream.
    private var bufferOffset = 0
    private var hasPrelude = false
    private var version = SnapshotFormat.version
    private var hasState = false
    private var isComplete = false
    /// The end does not agree with what came before it.
    private var isMismatched = false
    private var digest = SnapshotFormat.digest(SnapshotFormat.version)
    private var lastClient: UInt64?
    /// The revision whose changes are being replayed.
    private var replayed = Revision.zero
    private var events: [WatchEvent] = []
    /// The changes of the compacted revision.
    private var compactedEvents: [WatchEvent] = []

    public init() {}

    /// Takes the next bytes of the stream.
    public mutating func feed(_ bytes: [UInt8]) throws(SnapshotError) {
        buffer.append(contentsOf: bytes)
        if !hasPrelude {
            guard buffer.count >= SnapshotFormat.preludeBytes else {
                guard SnapshotFormat.magic.starts(with: buffer.prefix(8)) else { throw .notASnapshot }
                return
            }
            try readPrelude()
        }
        while try readFrame() {}
        // What was read is given back once it is the larger part.
        if position > buffer.count / 2 {
            buffer.removeSubrange(..<position)
            bufferOffset += position
            position = 0
        }
    }

    /// - Returns: the state machine, once the whole stream was fed and every check held.
    public consuming func finish() throws(SnapshotError) -> StateMachine {
        guard isComplete, hasState else { throw .incomplete }
        state.keyspace.setCompactedEntry(compactedEvents)
        for range in ClaimIndex.reserved {
            for version in state.keyspace.versions(in: range, at: Revision(.max)) {
                guard let session = version.session, version.key.count > 16 else { throw .hashMismatch }
                state.claims.add(version, session: session)
            }
        }
        return state
    }

    // MARK: Frames

    private mutating func readPrelude() throws(SnapshotError) {
        guard buffer.starts(with: SnapshotFormat.magic) else { throw .notASnapshot }
        let version = UInt16(buffer[8]) | UInt16(buffer[9]) << 8
        guard (SnapshotFormat.oldestVersion...SnapshotFormat.version).contains(version) else {
            throw .unsupportedVersion(version)
        }
        self.version = version
        digest = SnapshotFormat.digest(version)
        position = SnapshotFormat.preludeBytes
        hasPrelude = true
    }

    /// - Returns: whether there was a whole frame.
    private mutating func readFrame() throws(SnapshotError) -> Bool {
        let available = buffer.count - position
        if isComplete {
            guard available == 0 else { throw .trailingBytes }
            return false
        }
        guard available >= SnapshotFormat.frameHeaderBytes else { return false }
        let offset = bufferOffset + position
        let (length, checksum) = buffer.withUnsafeBytes {
            (
                Int(UInt32(littleEndian: $0.loadUnaligned(fromByteOffset: position, as: UInt32.self))),
                UInt32(littleEndian: $0.loadUnaligned(fromByteOffset: position + 4, as: UInt32.self))
            )
        }
        guard length <= SnapshotFormat.frameBytes else { throw .damaged(offset: offset) }
        guard available >= SnapshotFormat.frameHeaderBytes + length else { return false }
        let start = position + SnapshotFormat.frameHeaderBytes
        let body = Array(buffer[start..<start + length])
        guard CRC32C.checksum(body) == checksum else { throw .damaged(offset: offset) }
        position = start + length
        var reader = ByteReader(body)
        do throws(DecodingError) {
            if body.first == SnapshotTag.end.rawValue {
                try readEnd(&reader)
                try reader.finish()
            } else {
                while reader.remaining > 0 { try readRecord(&reader) }
                digest.add(body)
            }
        } catch {
            throw .unreadable(offset: offset, error)
        }
        if isMismatched { throw .hashMismatch }
        return true
    }

    private mutating func readEnd(_ reader: inout ByteReader) throws(DecodingError) {
        _ = try reader.read(UInt8.self)
        commitReplay()
        let totals = try SnapshotTotals(from: &reader, version: version)
        isMismatched = try reader.read(UInt64.self) != digest.value || totals != SnapshotTotals(state)
        isComplete = true
    }

    // MARK: Records

    private mutating func readRecord(_ reader: inout ByteReader) throws(DecodingError) {
        let tag = try reader.read(UInt8.self)
        guard let kind = SnapshotTag(rawValue: tag), hasState || kind == .state else {
            throw .unknownTag(UInt64(tag))
        }
        switch kind {
        case .state: try readState(&reader)
        case .base:
            let version = try KeyValue(from: &reader)
            guard version.modRevision <= state.keyspace.compacted else {
                throw .unknownTag(version.modRevision.rawValue)
            }
            state.keyspace.restore(version)
            if version.modRevision == state.keyspace.compacted {
                compactedEvents.append(WatchEvent(keyValue: version, previous: nil))
            }
        case .put:
            try startReplay(of: try reader.read())
            let key = try reader.readBytes(atMost: Limits.keyBytes)
            let value = try reader.readBytes(atMost: Limits.valueBytes)
            state.keyspace.put(key, value, session: try reader.read())
        case .deletion:
            let revision = try reader.read(Revision.self)
            if version > 5, revision == state.keyspace.compacted, replayed == .zero {
                let key = try reader.readBytes(atMost: Limits.keyBytes)
                compactedEvents.append(
                    WatchEvent(
                        keyValue: KeyValue(
                            key: key, value: [], createRevision: .zero, modRevision: revision, version: 0),
                        previous: nil))
                break
            }
            try startReplay(of: revision)
            state.keyspace.delete(try reader.readBytes(atMost: Limits.keyBytes))
        case .session:
            let id = try reader.read(UInt64.self)
            let ttl = try Duration(from: &reader)
            let grantedAt = try reader.read(UInt64.self)
            let principal = try reader.readString(atMost: CoordinationLimits.principalBytes * 3)
            let label = version == 1 ? "" : try reader.readString(atMost: CoordinationLimits.labelBytes)
            let grantedBy = version < 6 ? LogIndex(id) : try reader.read(LogIndex.self)
            state.sessions.records.set(
                id, .init(ttl: ttl, principal: principal, label: label, grantedAt: grantedAt, grantedBy: grantedBy))
        case .client:
            let id = try reader.read(UInt64.self)
            let floor = try reader.read(UInt64.self)
            let lastUsed = try reader.read(UInt64.self)
            let owner = version < 6 ? "" : try reader.readString(atMost: CoordinationLimits.principalBytes * 3)
            state.requests.clients.set(id, .init(owner: owner, floor: floor, lastUsed: lastUsed))
            lastClient = id
        case .answer:
            let sequence = try reader.read(UInt64.self)
            let reply = try CommandReply(from: &reader)
            guard let lastClient else { throw .unknownTag(UInt64(tag)) }
            let answer = RequestTable.Answer(sequence: sequence, cost: reply.result.cost, reply: reply)
            state.requests.clients.update(lastClient) { $0.answers.append(answer) }
            state.requests.bytes += answer.cost
        case .outboxRecord:
            let id = try OutboxRecord.ID(from: &reader)
            let body = try reader.readBytes(atMost: Limits.entryPayloadBytes)
            var bodyReader = ByteReader(body)
            _ = try OutboxRecord(id: id, from: &bodyReader)
            try bodyReader.finish()
            state.outbox.records.set(id, body)
        case .members:
            guard version > 2, state.members.isEmpty else { throw .unknownTag(UInt64(tag)) }
            state.members = try MemberTable(from: &reader)
        case .joinToken:
            guard version > 4, state.joinTokens.records.count < CoordinationLimits.joinTokens else {
                throw .unknownTag(UInt64(tag))
            }
            state.joinTokens.records.append(try JoinTokenRecord(from: &reader))
        case .memberKey:
            guard version > 4, state.joinTokens.keys.count < CoordinationLimits.members else {
                throw .unknownTag(UInt64(tag))
            }
            state.joinTokens.keys.append(try .init(from: &reader))
        case .auth:
            guard version > 5, state.auth.revision == 1 else { throw .unknownTag(UInt64(tag)) }
            state.auth = try AuthTable(from: &reader)
        case .cache:
            guard version > 6 else { throw .unknownTag(UInt64(tag)) }
            state.cache.differing = try reader.read()
            state.cache.unprojected = try reader.read()
            guard state.cache.differing != 0 || state.cache.unprojected != 0 else { throw .unknownTag(0) }
        case .binding:
            guard version > 6 else { throw .unknownTag(UInt64(tag)) }
            let name = try reader.readBytes(atMost: CacheLimits.nameBytes)
            let binding = try Binding(from: &reader)
            guard CacheCommand.isName(name) else { throw .oversized(name.count) }
            state.cache.set(name, binding)
        case .shardMap:
            guard version > 6, state.cache.map == nil else { throw .unknownTag(UInt64(tag)) }
            state.cache.map = try ShardMap(from: &reader)
        case .mixedChain: state.isChainMixed = true
        case .end: throw .unknownTag(UInt64(tag))
        }
    }

    private mutating func readState(_ reader: inout ByteReader) throws(DecodingError) {
        guard !hasState else { throw .unknownTag(UInt64(SnapshotTag.state.rawValue)) }
        state.applied = EntryID(term: try reader.readReachable(), index: try reader.readReachable())
        state.time = try reader.read()
        state.applyChain = try reader.read()
        state.keyspace.compacted = try reader.readReachable()
        // Earlier formats do not tell what that revision deleted.
        state.keyspace.watchable = version > 5 ? state.keyspace.compacted : state.keyspace.compacted.next
        state.keyspace.revision = max(state.keyspace.compacted, state.keyspace.revision)
        state.outbox.acknowledged = try OutboxRecord.ID(from: &reader)
        state.settings = try CoordinationSettings(from: &reader)
        state.isChainMixed = version < SnapshotFormat.oldestChainVersion
        hasState = true
    }

    /// Changes come by revision, without gaps.
    private mutating func startReplay(of revision: Revision) throws(DecodingError) {
        if revision == replayed { return }
        commitReplay()
        guard revision == state.keyspace.upcoming else { throw .oversized(Int(clamping: revision.rawValue)) }
        replayed = revision
    }

    private mutating func commitReplay() {
        state.keyspace.commit(into: &events)
        events.removeAll(keepingCapacity: true)
    }
}
