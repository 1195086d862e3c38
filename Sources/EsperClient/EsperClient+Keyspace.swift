internal import EsperProtocol
public import EsperTypes
internal import FoundationEssentials
internal import SwiftProtobuf

extension EsperClient {
    /// Sets a key.
    ///
    /// - Parameter session: its end removes the key.
    @discardableResult
    public func put(
        _ key: [UInt8], _ value: [UInt8], session: SessionID? = nil
    ) async throws(EsperError) -> Commit {
        Commit(try await run(Self.put(key, value, session), ProtoPutResponse.self).commit)
    }

    /// A key's value, and the revision that was read.
    ///
    /// - Parameters:
    ///   - revision: as of then; nil: now.
    ///   - local: what the asked node has applied, possibly old, instead of a linearizable read.
    public func get(
        _ key: [UInt8], revision: UInt64? = nil, local: Bool = false
    ) async throws(EsperError) -> (KeyValue?, UInt64) {
        let response = try await run(Self.get(key, revision, local), ProtoGetResponse.self)
        return (response.hasKv ? KeyValue(response.kv) : nil, response.revision)
    }

    /// Pairs in key order. When the answer says `more`, go on behind its last key at its revision.
    public func range(
        _ range: KeyRange, revision: UInt64? = nil, local: Bool = false, limit: UInt32 = 0, descending: Bool = false,
        keysOnly: Bool = false, countOnly: Bool = false
    ) async throws(EsperError) -> RangeAnswer {
        let request = ProtoRangeRequest.with {
            $0.range = range.message
            $0.revision = revision ?? 0
            $0.consistency = local ? .local : .linearizable
            $0.limit = limit
            $0.descending = descending
            $0.keysOnly = keysOnly
            $0.countOnly = countOnly
        }
        let response = try await run(
            .repeatable(.range, request, prefersLeader: !local), ProtoRangeResponse.self)
        return RangeAnswer(
            revision: response.revision, pairs: response.kvs.map(KeyValue.init), count: response.count,
            more: response.more)
    }

    /// Deletes keys; says how many there were.
    @discardableResult
    public func delete(_ range: KeyRange) async throws(EsperError) -> (Commit, UInt64) {
        let request = ProtoDeleteRequest.with { $0.range = range.message }
        let response = try await run(.command(.delete, request), ProtoDeleteResponse.self)
        return (Commit(response.commit), response.deleted)
    }

    /// Runs `then` when every comparison holds and `otherwise` when one does not, as one command.
    public func transaction(
        _ comparisons: [Comparison], then: [TransactionStep], otherwise: [TransactionStep] = []
    ) async throws(EsperError) -> TransactionAnswer {
        let operation = Self.transaction(comparisons, then: then, otherwise: otherwise)
        return TransactionAnswer(try await run(operation, ProtoTxnResponse.self))
    }

    /// Forgets revisions below `revision`; present values stay.
    @discardableResult
    public func compact(_ revision: UInt64) async throws(EsperError) -> Commit {
        let request = ProtoCompactRequest.with { $0.revision = revision }
        return Commit(try await run(.command(.compact, request), ProtoCompactResponse.self).commit)
    }

    // MARK: With callbacks, for callers that start very many

    /// As ``put(_:_:session:)``; `completion` is called once, on ``eventLoop``.
    @discardableResult
    public func startPut(
        _ key: [UInt8], _ value: [UInt8], session: SessionID? = nil,
        completion: @escaping @Sendable (Result<Commit, EsperError>) -> Void
    ) -> OperationHandle {
        start(Self.put(key, value, session), ProtoPutResponse.self) { result in
            completion(result.map { Commit($0.commit) })
        }
    }

    /// As ``get(_:revision:local:)``; `completion` is called once, on ``eventLoop``.
    @discardableResult
    public func startGet(
        _ key: [UInt8], local: Bool = false,
        completion: @escaping @Sendable (Result<(KeyValue?, UInt64), EsperError>) -> Void
    ) -> OperationHandle {
        start(Self.get(key, nil, local), ProtoGetResponse.self) { result in
            completion(result.map { ($0.hasKv ? KeyValue($0.kv) : nil, $0.revision) })
        }
    }

    /// As ``transaction(_:then:otherwise:)``; `completion` is called once, on ``eventLoop``.
    @discardableResult
    public func startTransaction(
        _ comparisons: [Comparison], then: [TransactionStep], otherwise: [TransactionStep] = [],
        completion: @escaping @Sendable (Result<TransactionAnswer, EsperError>) -> Void
    ) -> OperationHandle {
        start(Self.transaction(comparisons, then: then, otherwise: otherwise), ProtoTxnResponse.self) { result in
            completion(result.map { TransactionAnswer($0) })
        }
    }

    // MARK: Requests

    private static func put(_ key: [UInt8], _ value: [UInt8], _ session: SessionID?) -> Operation {
        .command(
            .put,
            ProtoPutRequest.with {
                $0.key = Data(key)
                $0.value = Data(value)
                $0.sessionID = session?.rawValue ?? 0
            })
    }

    private static func get(_ key: [UInt8], _ revision: UInt64?, _ local: Bool) -> Operation {
        let request = ProtoGetRequest.with {
            $0.key = Data(key)
            $0.revision = revision ?? 0
            $0.consistency = local ? .local : .linearizable
        }
        return .repeatable(.get, request, prefersLeader: !local)
    }

    private static func transaction(
        _ comparisons: [Comparison], then: [TransactionStep], otherwise: [TransactionStep]
    ) -> Operation {
        .command(
            .transact,
            ProtoTxnRequest.with {
                $0.compares = comparisons.map(\.message)
                $0.success = then.map(\.message)
                $0.failure = otherwise.map(\.message)
            })
    }
}
