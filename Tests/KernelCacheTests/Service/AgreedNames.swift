import CacheCore
import Catalog
import Coordination
import EsperTypes
import KernelCache
import RaftRuntime
import Synchronization
import TestSupport

/// What a cluster agrees on, without the cluster: one state machine that several caches look at, each as a node of its own.
final class Agreement: Sendable {
    private struct State {
        var machine = StateMachine()
        var index: UInt64 = 0
        var members: [CacheMember] = []
        var leadership = CacheLeadership(leader: NodeID(1), term: 1)
        var mapObservers: [@Sendable () -> Void] = []
    }

    private let state = Mutex(State())

    /// Another node leads from now on.
    func lead(_ node: NodeID) {
        state.withLock { $0.leadership = CacheLeadership(leader: node, term: $0.leadership.term + 1) }
    }

    var leadership: CacheLeadership { state.withLock { $0.leadership } }

    var map: ShardMap? { state.withLock { $0.machine.cache.map } }

    func observeMap(_ changed: @escaping @Sendable () -> Void) { state.withLock { $0.mapObservers.append(changed) } }

    func become(_ members: [CacheMember]) { state.withLock { $0.members = members } }

    var members: [CacheMember] { state.withLock { $0.members } }

    func binding(_ name: [UInt8]) -> Binding? {
        state.withLock { state in
            guard case .binding(let binding) = state.machine.answer(.binding(name), to: "node/test").result else {
                return nil
            }
            return binding
        }
    }

    func record(_ name: [UInt8]) -> Binding? { state.withLock { $0.machine.cache.record(name) } }

    func records(after first: [UInt8]?, limit: Int) -> [(name: [UInt8], binding: Binding)] {
        state.withLock { $0.machine.cache.records(after: first, limit: limit).map { ($0.name, $0.binding) } }
    }

    /// What a leader would propose for the names.
    var chore: CacheCommand? { state.withLock { $0.machine.cacheChore(now: 0) } }

    func list(_ query: Query) -> CachePage {
        state.withLock { state in
            guard case .bindings(let page) = state.machine.answer(query, to: "node/test").result else {
                return CachePage()
            }
            return page
        }
    }

    func apply(_ change: CacheChange, _ principal: String) -> CommandResult { apply(.change([change]), principal) }

    @discardableResult
    func apply(_ command: CacheCommand, _ principal: String) -> CommandResult { apply(.cache(command), principal) }

    @discardableResult
    func apply(_ command: Command, _ principal: String) -> CommandResult { reply(to: command, principal).result }

    func reply(to command: Command, _ principal: String) -> CommandReply {
        let (reply, observers) = state.withLock { state in
            state.index += 1
            let envelope = Envelope(
                time: state.index,
                proposal: ProposalID(origin: NodeID(1), boot: 1, number: state.index), principal: principal,
                command: command)
            var output = ApplyOutput()
            let epoch = state.machine.cache.map?.epoch
            state.machine.apply(
                index: LogIndex(state.index), term: Term(1), payload: envelope.encoded(), into: &output)
            let observers = state.machine.cache.map?.epoch == epoch ? [] : state.mapObservers
            return (output.results.last!.reply, observers)
        }
        for changed in observers { changed() }
        return reply
    }
}

/// What waits for a catalog.
extension Agreement: OutboxSource {
    struct Unanswered: Error {}

    func status() throws -> OutboxStatus {
        guard case .outboxStatus(let status) = answer(.outboxStatus) else { throw Unanswered() }
        return status
    }

    func records(after position: OutboxRecord.ID, limit: Int) throws -> [OutboxRecord] {
        guard case .outbox(let records) = answer(.outbox(after: position, limit: limit)) else { throw Unanswered() }
        return records
    }

    func acknowledge(through position: OutboxRecord.ID) {
        apply(.acknowledgeOutbox(through: position), "node/test")
    }

    private func answer(_ query: Query) -> QueryResult {
        state.withLock { $0.machine.answer(query, to: "node/test").result }
    }
}

/// A node's view of an agreement.
final class AgreedNames: NameAuthority {
    let nodeID: NodeID
    private let agreement: Agreement
    /// Without a lease, lookups have to be asked for.
    let hasLease = Atomic<Bool>(true)
    /// Without a quorum they have no answer.
    let hasQuorum = Atomic<Bool>(true)
    /// Lookups that are asked for are refused, since this node has too much to do.
    let isOverloaded = Atomic<Bool>(false)
    /// Lookups that are asked for take all their time, as those of a node that waits for a quorum.
    let isSlow = Atomic<Bool>(false)

