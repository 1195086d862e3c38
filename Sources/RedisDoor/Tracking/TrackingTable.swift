import DequeModule
import EsperTypes
import Synchronization

/// Which connections want to hear of which names. One for a door; any thread.
final class TrackingTable: Sendable {
    struct Change: Sendable {
        /// With the tenant.
        var name: [UInt8]
        var version: LogIndex
    }

    private struct Broadcast {
        var inbox: DoorLoop.Inbox
        /// With the tenant.
        var prefixes: [[UInt8]]
    }

    private struct State {
        var keys: BoundedNames<[UInt64: DoorLoop.Inbox]>
        var broadcasts: [UInt64: Broadcast] = [:]
        /// Everybody who tracks.
        var clients: [UInt64: DoorLoop.Inbox] = [:]
    }

    private let state: Mutex<State>
    private let interested = Atomic<Int>(0)

    init(limit: Int) { state = Mutex(State(keys: BoundedNames(limit: limit))) }

    /// Whether anybody would hear of a change. Sequentially consistent: who begins to track after this was false reads what was
    /// in force before it.
    var hasListeners: Bool { interested.load(ordering: .sequentiallyConsistent) > 0 }
    var clientCount: Int { state.withLock { $0.clients.count } }
    var keyCount: Int { state.withLock { $0.keys.count } }

    func begin(_ client: UInt64, _ inbox: DoorLoop.Inbox, prefixes: [[UInt8]]?) {
        state.withLock { state in
            state.clients[client] = inbox
            if let prefixes { state.broadcasts[client] = Broadcast(inbox: inbox, prefixes: prefixes) }
            interested.store(state.clients.count, ordering: .sequentiallyConsistent)
        }
    }

    /// The keys of this client stay until they change: what is sent to a connection that is gone is dropped.
    func end(_ client: UInt64) {
        state.withLock { state in
            state.clients[client] = nil
            state.broadcasts[client] = nil
            if state.clients.isEmpty { state.keys.removeAll() }
            interested.store(state.clients.count, ordering: .sequentiallyConsistent)
        }
    }

    /// To be called before the key is read: a change after that is told.
    func track(_ name: [UInt8], for client: UInt64, _ inbox: DoorLoop.Inbox) {
        let dropped = state.withLock { state in state.keys.update(name, from: [:]) { $0[client] = inbox } }
        guard let dropped else { return }
        // What is no longer watched over must not be kept.
        for (client, inbox) in dropped.value {
            inbox.add(.changed(connection: client, [Change(name: dropped.name, version: .zero)]))
        }
    }

    /// Names whose meaning is another one on this node from now on.
    func changed(_ changes: [Change]) {
        var told: [UInt64: (inbox: DoorLoop.Inbox, changes: [Change])] = [:]
        state.withLock { state in
            for change in changes {
                for (client, inbox) in state.keys.remove(change.name) ?? [:] {
                    told[client, default: (inbox, [])].changes.append(change)
                }
                for (client, broadcast) in state.broadcasts
                where broadcast.prefixes.contains(where: { change.name.starts(with: $0) }) {
                    told[client, default: (broadcast.inbox, [])].changes.append(change)
                }
            }
        }
        for (client, news) in told { news.inbox.add(.changed(connection: client, news.changes)) }
    }

    /// Any name may have changed: everything that clients keep is void.
    func changedAll() {
        let clients = state.withLock { state in
            state.keys.removeAll()
            return state.clients
        }
        for (client, inbox) in clients { inbox.add(.changed(connection: client, nil)) }
    }
}

/// How a connection is told of changes.
struct TrackingMode {
    var broadcastPrefixes: [[UInt8]]?
    var isOptIn = false
    var isOptOut = false
    var isNoLoop = false
}

/// What a connection changed itself, by the versions that came of it: bounded, the oldest are forgotten. News of a change waits
/// for the answers that were begun before, so that a version is known here when it is told.
final class OwnWrites: Sendable {
    private struct State {
        var versions: Set<LogIndex> = []
        var order = Deque<LogIndex>()
    }

    private static let limit = 1024
    private let state = Mutex(State())

    func wrote(_ version: LogIndex) {
        state.withLock { state in
            guard state.versions.insert(version).inserted else { return }
            state.order.append(version)
            if state.order.count > Self.limit, let oldest = state.order.popFirst() { state.versions.remove(oldest) }
        }
    }

    func contains(_ change: TrackingTable.Change) -> Bool { state.withLock { $0.versions.contains(change.version) } }
}

extension RedisSession {
    func track(_ spec: CommandSpec, _ arguments: [[UInt8]]) {
        guard let tracking, tracking.broadcastPrefixes == nil, let keyspace, let inbox else { return }
        if tracking.isOptIn, caching != true { return }
        if tracking.isOptOut, caching == false { return }
        let last = spec.keys.1 < 0 ? arguments.count + spec.keys.1 : spec.keys.1
        guard last >= spec.keys.0 else { return }
        for index in stride(from: spec.keys.0, through: last, by: spec.keys.2) {
            door.tracking.track(keyspace.name(of: arguments[index]), for: id, inbox)
        }
    }

    func stopTracking() {
        guard tracking != nil else { return }
        tracking = nil
        caching = nil
        setOwnWrites(nil)
        door.tracking.end(id)
    }

    /// The keys of some changes, without those that this connection made and does not want to hear of.
    func keysToTell(_ changes: [TrackingTable.Change]) -> [[UInt8]] {
        guard let keyspace else { return [] }
        return changes.compactMap { change in
            guard change.name.starts(with: keyspace.prefix), !(keyspace.ownWrites?.contains(change) ?? false) else {
                return nil
            }
            return Array(change.name.dropFirst(keyspace.prefix.count))
        }
    }
}
