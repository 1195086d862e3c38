import EsperTypes
import RaftCore

/// Nodes: their turns, and the effects of their cores performed on the simulated world.
extension Simulator {
    typealias Node = SimulatedNode<Machine>

    func receive(_ node: Node, _ input: Input) {
        guard node.isUp else { return }
        node.inbox.append(input)
        scheduleTurn(node)
    }

    func scheduleTurn(_ node: Node) {
        guard node.isUp, !node.isPaused, !node.isTurnScheduled else { return }
        node.isTurnScheduled = true
        let delay = plan.turnDelay == 0 ? 0 : UInt64(random.int(in: 0...plan.turnDelay))
        clock.schedule(.turn(node: node.index, life: node.life), after: delay)
    }

    func deliver(_ message: Message, from: Int, to: Int, epoch: UInt32) throws(SimulationFailure) {
        let node = nodes[to]
        guard node.isUp, network.epoch(from: from, to: to) == epoch, !network.isCut(from: from, to: to) else { return }
        guard let message = try mistaken(message, at: node) else { return }
        trace.mix(from << 8 | to)
        trace.mix(message)
        say("n\(from + 1) → n\(to + 1) \(message.summary)")
        receive(node, .event(.received(message, from: nodes[from].id)))
    }

    func timerFired(_ node: Node, life: UInt32) {
        guard node.life == life, node.timerAt <= clock.now else { return }
        node.timerAt = .max
        scheduleTurn(node)
    }

    /// Everything that waits is stepped, then flushed and performed until nothing is left to do.
    func turn(_ node: Node, life: UInt32) throws(SimulationFailure) {
        guard node.life == life else { return }
        node.isTurnScheduled = false
        guard node.isUp, !node.isPaused else { return }
        let now = node.localTime(clock.now)
        var inbox: [Input] = []
        swap(&inbox, &node.inbox)
        for input in inbox.prefix(plan.inboxBound) { try take(input, node, now) }
        if inbox.count > plan.inboxBound {
            node.inbox = Array(inbox.dropFirst(plan.inboxBound))
            scheduleTurn(node)
        }
        if now >= node.raft.nextDeadline { step(node, .deadlineReached, now) }
        mistakes(after: node, now)
        repeat {
            node.raft.flush(at: now, into: &effects)
            steps?.add("flush", of: node, at: clock.now)
            try oracles.check(node, among: nodes)
            try perform(node, now)
        } while !effects.isEmpty
        // A core that is made to break its rules would trap; then the oracles are the ones to find out.
        if !(mutant?.breaksCore ?? false) {
            // The end of the log, where things change, every time; the whole of it now and then.
            node.turns += 1
            node.raft.checkInvariants(tail: node.turns % 32 == 0 ? .max : 4)
        }
        if node.disk.damaged != nil, !node.raft.isQuarantined {
            say("n\(node.index + 1) has again what it lost")
            node.disk.healed()
        }
        traceState(node)
        setTimer(node)
    }

    /// Steps the core of a node.
    private func step(_ node: Node, _ event: Event, _ now: Instant) {
        node.raft.step(event, at: now, into: &effects)
        steps?.add(event, of: node, at: clock.now)
    }

    private func take(_ input: Input, _ node: Node, _ now: Instant) throws(SimulationFailure) {
        switch input {
        case .event(.changeConfiguration(_, let request)) where mistakes(request, of: node, now): break
        case .event(let event): step(node, event, now)
        case .durable(let sequence):
            node.durableThrough = max(node.durableThrough, sequence)
            for held in node.held where held.after <= sequence { send(held.message, from: node, to: held.to) }
            node.held.removeAll { $0.after <= sequence }
            step(node, .persisted(through: sequence), now)
        case .write(let request):
            node.writes[request.attempt] = request
            let payload = Machine.encode(
                request, padding: plan.workload.padding, time: 1_000_000_000_000_000_000 + now.nanoseconds)
            step(node, .propose([Proposal(token: request.attempt, payload: payload)]), now)
        case .read(let request):
            node.reads[request.attempt] = request
            if servesAtOnce(node) {
                try serveRead(request.attempt, node)
            } else {
                step(node, .read([request.attempt]), now)
            }
        }
    }

    private func setTimer(_ node: Node) {
        let deadline = max(clock.now + 1000, node.globalTime(node.raft.nextDeadline))
        guard deadline < node.timerAt else { return }
        node.timerAt = deadline
        clock.schedule(.timer(node: node.index, life: node.life), at: deadline)
    }

