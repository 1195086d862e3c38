import CacheCore
import Coordination
import EsperTypes
import RaftCore

/// What the log replicates, on one node: the real state machine, with the clock of its sessions and its watchers.
struct Replica {
    private(set) var state = StateMachine()
    /// What the entry applied last did.
    private(set) var output = ApplyOutput()
    var sessions = SessionClock()
    var watches = WatchRegistry()

    init() {}

    /// - Parameter now: the node's own clock.
    init(snapshot: [UInt8], at now: Instant) throws(SimulationFailure) {
        do throws(SnapshotError) {
            var decoder = SnapshotDecoder()
            try decoder.feed(snapshot)
            state = try decoder.finish()
        } catch {
            throw SimulationFailure(.durability, "a snapshot cannot be read: \(error)")
        }
        sessions = SessionClock(sessions: state.sessionGrants, at: now)
    }

    var applied: LogIndex { state.applied.index }

    /// A digest of everything applied so far; replicas at one index must agree.
    var chain: UInt64 { state.applyChain }

    /// A digest of the whole state, live or restored; costs as much as the state is large.
    var stateHash: UInt64 { state.stateHash }

    mutating func apply(_ entry: Entry, at now: Instant) {
        output.removeAll()
        switch entry.kind {
        case .command, .guardedCommand:
            state.apply(index: entry.index, term: entry.term, payload: entry.payload, into: &output)
        case .noop, .configuration: state.skip(index: entry.index, term: entry.term)
        }
        for change in output.sessionChanges { sessions.changed(change, at: now) }
    }

    /// What a broken request table would do.
    mutating func forgetAnswers() {
        var clients: [UInt64] = []
        for (id, _) in state.requests.clients.cursor() { clients.append(id) }
        for id in clients {
            state.requests.clients.update(id) { client in
                client.answers = []
                client.floor = 0
            }
        }
    }

    /// Puts a snapshot's state in the place of this one; watchers stay where they are.
    mutating func restore(_ other: Replica, forgetsWatchers: Bool = false) {
        state = other.state
        sessions = other.sessions
        if !forgetsWatchers { watches.stateRestored(at: state.revision) }
    }

    /// Tells the watchers what the last entry changed.
    mutating func publish(into deliveries: inout [WatchDelivery]) {
        watches.publish(output.events, through: state.revision, into: &deliveries)
    }

    mutating func catchUp(maximumEvents: Int, into deliveries: inout [WatchDelivery]) {
        watches.catchUp(from: state, maximumEvents: maximumEvents, into: &deliveries)
    }

    /// The whole state as bytes, and its digest.
    func snapshot() -> (bytes: [UInt8], stateHash: UInt64) {
        var bytes: [UInt8] = []
        var encoder = SnapshotEncoder(state)
        while let chunk = encoder.next() { bytes += chunk }
        return (bytes, encoder.stateHash ?? 0)
    }

    func read(key: Int, binds: Bool) -> Int64? { Self.read(key: key, in: state, binds: binds) }

    /// - Parameter binds: whether some keys are names of the cache.
    static func read(key: Int, in state: StateMachine, binds: Bool) -> Int64? {
        if binds, isName(key) {
            guard let found = state.cache.binding(name(key), now: state.time) else { return nil }
            return Int64(bitPattern: found.manifest.prefix)
        }
        guard case .range(let reply) = state.answer(.range(RangeRequest(.key(Self.key(key))))).result,
            let value = reply.keyValues.first?.value
        else { return nil }
        return value.withUnsafeBytes { Int64(littleEndian: $0.loadUnaligned(as: Int64.self)) }
    }

    static func key(_ number: Int) -> [UInt8] { Array("k\(number)".utf8) }

    /// Every other key is a name of the cache, in plans that have them; every other one of those an action, whose first value stays.
    static func isName(_ key: Int) -> Bool { key % 2 == 1 }
    static func isAction(_ key: Int) -> Bool { key % 4 == 3 }

    static func name(_ key: Int) -> [UInt8] { Array("t/k\(key)".utf8) }
}

extension ClientRequest {
    /// The entry for a command.
    ///
    /// - Parameter time: the leader's wall clock.
    func envelope(origin: NodeID, life: UInt32, padding: Int, binds: Bool, time: UInt64) -> [UInt8] {
        let request =
            identity == 0 || command.isOfSession
            ? nil
            : RequestID(
                client: ClientID(identity), sequence: sequence, acknowledgedThrough: acknowledgedThrough)
        let envelope = Envelope(
            time: time, proposal: ProposalID(origin: origin, boot: UInt64(life), number: attempt), request: request,
            principal: "client/c", command: command.coordination(padding: padding, binds: binds))
        return envelope.encoded()
    }
}

extension ClientCommand {
    /// What the state machine is asked to do; reads and keep-alives ask for nothing.
    func coordination(padding: Int, binds: Bool) -> Command {
        if binds, let command = binding { return .cache(command) }
        func value(_ number: Int64) -> [UInt8] {
            withUnsafeBytes(of: number.littleEndian) { Array($0) } + [UInt8](repeating: 0, count: padding)
        }
        switch self {
        case .register, .read, .keepAlive: return .registerClient
        case .write(let key, let number): return .put(Command.Put(key: Replica.key(key), value: value(number)))
        case .compareAndSet(let key, let old, let new):
            let target: Compare.Target = old.map { .value(value($0)) } ?? .version(0)
            return .transaction(
                Transaction(
                    compares: [Compare(.key(Replica.key(key)), .equal, target)],
                    success: [.put(Command.Put(key: Replica.key(key), value: value(new)))]))
        case .delete(let key): return .delete(Command.Delete(.key(Replica.key(key))))
        case .openSession(let ttl): return .grantSession(ttl: .nanoseconds(Int64(ttl)))
        case .acquire(let lock, let session, let waits):
            return .acquireLock(LockRequest(name: "l\(lock)", session: session, waits: waits))
        case .release(let lock, let session): return .releaseLock(name: "l\(lock)", session: session)
        }
    }

    /// The same for a name of the cache; nil when the key is none.
    private var binding: CacheCommand? {
        func bind(_ key: Int, _ value: Int64) -> CacheCommand {
            .bind([
                CacheBind(
                    name: Replica.name(key), kind: Replica.isAction(key) ? .action : .alias,
                    manifest: Digest(words: UInt64(bitPattern: value), 0, 0, UInt64(key)), size: 1, mode: .memory,
                    tiers: TierSet(.memory))
            ])
        }
        switch self {
        case .write(let key, let value) where Replica.isName(key): return bind(key, value)
        case .compareAndSet(let key, _, let new) where Replica.isName(key): return bind(key, new)
        case .delete(let key) where Replica.isName(key): return .evict(Replica.name(key))
        default: return nil
        }
    }
}
