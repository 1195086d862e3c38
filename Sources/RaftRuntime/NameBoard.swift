import CacheCore
import Coordination
import EsperTypes
import RaftCore
import Synchronization

/// The names of the cache as this node has applied them; while it catches up, as it had a second ago at most.
final class NameTable: Sendable {
    let cache: CacheTable
    /// The replicated clock.
    let time: UInt64

    init(_ state: StateMachine) {
        cache = state.cache
        time = state.time
    }

    /// - Parameter pendingTime: what ends by then may have ended.
    /// - Returns: nil when the binding may have ended.
    func binding(_ name: [UInt8], _ pendingTime: UInt64) -> BindingLookup? {
        cache.lookup(name, now: time, pending: pendingTime)
    }
}

/// Where the core loop tells what it knows of names, and any thread looks; see ``NameView`` for the rules.
///
/// The core loop notes entries before it performs anything that follows from them, so that no acknowledgement leaves for an entry that
/// is not noted here. A lookup holds the lock for tens of nanoseconds, whatever the table's size.
final class NameBoard: Sendable {
    private struct State: Sendable {
        var view: NameView<NameTable>
        var since: Instant?

        mutating func take(_ lease: HolderLease?) {
            view.leased(until: lease?.until, base: lease?.base ?? .zero)
            since = lease?.since
        }
    }

    private let state: Mutex<State>
    private let withoutLease = Atomic<UInt64>(0)
    private let whilePending = Atomic<UInt64>(0)
    /// Nothing is noted while nobody is ever granted a lease.
    private let isLeased: Bool
    private let mapObserver = Mutex<(@Sendable () -> Void)?>(nil)

    /// - Parameter restored: what the log holds beyond the state.
    init(_ machine: StateMachine, _ restored: [Entry], isLeased: Bool) {
        self.isLeased = isLeased
        var view = NameView(NameTable(machine), applied: machine.applied.index)
        if isLeased { for entry in restored { view.append(entry) } }
        state = Mutex(State(view: view))
    }

    // MARK: On the core loop

    /// What is about to be written, and by which lease this node may answer from then on.
    func note(_ batch: WriteBatch, _ lease: HolderLease?) {
        guard isLeased else { return }
        state.withLock { state in
            if let index = batch.truncateFrom { state.view.truncated(from: index) }
            if batch.installedSnapshot != nil { state.view.snapshotInstalled() }
            for entry in batch.entries { state.view.append(entry) }
            state.take(lease)
        }
    }

    func note(_ lease: HolderLease?) {
        guard isLeased else { return }
        state.withLock { $0.take(lease) }
    }

    func applied(_ machine: StateMachine, isRestored: Bool = false) {
        let table = NameTable(machine)
        let index = machine.applied.index
        let replaced = state.withLock { state in
            let replaced = state.view.table
            state.view.applied(through: index, table, isRestored: isRestored)
            return replaced
        }
        // Outside the lock, also what was replaced: this may be the last to hold a large table.
        if replaced.cache.map?.epoch != table.cache.map?.epoch { mapObserver.withLock { $0 }?() }
    }

    // MARK: On any thread

    func observeMap(_ changed: @escaping @Sendable () -> Void) { mapObserver.withLock { $0 = changed } }

    func lookup(_ name: [UInt8]) -> BindingLookup? {
        let mark = NameChange.mark(name)
        switch state.withLock({ $0.view.glance(mark) }) {
        case .clear(let glance):
            // The clock after the glance, and the table after the clock: what was true then stays what was true then.
            guard NodeClock.now() < glance.until else { break }
            if let found = glance.table.binding(name, glance.pendingTime) { return found }
            whilePending.wrappingAdd(1, ordering: .relaxed)
            return nil
        case .pending:
            whilePending.wrappingAdd(1, ordering: .relaxed)
            return nil
        case .noLease: break
        }
        withoutLease.wrappingAdd(1, ordering: .relaxed)
        return nil
    }

    func picture() -> NamePicture? {
        // The clock after the glance, as for one name.
        guard let glance = state.withLock({ $0.view.glance() }), NodeClock.now() < glance.until else { return nil }
        return NamePicture(table: glance.table, pendingTime: glance.pendingTime)
    }

    var table: NameTable { state.withLock { $0.view.table } }

    func staleLookup(_ name: [UInt8]) -> BindingLookup {
        let table = table
        return table.cache.binding(name, now: table.time).map { .found($0) } ?? .absent
    }

    var leaseState: NameLeaseState {
        let (until, since) = state.withLock { ($0.view.answersUntil, $0.since) }
        var result = NameLeaseState(
            refusals: withoutLease.load(ordering: .relaxed), pendingRefusals: whilePending.load(ordering: .relaxed))
        let now = NodeClock.now()
        guard let until, now < until else { return result }
        result.remaining = until - now
        result.age = since.map { now - $0 }
        return result
    }
}

extension NameView {
    fileprivate mutating func append(_ entry: Entry) {
        guard entry.isCommand else { return appended(entry.index, .none) }
        let (change, stamp) = Envelope.nameChange(in: entry.payload)
        appended(entry.index, change, stamp: stamp)
    }
}
