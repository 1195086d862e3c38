import CacheCore
import CoreMetrics
import EsperTypes
import GRPCTransport
import NIOCore
import NIOSSL
import RaftRuntime
import Synchronization

/// The connection to one other node: made when it is needed, made again after pauses that double, used by many calls at once.
/// A breaker keeps reads from a node that takes them and does not answer in time.
final class PeerLink: Sendable {
    private struct State {
        var connection: ClientConnection?
        var connecting: EventLoopFuture<ClientConnection>?
        var failures = 0
        var notBefore = Instant.zero
        var isClosed = false
        /// Of reads.
        var breaker: CircuitBreaker
    }

    let member: CacheMember
    let counts = PeerCounts()
    private let group: any EventLoopGroup
    private let state: Mutex<State>
    /// 1 while the breaker is not closed.
    private let isOpen: Gauge

    /// - Parameter seed: of the breaker's pauses; different for every pair of nodes.
    init(_ member: CacheMember, on group: any EventLoopGroup, seed: UInt64) {
        self.member = member
        self.group = group
        state = Mutex(State(breaker: CircuitBreaker(seed: seed)))
        isOpen = Gauge(label: "cache.peer.open", dimensions: [("peer", member.name)])
        isOpen.record(0)
    }

    /// Of the breaker.
    var health: CircuitBreaker.State { state.withLock { $0.breaker.state } }

    var isConnected: Bool { state.withLock { $0.connection?.isUsable ?? false } }

    private static let firstPause: Duration = .milliseconds(50)
    private static let longestPause: Duration = .seconds(5)

    /// Whoever asks shares one attempt, which has a second; he waits for it until his deadline.
    func connection(_ tls: NIOSSLContext, deadline: Instant) async throws(PeerFailure) -> ClientConnection {
        let now = NodeClock.now()
        enum Way {
            case ready(ClientConnection)
            case connecting(EventLoopFuture<ClientConnection>)
            case refused(String)
        }
        let way: Way = state.withLock { state in
            if state.isClosed { return .refused("the node is stopping") }
            if let connection = state.connection, connection.isUsable { return .ready(connection) }
            state.connection = nil
            if let connecting = state.connecting { return .connecting(connecting) }
            guard now >= state.notBefore else { return .refused("could not be reached a moment ago") }
            var options = TransportOptions.client
            options.keepAliveInterval = .seconds(2)
            options.keepAliveTimeout = .seconds(2)
            let connecting = ClientConnection.connect(
                host: member.api.host, port: member.api.port, tls: tls, on: group.any(), timeout: .seconds(1),
                options: options)
            state.connecting = connecting
            connecting.whenComplete { self.connected($0) }
            return .connecting(connecting)
        }
        switch way {
        case .ready(let connection): return connection
        case .refused(let reason): throw PeerFailure("\(member.name): \(reason)", isUnsent: true)
        case .connecting(let future):
            let first = FirstOutcome<Result<ClientConnection, PeerFailure>>()
            let name = member.name
            future.whenComplete { result in
                first.set(result.mapError { PeerFailure("\(name): \($0)", isUnsent: true) })
            }
            return try await first.value(
                by: deadline, on: future.eventLoop,
                otherwise: .failure(PeerFailure("\(name): no connection in time", isUnsent: true))
            ).get()
        }
    }

    /// A failure that was quicker than this has cost its caller nothing.
    private static let patience: Duration = .milliseconds(100)

    /// Reads, unless reads of this node took long and failed of late: it is refused at once then, and can go on elsewhere.
    func read<Value>(_ body: () async throws(PeerFailure) -> Value) async throws(PeerFailure) -> Value {
        let start = NodeClock.now()
        guard case .passed(let pass) = state.withLock({ $0.breaker.admit(at: start) }) else {
            throw PeerFailure("\(member.name) answers too late and is not asked for a while", isUnsent: true)
        }
        do throws(PeerFailure) {
            let value = try await body()
            state.withLock { state in
                _ = state.breaker.succeeded(pass, at: NodeClock.now())
                tell(state)
            }
            return value
        } catch {
            let now = NodeClock.now()
            state.withLock { state in
                if now - start >= Self.patience {
                    _ = state.breaker.failed(pass, at: now)
                } else {
                    state.breaker.withdrawn(pass)
                }
                tell(state)
            }
            throw error
        }
    }

    /// Another link to the node may have taken the place of one that is closed.
    private func tell(_ state: State) {
        if !state.isClosed { isOpen.record(state.breaker.state == .closed ? 0 : 1) }
    }

    private func connected(_ result: Result<ClientConnection, any Error>) {
        let unwanted: ClientConnection? = state.withLock { state in
            state.connecting = nil
            switch result {
            case .success(let connection):
                state.failures = 0
                if state.isClosed { return connection }
                state.connection = connection
            case .failure:
                state.failures += 1
                let pause = min(Self.firstPause * (1 << min(state.failures, 10)), Self.longestPause)
                state.notBefore = NodeClock.now() + pause
            }
            return nil
        }
        unwanted?.close()
    }

    func close() {
        let connection = state.withLock { state in
            state.isClosed = true
            isOpen.record(0)
            defer { state.connection = nil }
            return state.connection
        }
        connection?.close()
    }
}

/// What went over a link.
final class PeerCounts: Sendable {
    let fetchedBlobs = Atomic<UInt64>(0)
    let fetchedBytes = Atomic<UInt64>(0)
    let pushedBlobs = Atomic<UInt64>(0)
    let pushedBytes = Atomic<UInt64>(0)
    let failures = Atomic<UInt64>(0)
    let corrupt = Atomic<UInt64>(0)
    let microseconds = Atomic<UInt64>(0)
}
