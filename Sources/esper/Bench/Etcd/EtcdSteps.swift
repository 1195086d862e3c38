import EsperClient
import EsperTypes
import EtcdProtocol
import FoundationEssentials
import GRPCTransport
import NIOCore
import SwiftProtobuf

/// `KV/Put` of one of the keys.
struct EtcdPutStep: LoadStep {
    let keys: LoadKeys

    func perform(
        _ worker: LoadWorker<EtcdConnection>, completion: @escaping @Sendable (Result<Void, EsperError>) -> Void
    ) {
        let key = keys.name(Int.random(in: 0..<keys.count, using: &worker.random))
        let value = keys.value(Int64(worker.random.next() >> 11))
        worker.client.start(.put, EtcdMessages.put(Array(key.utf8), value)) { completion($0.map { _ in }) }
    }
}

/// `KV/Range` of one key.
struct EtcdRangeStep: LoadStep {
    let keys: LoadKeys
    let isSerializable: Bool

    func perform(
        _ worker: LoadWorker<EtcdConnection>, completion: @escaping @Sendable (Result<Void, EsperError>) -> Void
    ) {
        let key = keys.name(Int.random(in: 0..<keys.count, using: &worker.random))
        let request = EtcdMessages.range(Array(key.utf8), isSerializable: isSerializable)
        worker.client.start(.range, request) { result in
            completion(
                result.flatMap { answer in
                    EtcdMessages.holdsOneKey(rangeAnswer: answer)
                        ? .success(())
                        : .failure(EsperError(code: "key_missing", message: key, outcome: .notCommitted))
                })
        }
    }
}

/// `KV/Txn`: compare-and-swap of the client's own key, which must succeed.
struct EtcdSwapStep: LoadStep {
    let keys: LoadKeys

    func perform(
        _ worker: LoadWorker<EtcdConnection>, completion: @escaping @Sendable (Result<Void, EsperError>) -> Void
    ) {
        let state = worker.state ?? EtcdConnection.WorkerState()
        worker.state = state
        let key = "\(keys.prefix)swap/\(worker.index)"
        let value = keys.value(Int64(worker.random.next() >> 11))
        // The first swap finds whatever an earlier run has left.
        let request = EtcdMessages.swap(Array(key.utf8), from: state.value, to: value)
        worker.client.start(.txn, request) { result in
            state.value = nil
            completion(
                result.flatMap { answer in
                    guard EtcdMessages.hasSucceeded(transactionAnswer: answer) else {
                        return .failure(EsperError(code: "lost_update", message: key, outcome: .notCommitted))
                    }
                    state.value = value
                    return .success(())
                })
        }
    }
}

/// `Lease/LeaseKeepAlive` of the client's own lease, on one stream.
struct EtcdKeepAliveStep: LoadStep {
    static let ttl: Int64 = 60

    func perform(
        _ worker: LoadWorker<EtcdConnection>, completion: @escaping @Sendable (Result<Void, EsperError>) -> Void
    ) {
        guard let state = worker.state, let stream = state.keepAlives else { return open(worker, completion) }
        state.answered = completion
        let request = EtcdLeaseKeepAliveRequest.with { $0.id = state.lease }
        // A message of one number can be written.
        stream.send((try? request.serializedBytes()) ?? [])
    }

    private func open(
        _ worker: LoadWorker<EtcdConnection>, _ completion: @escaping @Sendable (Result<Void, EsperError>) -> Void
    ) {
        let state = EtcdConnection.WorkerState()
        worker.state = state
        worker.client.start(.leaseGrant, EtcdLeaseGrantRequest.with { $0.ttl = Self.ttl }, EtcdLeaseGrantResponse.self)
        {
            result in
            switch result {
            case .failure(let error):
                worker.state = nil
                completion(.failure(error))
            case .success(let grant):
                state.lease = grant.id
                state.answered = completion
                guard let first: [UInt8] = try? EtcdLeaseKeepAliveRequest.with({ $0.id = grant.id }).serializedBytes()
                else { return }
                state.keepAlives = worker.client.connection.open(
                    ClientCall(path: EtcdMethod.leaseKeepAlive.path, message: first, timeout: nil),
                    endsWithFirstMessage: false
                ) { event in told(event, worker, state) }
            }
        }
    }

    private func told(
        _ event: ClientStreamEvent, _ worker: LoadWorker<EtcdConnection>, _ state: EtcdConnection.WorkerState
    ) {
        switch event {
        case .began: break
        case .message(let message):
            state.keepAlives?.acknowledge(messageBytes: message.count)
            let left = (try? EtcdLeaseKeepAliveResponse(serializedBytes: message).ttl) ?? 0
            state.answered.take()?(
                left > 0
                    ? .success(())
                    : .failure(EsperError(code: "lease_over", message: "\(state.lease)", outcome: .notCommitted)))
        case .ended(let result):
            worker.state = nil
            let error: EsperError =
                switch result {
                case .success: EsperError(code: "stream_ended", message: "the server ended it", outcome: .unknown)
                case .failure(let failure): EsperError(failure)
                }
            state.answered.take()?(.failure(error))
        }
    }
}

/// `Lock/Lock` and `Lock/Unlock`.
struct EtcdLockStep: LoadStep {
    let prefix: String
    /// Different locks, over which clients are spread.
    let locks: Int

    func perform(
        _ worker: LoadWorker<EtcdConnection>, completion: @escaping @Sendable (Result<Void, EsperError>) -> Void
    ) {
        guard let lease = worker.state?.lease else { return grant(worker, completion) }
        let name = "\(prefix)lock\(worker.index % locks)"
        let start = MonotonicClock.nanoseconds()
        let request = EtcdLockRequest.with {
            $0.name = Data(name.utf8)
            $0.lease = lease
        }
        worker.client.start(.lock, request, EtcdLockResponse.self) { result in
            switch result {
            case .failure(let error):
                // The lease may be over; another one certainly is not.
                worker.state = nil
                completion(.failure(error))
            case .success(let lock):
                worker.recordPart("lock", since: start)
                worker.client.start(.unlock, EtcdUnlockRequest.with { $0.key = lock.key }, EtcdUnlockResponse.self) {
                    completion($0.map { _ in })
                }
            }
        }
    }

    private func grant(
        _ worker: LoadWorker<EtcdConnection>, _ completion: @escaping @Sendable (Result<Void, EsperError>) -> Void
    ) {
        let request = EtcdLeaseGrantRequest.with { $0.ttl = 3600 }
        worker.client.start(.leaseGrant, request, EtcdLeaseGrantResponse.self) { result in
            switch result {
            case .failure(let error): completion(.failure(error))
            case .success(let lease):
                let state = EtcdConnection.WorkerState()
                state.lease = lease.id
                worker.state = state
                perform(worker, completion: completion)
            }
        }
    }
}
