import Coordination
public import EsperTypes
public import KernelCache
public import RaftRuntime

/// Hashes in the replicated keyspace: each answer is of what a majority has on disk, but for reads that allow a stale one.
public final class KeyspaceHashes: HashStore {
    private let node: NodeHandle
    private static let pageBytes = 1 << 20

    public init(_ node: NodeHandle) { self.node = node }

    public func read(
        _ keys: [[UInt8]], allowsStale: Bool, principal: String, by deadline: Instant
    ) async throws(CacheFailure) -> [HashEntry?] {
        let ranges = keys.map { Transaction.Operation.range(RangeRequest(.key($0))) }
        let result = try await query(.transaction(Transaction(success: ranges)), allowsStale, principal, deadline)
        guard case .transaction(let reply) = result else { throw Self.unexpected }
        return reply.replies.map { reply in
            guard case .range(let range) = reply, let found = range.keyValues.first else { return nil }
            return HashEntry(found)
        }
    }

    public func page(
        startingWith prefix: [UInt8], after key: [UInt8]?, limit: Int, allowsStale: Bool, principal: String,
        by deadline: Instant
    ) async throws(CacheFailure) -> (entries: [HashEntry], more: Bool) {
        let all = KeyRange.prefix(prefix)
        let range = key.map { KeyRange(lower: $0 + [0], end: all.end) } ?? all
        guard !range.isEmpty else { return ([], false) }
        let result = try await query(
            .range(RangeRequest(range, limit: limit, maximumBytes: Self.pageBytes)), allowsStale, principal, deadline)
        guard case .range(let reply) = result else { throw Self.unexpected }
        return (reply.keyValues.map { HashEntry($0) }, reply.more)
    }

    public func count(
        _ prefix: [UInt8], allowsStale: Bool, principal: String, by deadline: Instant
    ) async throws(CacheFailure) -> Int {
        let result = try await query(
            .range(RangeRequest(.prefix(prefix), countOnly: true)), allowsStale, principal, deadline)
        guard case .range(let reply) = result else { throw Self.unexpected }
        return reply.count
    }

    public func write(
        _ puts: [(key: [UInt8], value: [UInt8])], when conditions: [HashCondition], principal: String,
        by deadline: Instant
    ) async throws(CacheFailure) -> [Bool]? {
        let transaction = Transaction(
            compares: conditions.map { Compare(.key($0.key), .equal, .modRevision(Revision($0.revision))) },
            success: puts.map { .put(Command.Put(key: $0.key, value: $0.value, returnsPrevious: true)) })
        let reply = try await command(.transaction(transaction), principal, deadline)
        guard case .transaction(let answer) = reply else { throw Self.unexpected }
        guard answer.succeeded else { return nil }
        return answer.replies.map { reply in
            guard case .put(let put) = reply else { return false }
            return put.previous == nil
        }
    }

    public func delete(
        _ keys: [[UInt8]], principal: String, by deadline: Instant
    ) async throws(CacheFailure) -> Int {
        let reply = try await command(
            .transaction(Transaction(success: keys.map { .delete(Command.Delete(.key($0))) })), principal, deadline)
        guard case .transaction(let answer) = reply else { throw Self.unexpected }
        return answer.replies.reduce(0) { sum, reply in
            guard case .delete(let deletion) = reply else { return sum }
            return sum + deletion.count
        }
    }

    public func deleteAll(
        _ prefix: [UInt8], principal: String, by deadline: Instant
    ) async throws(CacheFailure) -> Int {
        let reply = try await command(.delete(Command.Delete(.prefix(prefix))), principal, deadline)
        guard case .deleted(let deletion) = reply else { throw Self.unexpected }
        return deletion.count
    }

    private static let unexpected = CacheFailure(.invalid, "an answer of another kind", outcome: .unknown)

    private func query(
        _ query: Query, _ allowsStale: Bool, _ principal: String, _ deadline: Instant
    ) async throws(CacheFailure) -> QueryResult {
        let time = deadline - NodeClock.now()
        do throws(CacheFailure) {
            return try await ask(query, linearizable: true, principal, within: allowsStale ? time / 2 : time)
        } catch {
            guard allowsStale, error.isUnconfirmed else { throw error }
            return try await ask(query, linearizable: false, principal, within: deadline - NodeClock.now())
        }
    }

    private func ask(
        _ query: Query, linearizable: Bool, _ principal: String, within time: Duration
    ) async throws(CacheFailure) -> QueryResult {
        let body = await node.call(.query(query, linearizable: linearizable), principal: principal, timeout: time)
        switch body {
        case .query(let reply):
            if case .refused(let refusal) = reply.result { throw CacheFailure(refusal) }
            return reply.result
        case .failed(let failure): throw CacheFailure(failure)
        default: throw Self.unexpected
        }
    }

    private func command(
        _ command: Command, _ principal: String, _ deadline: Instant
    ) async throws(CacheFailure) -> CommandResult {
        let body = await node.call(.command(command, nil), principal: principal, timeout: deadline - NodeClock.now())
        switch body {
        case .command(let reply):
            if let refusal = reply.result.refusal { throw CacheFailure(refusal) }
            return reply.result
        case .failed(let failure): throw CacheFailure(failure)
        default: throw Self.unexpected
        }
    }
}

extension HashEntry {
    fileprivate init(_ keyValue: KeyValue) {
        self.init(key: keyValue.key, value: keyValue.value, revision: keyValue.modRevision.rawValue)
    }
}
