internal import Coordination
internal import EsperTypes
internal import RaftRuntime
internal import Synchronization

/// One watch of the node as a bounded sequence for one reader.
///
/// The node sends no more than its window ahead of what was read, so the queue is bounded by that: what ``next()``
/// returned counts as written out when ``next()`` is called again.
final class WatchStream: ReplySink {
    enum Item: Sendable {
        case delivery(WatchDelivery)
        /// The last one.
        case failed(ServiceFailure)
        /// Nothing happened for a while.
        case heartbeat
    }

    private struct State {
        var items: [Item] = []
        var reader: CheckedContinuation<Item?, Never>?
        /// Bytes of the delivery that the reader is writing out.
        var unwrittenBytes = 0
        var isEnded = false
    }

    private static let token: UInt64 = 1
    private let node: NodeHandle
    private let principal: String
    private let state = Mutex(State())

    init(node: NodeHandle, principal: String) {
        self.node = node
        self.principal = principal
    }

    /// Call once, before ``next()``.
    func start(_ request: WatchRequest) { submit(.watch(request)) }

    /// The next item, nil when the stream was cancelled or has failed before. One reader at a time.
    func next() async -> Item? {
        let written = state.withLock { state in
            defer { state.unwrittenBytes = 0 }
            return state.unwrittenBytes
        }
        if written > 0 { submit(.watchCredit(bytes: written)) }
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let ready: Item?? = state.withLock { state in
                    if !state.items.isEmpty { return .some(Self.take(&state)) }
                    if state.isEnded { return .some(nil) }
                    state.reader = continuation
                    return nil
                }
                if let ready { continuation.resume(returning: ready) }
            }
        } onCancel: {
            cancel()
        }
    }

    func deliver(_ replies: [ServiceReply]) {
        for reply in replies {
            switch reply.body {
            case .watch(let delivery): add(.delivery(delivery))
            case .failed(let failure): add(.failed(failure))
            case .command, .query, .keptAlive, .timeToLive, .status, .stateCopy, .transferred, .membersChanged, .done:
                break
            }
        }
    }

    /// Time passes; says so to a reader that waits, and asks how far the watch has come.
    func beat() {
        let isWatching = state.withLock { !$0.isEnded && $0.items.isEmpty }
        if isWatching { submit(.watchProgress) }
        let reader = state.withLock { state in
            defer { state.reader = nil }
            return state.reader
        }
        reader?.resume(returning: .heartbeat)
    }

    /// Ends the watch; what has not been read is dropped.
    func cancel() {
        let reader: CheckedContinuation<Item?, Never>? = state.withLock { state in
            state.isEnded = true
            state.items = []
            defer { state.reader = nil }
            return state.reader
        }
        submit(.cancel)
        reader?.resume(returning: nil)
    }

    private func add(_ item: Item) {
        let handed: (CheckedContinuation<Item?, Never>, Item?)? = state.withLock { state in
            guard !state.isEnded else { return nil }
            state.items.append(item)
            guard let reader = state.reader else { return nil }
            state.reader = nil
            return (reader, Self.take(&state))
        }
        if let (reader, item) = handed { reader.resume(returning: item) }
    }

    private static func take(_ state: inout State) -> Item? {
        let item = state.items.removeFirst()
        switch item {
        case .delivery(let delivery):
            if case .events(let events, _) = delivery.content {
                state.unwrittenBytes = events.reduce(0) { $0 + $1.cost }
            }
        case .failed: state.isEnded = true
        case .heartbeat: break
        }
        return item
    }

    private func submit(_ operation: ServiceRequest.Operation) {
        node.submit(
            [
                ServiceRequest(
                    token: Self.token, deadline: .distantFuture, principal: principal, operation: operation)
            ], from: self)
    }
}
