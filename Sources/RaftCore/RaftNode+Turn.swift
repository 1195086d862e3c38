public import EsperTypes

/// The end of a turn: what is dirty becomes effects, and completions come back.
extension RaftNode {
    /// Whether term and vote as they are now are on disk.
    var isHardStateDurable: Bool { !isHardStateDirty && hardStateSequence <= durableSequence }

    /// The last write, while it is not durable yet.
    var pendingSequence: WriteSequence? {
        let last = nextSequence.previous
        return last > durableSequence ? last : nil
    }

    mutating func setHardState(term: Term, vote: NodeID?) {
        hardState = HardState(term: term, vote: vote)
        isHardStateDirty = true
    }

    /// One batch for everything the turn changed.
    mutating func emitPersist(at now: Instant, into effects: inout [Effect]) {
        guard isHardStateDirty || log.isDirty || pendingInstall != nil || pendingCompaction != nil else { return }
        let sequence = nextSequence
        nextSequence = sequence.next
        let (truncateFrom, entries) = log.handOver(as: sequence, at: now)
        let batch = WriteBatch(
            sequence: sequence, hardState: isHardStateDirty ? hardState : nil, truncateFrom: truncateFrom,
            installedSnapshot: pendingInstall, entries: entries, compaction: pendingCompaction)
        if isHardStateDirty {
            isHardStateDirty = false
            hardStateSequence = sequence
        }
        if pendingInstall != nil { pendingRestore?.sequence = sequence }
        pendingInstall = nil
        pendingCompaction = nil
        effects.append(.persist(batch))
    }

    /// Votes, requests for votes and word of installed snapshots leave after everything written so far.
    ///
    /// A message of a term that ended within the turn is dropped: its term never reaches the disk.
    mutating func emitOutbox(into effects: inout [Effect]) {
        guard !outbox.isEmpty else { return }
        let barrier = pendingSequence
        for (message, to) in outbox where message.term == hardState.term {
            effects.append(.send(message, to: to, after: barrier))
        }
        outbox.removeAll(keepingCapacity: true)
    }

    mutating func persisted(through sequence: WriteSequence, at now: Instant, into effects: inout [Effect]) {
        precondition(sequence < nextSequence, "write \(sequence) was never handed over; the next is \(nextSequence)")
        guard sequence > durableSequence else { return }
        durableSequence = sequence
        log.persisted(through: sequence)
        endQuarantineIfPossible()
        ownVotePersisted(at: now, into: &effects)
    }

    /// Hands over what is committed and durable here, within the bound on unapplied entries.
    ///
    /// Waiting for the own disk keeps a single voter honest (a committed entry must not be applied before it is
    /// on any disk) and makes applied state recoverable on every node.
    ///
    /// Nothing is handed over while a restore is under way.
    mutating func emitApply(into effects: inout [Effect]) {
        guard restoring == nil else { return }
        if let restore = pendingRestore {
            guard let sequence = restore.sequence, sequence <= durableSequence else { return }
            pendingRestore = nil
            scheduled = restore.descriptor.index
            restoring = restore.descriptor.index
            effects.append(.restoreStateMachine(restore.descriptor))
            return
        }
        let bound = applied.advanced(by: options.maximumUnappliedEntries)
        let limit = min(commit, log.durable, bound)
        guard limit > scheduled else { return }
        effects.append(.apply(log.slice(from: scheduled.next, through: limit)))
        scheduled = limit
    }

    mutating func applied(through index: LogIndex) {
        precondition(
            index <= max(scheduled, min(commit, log.durable)),
            "\(index) is applied; handed over \(scheduled), committed \(commit), durable \(log.durable)")
        applied = max(applied, index)
        scheduled = max(scheduled, index)
        if let awaited = restoring, applied >= awaited { restoring = nil }
    }

    mutating func emitReadyReads(into effects: inout [Effect]) {
        while let read = confirmedReads.first, read.index <= scheduled {
            confirmedReads.removeFirst()
            effects.append(.readReady(read.tokens, index: read.index))
        }
    }
}

// MARK: - Time

extension RaftNode {
    /// When to step `deadlineReached` unless something else happens first. Changes with every step and flush.
    public var nextDeadline: Instant {
        var deadline = forwardedReads.nextDeadline(options)
        if role == .leader {
            deadline = min(deadline, election.quorumDeadline)
            var lastSent = Instant.distantFuture
            // By position: a look at a field copies less than a peer does.
            for position in peers.indices {
                lastSent = min(lastSent, peers[position].lastSent)
                if let departsAt = peers[position].departsAt { deadline = min(deadline, departsAt) }
                if let since = peers[position].noticeSince {
                    deadline = min(deadline, since + options.commitNoticeDelay)
                }
                if let due = transferDeadline(of: position) { deadline = min(deadline, due) }
            }
            deadline = min(deadline, lastSent + options.heartbeatInterval)
            if commit < termStart, commitsFrom > lastInstant { deadline = min(deadline, commitsFrom) }
            if let round = reads.round, peers.indices.contains(where: { peers[$0].readSent < reads.sequence }) {
                deadline = min(deadline, round.since + options.readRoundPatience)
            }
            if let transfer { deadline = min(deadline, transfer.deadline) }
            deadline = min(deadline, rosterDeadline)
            if let stall = stallDeadline { deadline = min(deadline, stall) }
        } else if mayCampaign {
            deadline = min(deadline, election.deadline)
        }
        return deadline
    }

    /// When the next chunk of a snapshot is to be sent, or sent again.
    private func transferDeadline(of position: Int) -> Instant? {
        guard peers[position].state == .snapshot, let transfer = peers[position].transfer else { return nil }
        switch transfer.step {
        case .awaiting(let since): return since + options.snapshotRetryInterval
        case .ready: return peers[position].isLinkDown ? nil : transfer.readableFrom
        case .reading: return nil
        }
    }

    mutating func deadlineReached(at now: Instant, into effects: inout [Effect]) {
        expireReads(at: now, into: &effects)
        if role == .leader {
            checkQuorum(at: now, into: &effects)
            expireTransfer(at: now, into: &effects)
            retrySnapshots(at: now)
        } else if now >= election.deadline {
            electionDeadlinePassed(at: now, into: &effects)
        }
    }
}
