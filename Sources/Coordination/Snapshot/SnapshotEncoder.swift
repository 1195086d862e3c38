import CacheCore
import EsperTypes

/// Writes a state machine as a stream of chunks, on any thread, while the machine it was copied from goes on.
///
///     var encoder = SnapshotEncoder(state)          // O(1)
///     while let chunk = encoder.next() { … }
///
/// The bytes depend on the logical state alone: replicas that applied the same entries write the same snapshot.
public struct SnapshotEncoder: Sequence, IteratorProtocol, Sendable {
    private enum Phase: Sendable {
        case prelude
        case state
        case base(VersionCursor)
        /// The compacted revision's own, which no version tells of; at most as many as one command deletes.
        case deletions(ArraySlice<WatchEvent>)
        case changes(TreeCursor<UInt64, Keyspace.Changes>)
        case sessions(TreeCursor<UInt64, SessionTable.Record>)
        case clients(TreeCursor<UInt64, RequestTable.Client>)
        case outbox(TreeCursor<OutboxRecord.ID, [UInt8]>)
        case names(TreeCursor<[UInt8], PackedBinding>)
        case end
        case done
    }

    private let state: StateMachine
    private var phase = Phase.prelude
    private var digest = SnapshotFormat.digest(SnapshotFormat.version)

    /// ``StateMachine/stateHash``, known once the last chunk was returned.
    public private(set) var stateHash: UInt64?

    public init(_ state: StateMachine) { self.state = state }

    /// The next bytes of the stream, about ``CoordinationLimits/snapshotFrameBytes`` of them; `nil` at the end.
    public mutating func next() -> [UInt8]? {
        switch phase {
        case .done: return nil
        case .prelude:
            var writer = ByteWriter()
            SnapshotFormat.magic.withUnsafeBytes { writer.append($0) }
            writer.write(SnapshotFormat.version)
            phase = .state
            return writer.bytes
        case .end:
            var writer = ByteWriter()
            writer.write(SnapshotTag.end.rawValue)
            SnapshotTotals(state).encode(into: &writer)
            let hash = digest.value
            writer.write(hash)
            stateHash = hash
            phase = .done
            return Self.frame(writer.bytes)
        case .state, .base, .deletions, .changes, .sessions, .clients, .outbox, .names:
            let body = nextBody()
            digest.add(body)
            return Self.frame(body)
        }
    }

    /// Records of the current phases until a frame is full or the next is the last.
    private mutating func nextBody() -> [UInt8] {
        var writer = ByteWriter(capacity: CoordinationLimits.snapshotFrameBytes + (8 << 10))
        let full = CoordinationLimits.snapshotFrameBytes
        while writer.bytes.count < full {
            switch phase {
            case .state:
                writeState(&writer)
                phase = .base(state.keyspace.versions(in: .all, at: state.compactedRevision))
            case .base(var cursor):
                // Given back below, so that the cursor's storage is not shared while it moves.
                phase = .done
                while writer.bytes.count < full, let version = cursor.next() {
                    writer.write(SnapshotTag.base.rawValue)
                    version.encode(into: &writer)
                }
                phase = .base(cursor)
                if writer.bytes.count < full { phase = .deletions(compactedDeletions) }
            case .deletions(var events):
                while writer.bytes.count < full, let event = events.popFirst() { write(.one(event), &writer) }
                phase = .deletions(events)
                if writer.bytes.count < full {
                    phase = .changes(state.keyspace.log.cursor(from: state.compactedRevision.rawValue + 1))
                }
            case .changes(var cursor):
                phase = .done
                while writer.bytes.count < full, let (_, changes) = cursor.next() { write(changes, &writer) }
                phase = .changes(cursor)
                if writer.bytes.count < full { phase = .sessions(state.sessions.records.cursor()) }
            case .sessions(var cursor):
                phase = .done
                while writer.bytes.count < full, let (id, record) = cursor.next() { write(id, record, &writer) }
                phase = .sessions(cursor)
                if writer.bytes.count < full { phase = .clients(state.requests.clients.cursor()) }
            case .clients(var cursor):
                phase = .done
                while writer.bytes.count < full, let (id, client) = cursor.next() { write(id, client, &writer) }
                phase = .clients(cursor)
                if writer.bytes.count < full { phase = .outbox(state.outbox.records.cursor()) }
            case .outbox(var cursor):
                phase = .done
                while writer.bytes.count < full, let (id, body) = cursor.next() {
                    writer.write(SnapshotTag.outboxRecord.rawValue)
                    id.encode(into: &writer)
                    writer.write(body)
                }
                phase = .outbox(cursor)
                if writer.bytes.count < full { phase = .names(state.cache.names.cursor()) }
            case .names(var cursor):
                phase = .done
                while writer.bytes.count < full, let (name, packed) = cursor.next() {
                    writer.write(SnapshotTag.binding.rawValue)
                    writer.write(name)
                    packed.binding.encode(into: &writer)
                }
                phase = .names(cursor)
                if writer.bytes.count < full {
                    phase = .end
                    return writer.bytes
                }
            case .prelude, .end, .done: preconditionFailure("no records in this phase")
            }
        }
        return writer.bytes
    }