    private func traceState(_ node: Node) {
        trace.mix(node.index)
        trace.mix(node.raft.currentTerm.rawValue << 8 | UInt64(node.raft.currentRole.rawValue))
        trace.mix(node.raft.commitIndex.rawValue)
        trace.mix(node.machine.chain)
    }

    // MARK: Effects

    private func perform(_ node: Node, _ now: Instant) throws(SimulationFailure) {
        var performing: [Effect] = []
        swap(&performing, &effects)
        for effect in performing { try perform(effect, node, now) }
    }

    private func perform(_ effect: Effect, _ node: Node, _ now: Instant) throws(SimulationFailure) {
        switch effect {
        case .persist(let batch): try persist(batch, node)
        case .send(let message, let to, let after):
            if let after, after > node.durableThrough, !(mutant?.releases(message) ?? false) {
                node.held.append((after, message, to))
            } else {
                send(message, from: node, to: to)
            }
        case .apply(let entries): try apply(entries, node, now)
        case .proposalsAppended(let tokens, let first):
            say("n\(node.index + 1) appended \(tokens.count) at \(first)")
            if mutant == .answersBeforeCommit { for token in tokens { answer(token, .written, node) } }
        case .proposalsRefused(let tokens, let reason):
            for token in tokens { refuse(node.writes.removeValue(forKey: token), reason) }
        case .readReady(let tokens, let index):
            guard index <= node.machine.applied else {
                throw SimulationFailure(
                    .driverContract, "n\(node.index + 1) is to serve reads at \(index), applied \(node.machine.applied)"
                )
            }
            for token in tokens { try serveRead(token, node) }
        case .readRefused(let tokens, let reason):
            for token in tokens { refuse(node.reads.removeValue(forKey: token), reason) }
        case .roleChanged(let change):
            counters.roleChanges += 1
            if change.role == .leader || change.role == .candidate { passedDelicatePoint(node) }
            try staysCalm(node, change)
            say(
                "n\(node.index + 1) is \(change.role) in term \(change.term), leader "
                    + "\(change.leader.map { "n\($0.rawValue)" } ?? "unknown"): \(change.reason.rawValue)")
        case .transferFailed(let target, let failure):
            say("n\(node.index + 1) could not hand over to \(target.map { "n\($0.rawValue)" } ?? "any"): \(failure)")
        case .readSnapshotChunk(let to, let descriptor, let offset, let maximumBytes):
            readChunk(node, to, descriptor, offset, maximumBytes)
        case .writeSnapshotChunk(let descriptor, let offset, let bytes, let isLast):
            work(node, .received(descriptor, offset: offset, bytes: bytes, isLast: isLast))
        case .restoreStateMachine(let descriptor): try restoreMachine(node, descriptor, now)
        case .configurationChange(let token, let outcome): configurationOutcome(outcome, of: token, at: node)
        case .configurationChanged(let configuration, let index):
            say("n\(node.index + 1) has \(configuration) of \(index)")
        }
    }

    func send(_ message: Message, from node: Node, to: NodeID) {
        let target = Int(to.rawValue) - 1
        // Nodes that only a broken cluster has.
        guard target < nodes.count else { return }
        guard let message = forged(message, from: node, to: nodes[target]) else { return }
        steps?.send(message, from: node, to: to, at: clock.now)
        let arrivals = network.arrivals(from: node.index, to: target, now: clock.now, isHealed: isHealed)
        let epoch = network.epoch(from: node.index, to: target)
        for time in [arrivals.first, arrivals.second] {
            guard let time else { continue }
            clock.schedule(.deliver(message, from: node.index, to: target, epoch: epoch), at: time)
        }
    }

    private func persist(_ batch: WriteBatch, _ node: Node) throws(SimulationFailure) {
        if let first = batch.entries.first {
            let before = first.index.previous
            // The entry before the batch, as the core has it: what this batch itself did to the log is done already.
            let previous = node.raft.entry(at: before)?.id
            try oracles.wrote(batch, after: previous, by: node.index)
        }
        if batch.truncateFrom != nil { counters.truncations += 1 }
        if batch.installedSnapshot != nil { counters.installedSnapshots += 1 }
        if batch.compaction != nil { counters.compactions += 1 }
        say("n\(node.index + 1) writes \(batch.summary)")
        node.disk.append(batch)
        if mutant == .reportsWritesEarly { receive(node, .durable(batch.sequence)) }
        // A vote given and not yet synced; the crash after its sync is drawn when that is done.
        if let vote = batch.hardState?.vote, vote != node.id { passedDelicatePoint(node) }
        beginWrite(node)
    }

