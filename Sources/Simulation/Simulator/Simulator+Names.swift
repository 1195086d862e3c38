import CacheCore
import Coordination
import EsperTypes
import RaftCore

/// Reads that a node answers from its own state by a lease, through the same pure logic as a node in service; see
/// ``NameView`` and ``NameGuard``. Of the keys of the clients every other one is a name of the cache; a few more names last for a moment only.
extension Simulator {
    private var hasLeases: Bool { plan.bindsNames }

    /// - Parameter entries: what the log holds, as far as the node knows of it.
    func beginNames(of node: Node, _ entries: [Entry]) {
        node.nameGuard = NameGuard()
        guard hasLeases else { return }
        node.names = NameView(node.replica.state, applied: node.replica.applied)
        for entry in entries { note(entry, node) }
        node.staleTable = nil
    }

    private func note(_ entry: Entry, _ node: Node) {
        let (change, stamp) = nameChange(of: entry)
        node.names?.appended(entry.index, change, stamp: stamp)
    }

    /// Before any acknowledgement of what is written leaves.
    func noteNames(of node: Node, _ batch: WriteBatch) {
        guard node.names != nil else { return }
        if let index = batch.truncateFrom { node.names?.truncated(from: index) }
        if batch.installedSnapshot != nil { node.names?.snapshotInstalled() }
        for entry in batch.entries { note(entry, node) }
        publishLease(of: node)
    }

    func publishLease(of node: Node) {
        guard node.names != nil else { return }
        let lease = node.raft.findLease()
        let base = mutant == .answersBeforeBase ? .zero : lease?.base
        node.names?.leased(until: lease?.until, base: base ?? .zero)
        if mutant == .looksAtLeaseLast, node.staleTable == nil || node.turns % 8 == 0 {
            node.staleTable = node.replica.state
        }
    }

    /// Steps a command, as a node in service does.
    func propose(_ proposal: Proposal, _ node: Node, _ now: Instant) {
        var proposal = proposal
        let (term, last) = (node.raft.findTerm(), node.raft.findLastIndex())
        node.nameGuard.leads(in: term) { node.raft.findLastGuarded(after: node.replica.applied) }
        proposal.isGuarded = node.nameGuard.guards(proposal.payload, at: last.next, node.replica.state)
        switch mutant {
        case .guardsNoNames: proposal.isGuarded = false
        case .forgetsEndsOfNames: proposal.isGuarded = Envelope.nameChange(in: proposal.payload).change != .none
        default: break
        }
        step(node, .propose([proposal]), now)
    }

    /// - Returns: whether the read has been answered, or will be without anybody else.
    func answersByLease(_ request: ClientRequest, _ node: Node, _ now: Instant) throws(SimulationFailure) -> Bool {
        guard let view = node.names, case .read(let key) = request.command, Replica.isName(key) else { return false }
        let glance: NameGlance<StateMachine>
        switch view.glance(NameChange.mark(Replica.name(key))) {
        case .clear(let clear): glance = clear
        case .noLease:
            counters.leaselessReads += 1
            return false
        case .pending:
            guard mutant == .answersPending, let until = view.answersUntil else {
                counters.pendingReads += 1
                return false
            }
            glance = NameGlance(table: view.table, until: until, pendingTime: 0)
        }
        guard now < glance.until else {
            counters.leaselessReads += 1
            return false
        }
        counters.heldReads += 1
        var table = glance.table
        if mutant == .looksAtLeaseLast, let stale = node.staleTable { table = stale }
        // Sharper than what clients can see: whether or not the value is another one.
        guard table.applied.index >= request.changed else {
            throw SimulationFailure(
                .linearizability,
                "n\(node.index + 1) answers by its lease at \(table.applied.index); \(request.changed) had changed the key when it was asked"
            )
        }
        let value = Replica.read(key: key, in: table, binds: plan.bindsNames)
        say("n\(node.index + 1) answers c\(request.attempt) by its lease at \(table.applied.index)")
        // Stopped right after its look at the lease, now and then for long.
        guard random.chance(1, in: 16) else {
            reply(to: request, .value(value))
            return true
        }
        clock.schedule(.reply(request, .value(value)), after: clientDelay() + UInt64(random.int(in: 0...5_000_000_000)))
        return true
    }