    init(_ node: NodeID, _ agreement: Agreement) {
        nodeID = node
        self.agreement = agreement
    }

    /// Something that is not true any more, and is told all the same.
    func plant(_ binding: Binding, _ name: [UInt8]) { planted.withLock { $0[name] = binding } }

    private let planted = Mutex<[[UInt8]: Binding]>([:])

    func binding(_ name: [UInt8], principal: String?) -> BindingLookup? {
        if let planted = planted.withLock({ $0[name] }) { return .found(planted) }
        guard hasLease.load(ordering: .relaxed) else { return nil }
        return staleBinding(name)
    }

    func picture() -> NamePicture? { nil }

    func staleBinding(_ name: [UInt8]) -> BindingLookup { agreement.binding(name).map { .found($0) } ?? .absent }

    func record(_ name: [UInt8]) -> Binding? { agreement.record(name) }

    func records(after first: [UInt8]?, limit: Int) -> [(name: [UInt8], binding: Binding)] {
        agreement.records(after: first, limit: limit)
    }

    func settled(deadline: Instant) async throws(CacheFailure) -> LogIndex? { try? agreement.status().namesSettled }

    /// Called when names have been listed, before whoever asked hears of them.
    let afterList = Mutex<(@Sendable () -> Void)?>(nil)

    /// Called when a change has been asked for, before it is made.
    let beforeChange = Mutex<(@Sendable (CacheChange) -> Void)?>(nil)

    private func checkQuorum() throws(CacheFailure) {
        guard hasQuorum.load(ordering: .relaxed) else { throw CacheFailure(.unconfirmed, "no quorum") }
    }

    func look(_ name: [UInt8], principal: String, deadline: Instant) async throws(CacheFailure) -> Binding? {
        if isSlow.load(ordering: .relaxed) { await pause(max(.zero, deadline - NodeClock.now())) }
        guard !isOverloaded.load(ordering: .relaxed) else { throw CacheFailure(.overloaded, "too much to do") }
        try checkQuorum()
        return agreement.binding(name)
    }

    func change(
        _ change: CacheChange, request: CacheRequestName?, principal: String, deadline: Instant
    ) async throws(CacheFailure) -> (result: CacheChangeResult, index: LogIndex) {
        try checkQuorum()
        if let hook = beforeChange.withLock({ $0 }) { hook(change) }
        let reply = agreement.reply(to: .cache(.change([change])), principal)
        switch reply.result {
        case .cache(.changed(let results)) where !results.isEmpty: return (results[0], reply.index)
        case .refused(.outboxFull): throw CacheFailure(.outboxFull, "refused")
        default: throw CacheFailure(.invalid, "refused")
        }
    }

    func list(
        prefix: [UInt8], after: [UInt8]?, limit: Int, principal: String, deadline: Instant
    ) async throws(CacheFailure) -> ListReply {
        try checkQuorum()
        let page = agreement.list(.bindings(prefix: prefix, after: after, limit: limit))
        defer { if let hook = afterList.withLock({ $0 }) { hook() } }
        return ListReply(bindings: page.bindings.map { ($0.name, $0.binding) }, more: page.next != nil)
    }

    func members(deadline: Instant) async throws(CacheFailure) -> [CacheMember] { agreement.members }

    /// Does not see what is applied from now on.
    let isBehind = Mutex<ShardMap?>(nil)

    var appliedMap: ShardMap? { isBehind.withLock { $0 } ?? agreement.map }

    func observeMap(_ changed: @escaping @Sendable () -> Void) { agreement.observeMap(changed) }

    func confirmedMap(deadline: Instant) async throws(CacheFailure) -> ShardMap? {
        try checkQuorum()
        return agreement.map
    }

    func leadership(deadline: Instant) async -> CacheLeadership? {
        hasQuorum.load(ordering: .relaxed) ? agreement.leadership : nil
    }

    func propose(
        _ command: MapCommand, principal: String?, deadline: Instant
    ) async throws(CacheFailure) -> MapReply {
        try checkQuorum()
        guard case .cache(.map(let reply)) = agreement.apply(.map(command), principal ?? "node/test") else {
            throw CacheFailure(.invalid, "refused")
        }
        return reply
    }
}
