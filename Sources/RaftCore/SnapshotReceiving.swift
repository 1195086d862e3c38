import EsperTypes

/// A snapshot on its way in.
struct InboundSnapshot: Sendable {
    let descriptor: SnapshotDescriptor
    /// Handed to the driver for writing.
    var expected: UInt64 = 0
    /// Written, as the driver reports.
    var written: UInt64 = 0
    /// The last chunk has been handed over.
    var isComplete = false

    init(descriptor: SnapshotDescriptor) { self.descriptor = descriptor }

    /// What an earlier life of the node had received.
    init(_ part: PartialSnapshot) {
        descriptor = part.descriptor
        expected = part.writtenBytes
        written = part.writtenBytes
    }
}

/// The follower's side of snapshots (§7).
extension RaftNode {
    mutating func snapshotReceived(
        _ chunk: InstallSnapshot, from sender: NodeID, at now: Instant, into effects: inout [Effect]
    ) {
        let descriptor = chunk.descriptor
        guard descriptor.id.term <= chunk.term, descriptor.configuration.isValid,
            descriptor.configurationIndex <= descriptor.index, descriptor.index > .zero
        else { return }
        guard listen(to: sender, term: chunk.term, at: now, into: &effects) else {
            if chunk.term < hardState.term {
                let response = InstallSnapshotResponse(
                    term: hardState.term, session: chunk.session, outcome: .staleTerm)
                outbox.append((.installSnapshotResponse(response), sender))
            }
            return
        }
        following.snapshotSession = chunk.session
        if log.holds(descriptor.id), descriptor.index > commit {
            // Our log has it all: what the snapshot covers is committed (§7).
            following.matched = max(following.matched, descriptor.index)
            commit = descriptor.index
        }
        guard descriptor.index > commit else {
            inbound = nil
            answerInstalled(through: commit)
            return
        }
        if inbound?.descriptor != descriptor { inbound = InboundSnapshot(descriptor: descriptor) }
        write(chunk, into: &effects)
    }

    private mutating func write(_ chunk: InstallSnapshot, into effects: inout [Effect]) {
        guard let current = inbound else { return }
        let (end, overflow) = chunk.offset.addingReportingOverflow(UInt64(chunk.bytes.count))
        guard chunk.offset == current.expected, !current.isComplete, !overflow, end <= current.descriptor.sizeBytes,
            chunk.isLast == (end == current.descriptor.sizeBytes), chunk.isLast || !chunk.bytes.isEmpty
        else {
            // Repeated, or from before our restart: say where we stand, unless a write that is under way will.
            if current.written == current.expected { answerWritten(current.written, into: &effects) }
            return
        }
        inbound?.expected = end
        inbound?.isComplete = chunk.isLast
        effects.append(
            .writeSnapshotChunk(current.descriptor, offset: chunk.offset, bytes: chunk.bytes, isLast: chunk.isLast))
    }

    mutating func snapshotChunkWritten(
        _ descriptor: SnapshotDescriptor, through: UInt64, into effects: inout [Effect]
    ) {
        guard inbound?.descriptor == descriptor else { return }
        inbound?.written = through
        answerWritten(through, into: &effects)
    }

    private func answerWritten(_ offset: UInt64, into effects: inout [Effect]) {
        guard role == .follower, let leader, let inbound else { return }
        let response = InstallSnapshotResponse(
            term: hardState.term, session: following.snapshotSession,
            outcome: .received(id: inbound.descriptor.id, nextOffset: offset))
        effects.append(.send(.installSnapshotResponse(response), to: leader, after: nil))
    }

    mutating func snapshotWriteFailed(_ descriptor: SnapshotDescriptor) {
        if inbound?.descriptor == descriptor { inbound = nil }
    }

    /// The file stands verified in its place: replace log and state by it, unless the log has overtaken it.
    ///
    /// The write batch of this turn is the commit point; the state machine follows when it is durable.
    mutating func snapshotInstalled(_ descriptor: SnapshotDescriptor, into effects: inout [Effect]) {
        guard inbound?.descriptor == descriptor else { return }
        inbound = nil
        guard role == .follower, descriptor.index > commit else { return }
        let before = log.configuration
        // Until the state has followed, this node knows nothing.
        held.drop()
        log.install(descriptor, agreed: commit)
        entriesGainedAt = lastInstant
        commit = descriptor.index
        snapshot = descriptor
        pendingInstall = descriptor
        // Superseded with the log: the descriptor of this turn says where the log begins now.
        pendingCompaction = nil
        pendingRestore = (descriptor, nil)
        following.matched = max(min(following.matched, log.last.index), descriptor.index)
        announceConfiguration(unless: before, into: &effects)
        answerInstalled(through: descriptor.index)
    }

    private mutating func answerInstalled(through index: LogIndex) {
        guard role == .follower, let leader else { return }
        let response = InstallSnapshotResponse(
            term: hardState.term, session: following.snapshotSession, outcome: .installed(through: index))
        outbox.append((.installSnapshotResponse(response), leader))
    }
}