    func beginWrite(_ node: Node) {
        guard node.disk.isIdle, node.disk.hasWaiting else { return }
        node.disk.beginWrite()
        var latency = random.int(in: plan.disk.latency)
        if !isHealed, plan.disk.slowPerMille > 0, random.chance(plan.disk.slowPerMille, in: 1000) {
            latency += random.int(in: 0...plan.disk.slowLatency)
        }
        let time = max(clock.now + UInt64(latency), faults.diskStalledUntil[node.index] ?? 0)
        clock.schedule(.written(node: node.index, life: node.life), at: time)
    }

    func written(_ node: Node, life: UInt32) throws(SimulationFailure) {
        guard node.life == life else { return }
        let vote = node.disk.image.hardState.vote
        let snapshot = node.disk.image.snapshot
        switch try node.disk.finishWrite() {
        case .nothing: break
        case .failed(let error):
            counters.diskFailures += 1
            say("n\(node.index + 1) stops: \(error)")
            return try crash(node)
        case .durable(let sequence):
            if node.disk.image.snapshot != snapshot { node.disk.prune(keeping: node.raft.status.snapshotsInUse) }
            say("n\(node.index + 1) synced write \(sequence)")
            if node.disk.image.hardState.vote != vote, node.disk.image.hardState.vote != node.id {
                passedDelicatePoint(node)
            }
            receive(node, .durable(mutant == .completionsNameLatest ? node.disk.lastHandedOver : sequence))
            reserve(node)
        }
        beginWrite(node)
    }

    /// The core takes no entries while there is no room for what comes after them; the node looks again now and then.
    func reserve(_ node: Node) {
        let isFull = !node.disk.reserve()
        if isFull { clock.schedule(.reserve(node: node.index, life: node.life), after: 50_000_000) }
        guard isFull != node.isFull else { return }
        node.isFull = isFull
        if isFull { counters.fullDisks += 1 }
        if mutant != .acknowledgesWhatDidNotFit { receive(node, .event(.storageFull(isFull))) }
    }

    // MARK: The machine

    private func apply(_ entries: [Entry], _ node: Node, _ now: Instant) throws(SimulationFailure) {
        var answers: [MachineAnswer] = []
        for entry in entries {
            guard entry.index == node.machine.applied.next else {
                throw SimulationFailure(
                    .monotonicApplied, "n\(node.index + 1) is to apply \(entry.id) after \(node.machine.applied)")
            }
            node.machine.apply(entry, into: &answers)
            try oracles.applied(entry, chain: node.machine.chain, by: node.index)
        }
        for answer in answers {
            if answer.isDuplicate { counters.duplicates += 1 }
            guard let request = node.writes.removeValue(forKey: answer.attempt) else { continue }
            reply(to: request, .answer(answer))
        }
        node.appliedSinceSnapshot += entries.count
        step(node, .applied(through: node.machine.applied), now)
        snapshotIfDue(node)
    }

    private func answer(_ token: UInt64, _ outcome: MachineAnswer.Outcome, _ node: Node) {
        guard let request = node.writes.removeValue(forKey: token) else { return }
        reply(to: request, .answer(MachineAnswer(attempt: token, outcome: outcome, isDuplicate: false)))
    }

    private func serveRead(_ token: UInt64, _ node: Node) throws(SimulationFailure) {
        guard let request = node.reads.removeValue(forKey: token), case .read(let key) = request.command else { return }
        counters.reads += 1
        // Sharper than what clients can see: whether or not the value has changed since.
        guard node.machine.applied >= request.committed else {
            throw SimulationFailure(
                .linearizability,
                "n\(node.index + 1) reads at \(node.machine.applied); \(request.committed) was committed when it was asked"
            )
        }
        reply(to: request, .value(node.machine.read(key: key)))
    }

    private func refuse(_ request: ClientRequest?, _ reason: RefusalReason) {
        guard let request else { return }
        var hint: Int?
        if case .notLeader(let leader) = reason { hint = leader.map { Int($0.rawValue) - 1 } }
        reply(to: request, .refused(hint: hint))
    }

    // MARK: Snapshots

