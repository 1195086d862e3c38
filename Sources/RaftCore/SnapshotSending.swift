public import EsperTypes

/// The leader's side of snapshots: cutting its own log, and bringing followers over what it has cut (§7).
extension RaftNode {
    /// What a snapshot of the state machine at `index` must name.
    ///
    /// - Returns: nil when the log does not hold `index` any more, and on a node that joined later and does not know who
    ///   voted then: a snapshot without a configuration would be of no use to anybody.
    public func snapshotBasis(at index: LogIndex) -> SnapshotBasis? {
        guard index <= commit, let id = log.id(at: index),
            let record = log.configurations.last(where: { $0.index <= index }), record.configuration.isValid
        else { return nil }
        return SnapshotBasis(id: id, configuration: record.configuration, configurationIndex: record.index)
    }

    /// Takes note of a durable snapshot and cuts the log.
    ///
    /// What a snapshot under way or a follower that keeps up still needs stays, within `maximumRetainedBytes`: else a
    /// transfer would end where the log no longer begins, for ever.
    mutating func snapshotTaken(_ descriptor: SnapshotDescriptor, retainFrom: LogIndex) {
        precondition(
            descriptor.index <= applied, "a snapshot at \(descriptor.id), but only \(applied) is applied")
        guard descriptor.index >= snapshot?.index ?? .zero.next, log.holds(descriptor.id) else { return }
        var through = min(retainFrom.previous, descriptor.index)
        for peer in peers where !peer.isLinkDown {
            let needed = peer.transfer?.descriptor.index ?? peer.match
            guard needed < through, peer.state != .probe else { continue }
            if log.payloadBytes(from: max(needed, log.base.index).next, through: through)
                <= options.maximumRetainedBytes
            {
                through = needed
            }
        }
        through = max(through, log.base.index)
        // One in the place of the last, which was damaged, or which lets go of more of the log.
        guard descriptor != snapshot || through > log.base.index else { return }
        snapshot = descriptor
        log.compact(through: through)
        pendingCompaction = Compaction(snapshot: descriptor, through: log.base)
    }

    /// The follower needs entries that are gone.
    mutating func beginSnapshot(_ position: Int) {
        guard let snapshot else {
            preconditionFailure("the log begins after \(log.base) without a snapshot")
        }
        peers[position].sendSnapshot(snapshot, session: newSession())
    }

    mutating func advanceSnapshot(_ position: Int, at now: Instant, into effects: inout [Effect]) {
        if let chosen = peers[position].transfer, chosen.step == .ready, chosen.acknowledged == 0, let snapshot,
            snapshot.index > chosen.descriptor.index
        {
            // Chosen while the follower was away, and nothing of it has arrived.
            beginSnapshot(position)
        }
        guard let transfer = peers[position].transfer, transfer.step == .ready, now >= transfer.readableFrom,
            !peers[position].isLinkDown
        else { return }
        if transfer.acknowledged >= transfer.descriptor.sizeBytes, transfer.descriptor.sizeBytes > 0 {
            // Everything is there: ask how the installation goes with an empty chunk.
            sendChunk(to: position, offset: transfer.acknowledged, bytes: [], isLast: true, into: &effects)
            peers[position].transfer?.step = .awaiting(since: now)
            return
        }
        peers[position].transfer?.step = .reading
        if options.snapshotBytesPerSecond > 0 {
            let pause = Duration.seconds(1) * options.snapshotChunkBytes / options.snapshotBytesPerSecond
            peers[position].transfer?.readableFrom = now + pause
        }
        effects.append(
            .readSnapshotChunk(
                to: peers[position].id, transfer.descriptor, offset: transfer.acknowledged,
                maximumBytes: options.snapshotChunkBytes))
    }

    mutating func snapshotChunkRead(
        to follower: NodeID, _ descriptor: SnapshotDescriptor, offset: UInt64, bytes: [UInt8], isLast: Bool,
        at now: Instant, into effects: inout [Effect]
    ) {
        guard role == .leader, let position = peerIndex(follower), let transfer = peers[position].transfer,
            transfer.descriptor == descriptor, transfer.step == .reading, transfer.acknowledged == offset
        else { return }
        sendChunk(to: position, offset: offset, bytes: bytes, isLast: isLast, into: &effects)
        peers[position].transfer?.step = .awaiting(since: now)
    }

    private mutating func sendChunk(
        to position: Int, offset: UInt64, bytes: [UInt8], isLast: Bool, into effects: inout [Effect]
    ) {
        guard let transfer = peers[position].transfer else { return }
        let chunk = InstallSnapshot(
            term: hardState.term, session: peers[position].session, descriptor: transfer.descriptor, offset: offset,
            bytes: bytes, isLast: isLast)
        effects.append(.send(.installSnapshot(chunk), to: peers[position].id, after: nil))
    }

    mutating func snapshotReadFailed(to follower: NodeID, _ descriptor: SnapshotDescriptor, at now: Instant) {
        guard role == .leader, let position = peerIndex(follower), let snapshot,
            let transfer = peers[position].transfer, transfer.descriptor == descriptor
        else { return }
        peers[position].sendSnapshot(snapshot, session: newSession())
        // The newest one is unreadable too: not at once again.
        if snapshot == descriptor { peers[position].transfer?.step = .awaiting(since: now) }
    }

    mutating func snapshotAnswered(
        _ response: InstallSnapshotResponse, by follower: NodeID, at now: Instant, into effects: inout [Effect]
    ) {
        guard let position = leaderHears(follower, term: response.term, at: now, into: &effects),
            response.session == peers[position].session, let transfer = peers[position].transfer
        else { return }
        switch response.outcome {
        case .received(let id, let nextOffset):
            guard id == transfer.descriptor.id, nextOffset <= transfer.descriptor.sizeBytes else { return }
            // A repeated answer must not start a second read of the same chunk.
            guard case .awaiting = transfer.step else { return }
            peers[position].transfer?.acknowledged = nextOffset
            let isComplete = nextOffset == transfer.descriptor.sizeBytes
            peers[position].transfer?.step = isComplete ? .awaiting(since: now) : .ready
        case .installed(let through):
            guard through <= log.last.index else { return }
            _ = peers[position].matched(durable: through, received: through, at: now)
            noteAcknowledgement(by: position, at: now)
            leaveSnapshotIfPossible(position)
        case .staleTerm: break
        }
    }

    /// Goes back to entries when the follower has come to where the log begins, by whatever way.
    mutating func leaveSnapshotIfPossible(_ position: Int) {
        guard peers[position].state == .snapshot, let transfer = peers[position].transfer else { return }
        if log.term(at: peers[position].match) != nil, peers[position].match > .zero {
            peers[position].replicateFromMatch(session: newSession())
        } else if peers[position].match >= transfer.descriptor.index {
            // It has what was sent, and the log has been cut beyond that since.
            beginSnapshot(position)
        }
    }

    mutating func retrySnapshots(at now: Instant) {
        for position in peers.indices {
            guard let transfer = peers[position].transfer, case .awaiting(let since) = transfer.step,
                now - since >= options.snapshotRetryInterval
            else { continue }
            peers[position].transfer?.step = .ready
        }
    }
}
