internal import Synchronization

/// One http/1.1 connection: who is at the other end, and what must end when it is gone.
final class HTTPConnection: Sendable {
    private struct State {
        var isClosed = false
        var isDraining = false
        var nextNumber: UInt64 = 0
        var cancellations: [UInt64: @Sendable () -> Void] = [:]
        var streams: Set<UInt64> = []
    }

    /// From the certificate: `client/<name>` or `node/<name>`; nil on the probe listener.
    let principal: String?
    private let state = Mutex(State())

    init(principal: String?) { self.principal = principal }

    /// Runs work that waits for long, cancelled when the client goes.
    func waiting<Value: Sendable>(_ work: @escaping @Sendable () async throws -> Value) async throws -> Value {
        // Awaited below; cancelled with the caller and with the connection.
        let task = Task { try await work() }
        let number = register(isStream: false) { task.cancel() }
        defer { forget(number) }
        return try await withTaskCancellationHandler {
            try await task.value
        } onCancel: {
            task.cancel()
        }
    }

    /// Has `cancel` called when the client goes or, for streams, when the node drains; at once when it is too late.
    func register(isStream: Bool, _ cancel: @escaping @Sendable () -> Void) -> UInt64 {
        let number: UInt64? = state.withLock { state in
            guard !state.isClosed, !(state.isDraining && isStream) else { return nil }
            state.nextNumber += 1
            state.cancellations[state.nextNumber] = cancel
            if isStream { state.streams.insert(state.nextNumber) }
            return state.nextNumber
        }
        if number == nil { cancel() }
        return number ?? 0
    }

    func forget(_ number: UInt64) {
        state.withLock { state in
            state.cancellations[number] = nil
            state.streams.remove(number)
        }
    }

    /// The client is gone.
    func closed() {
        let cancellations = state.withLock { state in
            state.isClosed = true
            defer { state.cancellations = [:] }
            return Array(state.cancellations.values)
        }
        for cancel in cancellations { cancel() }
    }

    /// The node stops: streams end, requests go on.
    func drain() {
        let cancellations = state.withLock { state in
            state.isDraining = true
            return state.streams.compactMap { state.cancellations[$0] }
        }
        for cancel in cancellations { cancel() }
    }
}