    private func snapshotIfDue(_ node: Node) {
        guard let after = plan.snapshotAfter, node.appliedSinceSnapshot >= after, !node.isSnapshotRunning,
            let basis = node.raft.snapshotBasis(at: node.machine.applied)
        else { return }
        node.isSnapshotRunning = true
        node.appliedSinceSnapshot = 0
        let bytes = node.machine.snapshot()
        let isStale = mutant == .snapshotsFirstConfiguration
        var descriptor = SnapshotDescriptor(
            id: basis.id, configuration: isStale ? founders : basis.configuration,
            configurationIndex: isStale ? .zero : basis.configurationIndex, sizeBytes: 0, checksum: 0)
        descriptor.describe(bytes, stateHash: node.machine.stateHash)
        let retain = UInt64(plan.retainedEntries)
        let retainFrom = basis.id.index.rawValue > retain ? basis.id.index.rawValue - retain : 1
        counters.snapshots += 1
        work(node, .snapshot(descriptor, bytes: bytes, retainFrom: retainFrom))
    }

    /// The worker does one thing after the other and takes its time.
    private func work(_ node: Node, _ result: WorkerResult) {
        let start = max(clock.now, node.workerFreeAt)
        node.workerFreeAt = start + UInt64(random.int(in: 20_000...2_000_000))
        clock.schedule(.worked(node: node.index, life: node.life, result), at: node.workerFreeAt)
    }

    func worked(_ node: Node, life: UInt32, _ result: WorkerResult) {
        guard node.life == life, node.isUp else { return }
        switch result {
        case .event(let event): receive(node, .event(event))
        case .snapshot(var descriptor, var bytes, let retainFrom):
            node.isSnapshotRunning = false
            if mutant == .snapshotsAheadOfIndex {
                bytes = node.machine.snapshot()
                descriptor.describe(bytes, stateHash: node.machine.stateHash)
            }
            // One that fails is made up for by the next.
            guard node.disk.store(descriptor, bytes) else { return }
            receive(node, .event(.snapshotTaken(descriptor, retainFrom: LogIndex(retainFrom))))
        case .received(let descriptor, let offset, let bytes, let isLast):
            if !isHealed, random.chance(1, in: 100) {
                receive(node, .event(.snapshotWriteFailed(descriptor)))
                return
            }
            switch node.disk.receive(descriptor, offset: offset, bytes: bytes, isLast: isLast) {
            case .written(let through): receive(node, .event(.snapshotChunkWritten(descriptor, through: through)))
            case .installed:
                receive(node, .event(.snapshotInstalled(descriptor)))
                passedDelicatePoint(node)
            case .failed: receive(node, .event(.snapshotWriteFailed(descriptor)))
            }
        }
    }

    private func readChunk(
        _ node: Node, _ to: NodeID, _ descriptor: SnapshotDescriptor, _ offset: UInt64, _ maximumBytes: Int
    ) {
        guard let bytes = node.disk.snapshot(descriptor), offset <= UInt64(bytes.count) else {
            work(node, .event(.snapshotReadFailed(to: to, descriptor)))
            return
        }
        let end = min(bytes.count, Int(offset) + maximumBytes)
        let chunk = Array(bytes[Int(offset)..<end])
        work(
            node,
            .event(
                .snapshotChunkRead(
                    to: to, descriptor, offset: offset, bytes: chunk, isLast: end == bytes.count)))
    }

    private func restoreMachine(
        _ node: Node, _ descriptor: SnapshotDescriptor, _ now: Instant
    ) throws(SimulationFailure) {
        try loadMachine(node, descriptor)
        say("n\(node.index + 1) restored its state at \(descriptor.id)")
        node.appliedSinceSnapshot = 0
        step(node, .applied(through: descriptor.index), now)
    }

    func loadMachine(_ node: Node, _ descriptor: SnapshotDescriptor) throws(SimulationFailure) {
        guard let bytes = node.disk.snapshot(descriptor) else {
            throw SimulationFailure(.driverContract, "n\(node.index + 1) has no snapshot \(descriptor.id) to restore")
        }
        node.machine = try Machine(snapshot: bytes)
        guard node.machine.applied == descriptor.index, node.machine.stateHash == descriptor.stateHash else {
            throw SimulationFailure(.stateHash, "n\(node.index + 1) restored \(descriptor.id) to another state")
        }
        try oracles.state(at: descriptor.index, chain: node.machine.chain, of: node.index)
        try oracles.configurations.check(descriptor, of: node.index)
    }
}

extension SnapshotDescriptor {
    mutating func describe(_ bytes: [UInt8], stateHash: UInt64) {
        sizeBytes = UInt64(bytes.count)
        checksum = CRC32C.checksum(bytes)
        self.stateHash = stateHash
    }
}
