import Coordination
import EsperTypes
import RaftRuntime
import Synchronization

/// A watch that ends with its first event, for a task.
final class OneChange: ReplySink {
    private static let token: UInt64 = 1

    private struct State {
        var continuation: CheckedContinuation<Result<WatchEvent?, V2Failure>, Never>?
        var isOver = false
    }

    private let node: NodeHandle
    private let state = Mutex(State())

    init(node: NodeHandle) { self.node = node }

    /// - Returns: nil when nothing happened in time, or the task was cancelled.
    func first(_ request: WatchRequest, _ principal: String, within limit: Duration) async throws -> WatchEvent? {
        // Awaited below in effect: it only ends the wait, and is cancelled when the wait has ended.
        let timer = Task {
            try? await Task.sleep(for: limit)
            settle(.success(nil))
        }
        defer { timer.cancel() }
        return try await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                state.withLock { $0.continuation = continuation }
                node.submit(
                    [
                        ServiceRequest(
                            token: Self.token, deadline: .distantFuture, principal: principal,
                            operation: .watch(request))
                    ], from: self)
                if Task.isCancelled { settle(.success(nil)) }
            }
        } onCancel: {
            settle(.success(nil))
        }.get()
    }

    func deliver(_ replies: [ServiceReply]) {
        for reply in replies {
            switch reply.body {
            case .watch(let delivery):
                if case .events(let events, _) = delivery.content, let event = events.first { settle(.success(event)) }
            case .failed(let failure) where failure.code == .compacted: settle(.failure(.cleared))
            case .failed(let failure):
                settle(
                    .failure(
                        V2Failure(status: 503, code: 300, message: "Raft Internal Error", cause: failure.message)))
            default: break
            }
        }
    }

    private func settle(_ result: Result<WatchEvent?, V2Failure>) {
        let continuation = state.withLock { state -> CheckedContinuation<Result<WatchEvent?, V2Failure>, Never>? in
            guard !state.isOver, state.continuation != nil else { return nil }
            state.isOver = true
            return state.continuation.take()
        }
        guard let continuation else { return }
        node.submit(
            [ServiceRequest(token: Self.token, deadline: .distantFuture, principal: "", operation: .cancel)], from: self
        )
        continuation.resume(returning: result)
    }
}
