import EsperClient
package import EsperTypes
import NIOCore
import Synchronization

/// Acquires a lock and gives it back; the worker's session waits in the lock's queue.
///
/// Between grant and release the worker uses a resource that keeps the highest token it has seen and whoever uses it: a
/// lower token, or two at once, is counted as a violation.
struct LockStep: LoadStep {
    let prefix: String
    /// Different locks, over which workers are spread.
    let locks: Int
    let resource = GuardedResource()

    static let wait = Duration.seconds(30)

    func perform(_ worker: LoadWorker<EsperClient>, completion: @escaping @Sendable (Result<Void, EsperError>) -> Void)
    {
        let name = "\(prefix)lock\(worker.index % locks)"
        guard let session = worker.state, session.end == nil else {
            replaceSession(of: worker, then: completion)
            return
        }
        let start = MonotonicClock.nanoseconds()
        let call = worker.recorder?.now() ?? 0
        worker.client.startAcquire(name, session: session.id, wait: Self.wait) { result in
            worker.record("lock", "acquire", key: name, call: call, answer: result.map { Self.json($0.token) })
            switch result {
            case .failure(let error):
                // Whether we stand in the queue is not known: a new session certainly does not.
                worker.state = nil
                self.abandon(session)
                completion(.failure(error))
            case .success(let grant):
                guard let token = grant.token else {
                    completion(.failure(EsperError(code: "not_granted", message: name, outcome: .notCommitted)))
                    return
                }
                worker.recordPart("acquire", since: start)
                self.resource.enter(name, token: token)
                self.release(name, token: token, session, worker, completion)
            }
        }
    }

    private func release(
        _ name: String, token: FencingToken, _ session: Session, _ worker: LoadWorker<EsperClient>,
        _ completion: @escaping @Sendable (Result<Void, EsperError>) -> Void
    ) {
        resource.leave(name, token: token)
        let call = worker.recorder?.now() ?? 0
        worker.client.startRelease(name, session: session.id) { result in
            worker.record(
                "lock", "release", key: name, input: Self.json(token), call: call, answer: result.map { .bool($0) })
            switch result {
            case .success(true):
                completion(.success(()))
            case .success(false), .failure:
                // The session may have ended under us, and the lock with it, at any time since the grant.
                worker.recorder?.recordExpiry(key: name, token: token.rawValue, call: call)
                worker.state = nil
                self.abandon(session)
                completion(
                    result.flatMap { _ in
                        .failure(EsperError(code: "lock_lost", message: name, outcome: .notCommitted))
                    })
            }
        }
    }

    /// Ends a session whose place in queues is not known any more. Nobody waits: it ends by itself at the latest.
    private func abandon(_ session: Session) {
        Task { try? await session.close() }
    }

    private func replaceSession(
        of worker: LoadWorker<EsperClient>, then completion: @escaping @Sendable (Result<Void, EsperError>) -> Void
    ) {
        // Awaited through `completion`.
        Task {
            do throws(EsperError) {
                let session = try await worker.client.openSession(ttl: .seconds(15), label: "bench")
                worker.client.eventLoop.execute {
                    worker.state = session
                    self.perform(worker, completion: completion)
                }
            } catch {
                worker.client.eventLoop.execute { completion(.failure(error)) }
            }
        }
    }

    private static func json(_ token: FencingToken?) -> JSON {
        token.map { .fields(["token": .unsigned($0.rawValue)]) } ?? false
    }
}

/// What stands behind the locks: it knows who uses it, and refuses the past.
package final class GuardedResource: Sendable {
    private struct State {
        var highest: [String: FencingToken] = [:]
        var users: [String: FencingToken] = [:]
        var violations: UInt64 = 0
    }

    private let state = Mutex(State())

    package init() {}

    package var violations: UInt64 { state.withLock { $0.violations } }

    package func enter(_ name: String, token: FencingToken) {
        state.withLock { state in
            if let highest = state.highest[name], token <= highest { state.violations += 1 }
            if state.users[name] != nil { state.violations += 1 }
            state.highest[name] = max(token, state.highest[name] ?? token)
            state.users[name] = token
        }
    }

    package func leave(_ name: String, token: FencingToken) {
        state.withLock { state in
            if state.users[name] == token { state.users[name] = nil }
        }
    }
}

/// Puts, gets and lock cycles: nine operations on keys for each cycle.
struct MixedStep: LoadStep {
    let put: PutStep
    let get: GetStep
    let lock: LockStep

    func perform(_ worker: LoadWorker<EsperClient>, completion: @escaping @Sendable (Result<Void, EsperError>) -> Void)
    {
        let (part, step): (String, any LoadStep<EsperClient>) =
            switch worker.random.next() % 20 {
            case 0..<2: ("lock", lock)
            case 2..<11: ("put", put)
            default: ("get", get)
            }
        let start = MonotonicClock.nanoseconds()
        step.perform(worker) { result in
            if case .success = result { worker.recordPart(part, since: start) }
            completion(result)
        }
    }
}
