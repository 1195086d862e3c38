import EsperTypes
import Synchronization

/// The sink behind ``NodeHandle/call(_:principal:timeout:)``: one continuation for each call, resumed exactly once.
final class AsyncCalls: ReplySink {
    private struct State {
        var nextToken: UInt64 = 1
        var waiting: [UInt64: CheckedContinuation<ServiceReply.Body, Never>] = [:]
    }

    private let state = Mutex(State())

    func call(
        _ node: NodeHandle, _ operation: ServiceRequest.Operation, principal: String, timeout: Duration
    ) async -> ServiceReply.Body {
        let token = state.withLock { state in
            defer { state.nextToken += 1 }
            return state.nextToken
        }
        let request = ServiceRequest(
            token: token, deadline: NodeClock.now() + timeout, principal: principal, operation: operation)
        return await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                state.withLock { $0.waiting[token] = continuation }
                node.submit([request], from: self)
                if Task.isCancelled { giveUp(token, node) }
            }
        } onCancel: {
            giveUp(token, node)
        }
    }

    func deliver(_ replies: [ServiceReply]) {
        for reply in replies {
            state.withLock { $0.waiting.removeValue(forKey: reply.token) }?.resume(returning: reply.body)
        }
    }

    private func giveUp(_ token: UInt64, _ node: NodeHandle) {
        guard let continuation = state.withLock({ $0.waiting.removeValue(forKey: token) }) else { return }
        node.submit(
            [ServiceRequest(token: token, deadline: .distantFuture, principal: "", operation: .cancel)], from: self)
        continuation.resume(
            returning: .failed(
                ServiceFailure(code: .timedOut, message: "the caller gave up", outcome: .unknown)))
    }
}
