internal import Metrics
internal import NIOCore
internal import Synchronization

/// Every open connection of the API port, so that there are never too many and a stop reaches all.
///
/// Those whose handshake is not complete are bounded apart, and the oldest makes room for the newest: whoever has no
/// certificate competes only with others that have not shown one yet.
final class ConnectionTable: Sendable {
    enum Phase: String, CaseIterable { case handshake, http1, http2 }

    /// Told to the ``ConnectionGate`` of a connection that must make room.
    struct Evicted {}

    private struct Entry {
        var channel: any Channel
        var phase: Phase
        var http1: HTTPConnection?
    }

    private struct State {
        var entries: [ObjectIdentifier: Entry] = [:]
        var counts: [Phase: Int] = [:]
        /// Unauthenticated ones that were not told to go, oldest first.
        var handshakes: [ObjectIdentifier] = []
        var isDraining = false
        var waiters: [CheckedContinuation<Void, Never>] = []
    }

    private let state = Mutex(State())
    private let maximumConnections: Int
    private let maximumUnauthenticated: Int
    private let gauges: [Phase: Gauge]

    init(maximumConnections: Int, maximumUnauthenticated: Int, label: String = "api.connections") {
        precondition(maximumUnauthenticated > 0, "nobody could come in")
        self.maximumConnections = maximumConnections
        self.maximumUnauthenticated = maximumUnauthenticated
        gauges = Dictionary(
            uniqueKeysWithValues: Phase.allCases.map {
                ($0, Gauge(label: label, dimensions: [("protocol", $0.rawValue)]))
            })
    }

    /// Enters a fresh connection; it leaves by itself when it is closed.
    func admit(_ channel: any Channel) throws(RefusedConnection) {
        let (isDraining, evicted) = state.withLock { state -> (Bool, (any Channel)?) in
            if state.isDraining { return (true, nil) }
            var evicted: (any Channel)?
            if state.handshakes.count >= maximumUnauthenticated {
                evicted = state.entries[state.handshakes.removeFirst()]?.channel
            }
            state.entries[ObjectIdentifier(channel)] = Entry(channel: channel, phase: .handshake)
            state.handshakes.append(ObjectIdentifier(channel))
            state.counts[.handshake, default: 0] += 1
            return (false, evicted)
        }
        if isDraining { throw .draining }
        evicted?.pipeline.fireUserInboundEventTriggered(Evicted())
        report()
        channel.closeFuture.whenComplete { [self] _ in left(ObjectIdentifier(channel)) }
    }

    /// The handshake is complete.
    func opened(_ channel: any Channel, as phase: Phase, _ http1: HTTPConnection?) throws(RefusedConnection) {
        let refusal: RefusedConnection? = state.withLock { state in
            if state.isDraining { return .draining }
            guard var entry = state.entries[ObjectIdentifier(channel)] else { return .aborted }
            let known = state.counts[.http1, default: 0] + state.counts[.http2, default: 0]
            guard known < maximumConnections else { return .tooManyConnections }
            state.handshakes.removeAll { $0 == ObjectIdentifier(channel) }
            state.counts[entry.phase, default: 0] -= 1
            state.counts[phase, default: 0] += 1
            entry.phase = phase
            entry.http1 = http1
            state.entries[ObjectIdentifier(channel)] = entry
            return nil
        }
        if let refusal { throw refusal }
        report()
    }

    /// Refuses new connections, closes those without a protocol yet, lets http/1.1 finish its present requests; event
    /// streams end at once. h2 is left to its owner.
    func drain() {
        let entries = state.withLock { state in
            state.isDraining = true
            return Array(state.entries.values)
        }
        for entry in entries {
            switch entry.phase {
            case .handshake: entry.channel.close(promise: nil)
            case .http1:
                entry.http1?.drain()
                entry.channel.pipeline.fireUserInboundEventTriggered(ChannelShouldQuiesceEvent())
            case .http2: break
            }
        }
    }

    /// Closes what is left, whatever its protocol.
    func closeAll() {
        for entry in state.withLock({ Array($0.entries.values) }) { entry.channel.close(promise: nil) }
    }

    /// Returns when no http/1.1 connection is left; ``closeAll()`` makes that soon.
    func http1Finished() async {
        await withCheckedContinuation { continuation in
            let isFinished = state.withLock { state in
                if Self.isFinished(state) { return true }
                state.waiters.append(continuation)
                return false
            }
            if isFinished { continuation.resume() }
        }
    }

    private func left(_ id: ObjectIdentifier) {
        let (entry, waiters) = state.withLock { state in
            let entry = state.entries.removeValue(forKey: id)
            if entry?.phase == .handshake { state.handshakes.removeAll { $0 == id } }
            if let entry { state.counts[entry.phase, default: 0] -= 1 }
            guard Self.isFinished(state) else { return (entry, [CheckedContinuation<Void, Never>]()) }
            defer { state.waiters = [] }
            return (entry, state.waiters)
        }
        entry?.http1?.closed()
        for waiter in waiters { waiter.resume() }
        report()
    }

    private static func isFinished(_ state: State) -> Bool {
        state.counts[.http1, default: 0] == 0 && state.counts[.handshake, default: 0] == 0
    }

    private func report() {
        let counts = state.withLock { $0.counts }
        for phase in Phase.allCases { gauges[phase]?.record(counts[phase, default: 0]) }
    }
}