    private var compactedDeletions: ArraySlice<WatchEvent> {
        let changes = state.keyspace.log.value(for: state.compactedRevision.rawValue)
        return Keyspace.cut(changes?.events.filter(\.isDeletion) ?? [])[...]
    }

    private static func frame(_ body: [UInt8]) -> [UInt8] {
        var writer = ByteWriter(capacity: body.count + SnapshotFormat.frameHeaderBytes)
        writer.write(UInt32(body.count))
        writer.write(CRC32C.checksum(body))
        body.withUnsafeBytes { writer.append($0) }
        return writer.bytes
    }

    // MARK: Records

    private func writeState(_ writer: inout ByteWriter) {
        writer.write(SnapshotTag.state.rawValue)
        writer.write(state.applied.term)
        writer.write(state.applied.index)
        writer.write(state.time)
        writer.write(state.applyChain)
        writer.write(state.compactedRevision)
        state.outbox.acknowledged.encode(into: &writer)
        state.settings.encode(into: &writer)
        if state.isChainMixed { writer.write(SnapshotTag.mixedChain.rawValue) }
        if !state.members.isEmpty {
            writer.write(SnapshotTag.members.rawValue)
            state.members.encode(into: &writer)
        }
        for record in state.joinTokens.records {
            writer.write(SnapshotTag.joinToken.rawValue)
            record.encode(into: &writer)
        }
        for key in state.joinTokens.keys {
            writer.write(SnapshotTag.memberKey.rawValue)
            key.encode(into: &writer)
        }
        if state.auth.status.revision > 1 {
            writer.write(SnapshotTag.auth.rawValue)
            state.auth.encode(into: &writer)
        }
        if state.cache.differing != 0 || state.cache.unprojected != 0 {
            writer.write(SnapshotTag.cache.rawValue)
            writer.write(state.cache.differing)
            writer.write(state.cache.unprojected)
        }
        if let map = state.cache.map {
            writer.write(SnapshotTag.shardMap.rawValue)
            map.encode(into: &writer)
        }
    }

    private func write(_ changes: Keyspace.Changes, _ writer: inout ByteWriter) {
        for event in changes.events {
            writer.write((event.isDeletion ? SnapshotTag.deletion : .put).rawValue)
            writer.write(event.revision)
            writer.write(event.key)
            if event.isDeletion { continue }
            writer.write(event.keyValue.value)
            writer.write(event.keyValue.storage.session)
        }
    }

    private func write(_ id: UInt64, _ record: SessionTable.Record, _ writer: inout ByteWriter) {
        writer.write(SnapshotTag.session.rawValue)
        writer.write(id)
        writer.write(record.ttl.nanoseconds)
        writer.write(record.grantedAt)
        writer.write(record.principal)
        writer.write(record.label)
        writer.write(record.grantedBy)
    }

    private func write(_ id: UInt64, _ client: RequestTable.Client, _ writer: inout ByteWriter) {
        writer.write(SnapshotTag.client.rawValue)
        writer.write(id)
        writer.write(client.floor)
        writer.write(client.lastUsed)
        writer.write(client.owner)
        for answer in client.answers {
            writer.write(SnapshotTag.answer.rawValue)
            writer.write(answer.sequence)
            answer.reply.encode(into: &writer)
        }
    }
}

extension StateMachine {
    /// A digest of everything that apply depends on, equal on replicas that applied the same entries, whether live or
    /// restored. Cost: O(state), that of encoding a snapshot; take it of a copy on another thread.
    public var stateHash: UInt64 {
        var encoder = SnapshotEncoder(self)
        while encoder.next() != nil {}
        return encoder.stateHash!
    }
}
