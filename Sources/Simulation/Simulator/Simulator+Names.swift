import CacheCore
import Coordination
import EsperTypes
import RaftCore

/// Reads that a node answers from its own state by a lease, through the same pure logic as a node in service; see
/// ``NameView``. The names are the keys of the clients,
/// of which every other one is a name of the cache.
extension Simulator {
    private var hasLeases: Bool { plan.raft.holderLease > .zero }

    /// - Parameter entries: what the log holds, as far as the node knows of it.
    func beginNames(of node: Node, _ entries: [Entry]) {
        guard hasLeases else { return }
        var view = NameView(node.replica.state, applied: node.replica.applied)
        for entry in entries { view.appended(entry.index, changeOfKeys(entry)) }
        node.names = view
        node.staleTable = nil
    }

    /// Before any acknowledgement of what is written leaves.
    func noteNames(of node: Node, _ batch: WriteBatch) {
        guard node.names != nil else { return }
        if let index = batch.truncateFrom { node.names?.truncated(from: index) }
        if batch.installedSnapshot != nil { node.names?.snapshotInstalled() }
        for entry in batch.entries { node.names?.appended(entry.index, changeOfKeys(entry)) }
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

    /// - Returns: whether the read has been answered, or will be without anybody else.
    func answersByLease(_ request: ClientRequest, _ node: Node, _ now: Instant) throws(SimulationFailure) -> Bool {
        guard let view = node.names, case .read(let key) = request.command else { return false }
        let glance: NameGlance<StateMachine>
        switch view.glance(Replica.mark(key, binds: plan.bindsNames)) {
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

    func lastChange(of key: Int) -> LogIndex { changes[Replica.mark(key, binds: plan.bindsNames)] ?? .zero }

    /// The keys that an entry may change.
    func changeOfKeys(_ entry: Entry) -> NameChange {
        guard hasLeases, entry.kind == .command, let envelope = try? Envelope(decoding: entry.payload) else {
            return .none
        }
        return envelope.command.changedKeys
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

extension Command {
    fileprivate var changedKeys: NameChange {
        switch self {
        case .put(let put): .names([NameChange.mark(put.key)])
        case .delete(let delete): delete.range.changedKeys
        case .cache(let command): .names(command.changedNames.map(NameChange.mark))
        case .transaction(let transaction): (transaction.success + transaction.failure).changedKeys
        default: .none
        }
    }
}

extension KeyRange {
    fileprivate var changedKeys: NameChange {
        if case .single = end { .names([NameChange.mark(lower)]) } else { .all }
    }
}

extension [Transaction.Operation] {
    fileprivate var changedKeys: NameChange {
        var marks: [UInt64] = []
        for operation in self {
            switch operation {
            case .put(let put): marks.append(NameChange.mark(put.key))
            case .delete(let delete):
                guard case .names(let some) = delete.range.changedKeys else { return .all }
                marks += some
            case .range: break
            case .transaction: return .all
            }
        }
        return marks.isEmpty ? .none : .names(marks)
    }
}