    // MARK: What has changed

    func lastChange(of key: Int) -> LogIndex {
        Replica.isName(key) ? changes[NameChange.mark(Replica.name(key))] ?? .zero : .zero
    }

    /// The names that an entry may change, and its stamp.
    private func nameChange(of entry: Entry) -> (change: NameChange, stamp: UInt64) {
        hasLeases && entry.isCommand ? Envelope.nameChange(in: entry.payload) : (.none, 0)
    }

    /// An entry was applied for the first time.
    func noteChanges(by entry: Entry, _ state: StateMachine) {
        guard hasLeases else { return }
        if case .names(let marks) = nameChange(of: entry).change { for mark in marks { changes[mark] = entry.index } }
        for (name, _) in brief { brief[name] = .some(state.cache.binding(name, now: state.time)?.version) }
    }

    // MARK: Names that last for a moment

    /// The leader binds one, or forgets those whose time is over.
    func bindBriefly() {
        guard hasLeases, !isHealed else { return }
        clock.schedule(.briefName, after: UInt64(random.int(in: 0...200_000_000)))
        guard let leader = currentLeader, !nodes[leader].isPaused else { return }
        let state = nodes[leader].replica.state
        let expired = state.cache.expired(now: state.time, limit: 2)
        guard expired.isEmpty || random.chance(1, in: 2) else {
            return propose(.cache(.expire(expired)), at: nodes[leader])
        }
        let name = Array("t/brief\(random.int(in: 0...2))".utf8)
        brief[name] = brief[name] ?? .some(nil)
        let bind = CacheBind(
            name: name, kind: .alias, manifest: Digest(words: 1, 2, 3, 4), size: 1, mode: .memory,
            tiers: TierSet(.memory), expiry: .after(.milliseconds(random.int(in: 1...1500))))
        propose(.cache(.bind([bind])), at: nodes[leader])
    }

    /// What a node says of such a name by its lease is what the node that is farthest says. Time alone ends a name, without a command that
    /// names it.
    func checkBriefNames(of node: Node, _ now: Instant) throws(SimulationFailure) {
        guard let view = node.names, let until = view.answersUntil, now < until else { return }
        for (name, newest) in brief {
            guard case .clear(let glance) = view.glance(NameChange.mark(name)),
                let found = glance.table.cache.lookup(name, now: glance.table.time, pending: glance.pendingTime)
            else { continue }
            let version: LogIndex? = if case .found(let binding) = found { binding.version } else { nil }
            guard version != newest else { continue }
            throw SimulationFailure(
                .linearizability,
                "n\(node.index + 1) says \(version?.description ?? "nothing") of \(String(decoding: name, as: UTF8.self)) by its lease at \(glance.table.applied.index); elsewhere it is \(newest?.description ?? "over")"
            )
        }
    }

    // MARK: Mistakes made on purpose

    func mistakesOfLeases(_ node: Node, _ now: Instant) {
        switch mutant {
        case .commitsWithoutHolders: node.raft.forgetHolders()
        case .forgetsSilentHolders:
            guard node.seen.role == .leader else { return }
            let silent = node.raft.status.peers.filter { !$0.isHeard || $0.isLinkDown }.map(\.id)
            node.raft.forgetHolders { silent.contains($0) }
        default: break
        }
    }

    /// Counts a lease from when its grant came.
    func stretch(_ before: HolderLease?, by event: Event, _ node: Node, _ now: Instant) {
        guard case .received(.appendEntries(let append), _) = event, let grant = append.grant,
            var lease = node.raft.findLease(), lease != before
        else { return }
        lease.until = now + grant.length
        node.raft.pretendLease(lease)
    }
}
