internal import CacheCore
internal import EsperProtocol
public import GRPCTransport
public import KernelCache
internal import NIOCore
internal import Synchronization

/// The gRPC front of the kernel cache: service `esper.v1.Cache`.
///
/// It only translates: every call is a task that asks the ``ArtifactCache``, ended by its answer, its deadline or its caller. A
/// transfer holds at most two blobs, whatever the artifact's size and however slow its reader or writer: what goes out waits for the
/// stream's credit, and what comes in gives its window back when it is taken.
public final class CacheDoor: GRPCService {
    let cache: any ArtifactCache
    private let calls = Mutex<[CallHandle: CacheCall]>([:])
    let transfers: TransferBound
    let silence: TimeAmount

    /// What the server needs to route calls.
    public static var methods: MethodTable {
        var table = MethodTable()
        for method in ProtoCacheMethod.allCases {
            let kind: MethodTable.Kind =
                switch method {
                case .retrieve: .serverStreaming
                case .store: .streaming
                case .findMissing, .evict, .list, .warm, .sync, .stat, .reportFailure, .renewToken, .shardMap,
                    .rebalance:
                    .unary
                }
            table.add(method.path, id: method.rawValue, kind: kind)
        }
        return table
    }

    /// - Parameters:
    ///   - maximumTransfers: streams of blobs under way, both ways together; 2 MiB each.
    ///   - silence: a caller who sends nothing, or takes nothing of what it asked for, for so long has gone.
    public init(cache: any ArtifactCache, maximumTransfers: Int = 128, silence: Duration = .seconds(60)) {
        self.cache = cache
        transfers = TransferBound(maximumTransfers)
        self.silence = TimeAmount(silence)
    }

    /// Calls under way.
    package var openCalls: Int { calls.withLock { $0.count } }

    public func received(_ calls: [InboundCall], on connection: ServerConnection) {
        for call in calls { begin(call, on: connection) }
    }

    public func occurred(_ events: [CallEvent], on connection: ServerConnection) {
        for event in events {
            switch event {
            case .opened(let call): begin(call, on: connection)
            case .message(let handle, let message):
                guard let call = self[handle] else {
                    connection.acknowledge(handle, messageBytes: message.count)
                    continue
                }
                call.received(message)
            case .halfClosed(let handle): self[handle]?.received(nil)
            case .writable(let handle): self[handle]?.hasRoom()
            case .ended(let handle, _): calls.withLock { $0.removeValue(forKey: handle) }?.end()
            }
        }
    }

    public func trailers(of refusal: TransportRefusal, _ status: GRPCStatus) -> Metadata {
        GRPCDoor.trailers(of: refusal, status)
    }

    /// Whoever waits for another's work is told to go elsewhere; transfers go on.
    public func draining(_ connection: ServerConnection) {
        let waiting = calls.withLock { calls in
            calls.values.filter { $0.handle.connection === connection && $0.isWaiting }
        }
        for call in waiting {
            call.finish(CacheFailure(.draining, "the node is stopping"))
            call.end()
        }
    }

    private subscript(handle: CallHandle) -> CacheCall? { calls.withLock { $0[handle] } }

    private func begin(_ inbound: InboundCall, on connection: ServerConnection) {
        guard let method = ProtoCacheMethod(rawValue: inbound.method) else { return }
        let call = CacheCall(inbound, method, door: self, on: connection)
        calls.withLock { $0[inbound.handle] = call }
        call.start()
    }

    func ended(_ call: CacheCall) { _ = calls.withLock { $0.removeValue(forKey: call.handle) } }
}

/// Bounds the transfers under way, and so the memory that they take.
final class TransferBound: Sendable {
    private let limit: Int
    private let count = Mutex(0)

    init(_ limit: Int) { self.limit = limit }

    func enter() throws(CacheFailure) {
        let isFull = count.withLock { count in
            guard count < limit else { return true }
            count += 1
            return false
        }
        if isFull { throw CacheFailure(.overloaded, "\(limit) transfers are under way, as many as this node takes") }
    }

    var current: Int { count.withLock { $0 } }

    func leave() { count.withLock { $0 -= 1 } }
}
