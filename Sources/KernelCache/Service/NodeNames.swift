public import CacheCore
import Coordination
public import EsperTypes
public import RaftRuntime

/// ``NameAuthority`` of a running node.
public final class NodeNames: NameAuthority {
    private let node: NodeHandle

    public init(_ node: NodeHandle) { self.node = node }

    public var nodeID: NodeID { node.nodeID }

    public func binding(_ name: [UInt8], principal: String?) -> BindingLookup? {
        // First: a node that has heard of new permissions says nothing of names until they are in force here.
        let found = node.binding(name)
        // Where permissions are in force, the state machine judges who may read.
        if node.auth.isEnabled, !(principal?.utf8.starts(with: "node/".utf8) ?? false) { return nil }
        return found
    }

    public func picture() -> NamePicture? {
        let picture = node.namePicture()
        return node.auth.isEnabled ? nil : picture
    }

    public func staleBinding(_ name: [UInt8]) -> BindingLookup { node.staleBinding(name) }

    public func record(_ name: [UInt8]) -> Binding? { node.cacheTable.record(name) }

    public func records(after first: [UInt8]?, limit: Int) -> [(name: [UInt8], binding: Binding)] {
        node.cacheTable.records(after: first, limit: limit).map { ($0.name, $0.binding) }
    }

    public func settled(deadline: Instant) async throws(CacheFailure) -> LogIndex? {
        let body = await node.call(
            .query(.outboxStatus, linearizable: false), principal: Self.principal,
            timeout: deadline - NodeClock.now())
        guard case .outboxStatus(let status) = try Self.result(of: body) else { throw Self.nonsense }
        return status.namesSettled
    }

    public func look(
        _ name: [UInt8], principal: String, deadline: Instant
    ) async throws(CacheFailure) -> Binding? {
        guard case .binding(let binding) = try await query(.binding(name), principal, deadline) else {
            throw Self.nonsense
        }
        return binding
    }

    public func list(
        prefix: [UInt8], after: [UInt8]?, limit: Int, principal: String, deadline: Instant
    ) async throws(CacheFailure) -> ListReply {
        var after = after
        while true {
            let query = Query.bindings(prefix: prefix, after: after, limit: limit)
            guard case .bindings(let page) = try await self.query(query, principal, deadline) else {
                throw Self.nonsense
            }
            // A page of nothing but tombstones tells the caller nothing to go on from.
            if page.bindings.isEmpty, let next = page.next {
                after = next
                continue
            }
            return ListReply(bindings: page.bindings.map { ($0.name, $0.binding) }, more: page.next != nil)
        }
    }

    public func members(deadline: Instant) async throws(CacheFailure) -> [CacheMember] {
        let body = await node.call(
            .query(.members, linearizable: false), principal: Self.principal, timeout: deadline - NodeClock.now())
        guard case .members(let table) = try Self.result(of: body) else { throw Self.nonsense }
        return table.records.filter(\.isEnrolled).map {
            CacheMember(id: $0.id, name: $0.name, api: $0.api, zone: $0.zone)
        }
    }

    public var appliedMap: ShardMap? { node.cacheTable.map }

    public func observeMap(_ changed: @escaping @Sendable () -> Void) { node.observeShardMap(changed) }

    public func confirmedMap(deadline: Instant) async throws(CacheFailure) -> ShardMap? {
        guard case .shardMap(let map) = try await query(.shardMap, Self.principal, deadline) else {
            throw Self.nonsense
        }
        return map
    }

    public func leadership(deadline: Instant) async -> CacheLeadership? {
        let body = await node.call(.status, principal: Self.principal, timeout: deadline - NodeClock.now())
        guard case .status(let status) = body, let name = status.leader,
            let leader = status.members.first(where: { $0.name == name })
        else { return nil }
        return CacheLeadership(
            leader: leader.id, term: status.term.rawValue, isSetAside: status.readiness == .setAside)
    }

    public func propose(
        _ command: MapCommand, principal: String?, deadline: Instant
    ) async throws(CacheFailure) -> MapReply {
        let body = await node.call(
            .command(.cache(.map(command)), nil), principal: principal ?? Self.principal,
            timeout: deadline - NodeClock.now())
        switch body {
        case .command(let reply):
            switch reply.result {
            case .cache(.map(let reply)): return reply
            case .refused(let refusal): throw CacheFailure(refusal)
            default: throw Self.nonsense
            }
        case .failed(let failure): throw CacheFailure(failure)
        default: throw Self.nonsense
        }
    }

    public func change(
        _ change: CacheChange, request: CacheRequestName?, principal: String, deadline: Instant
    ) async throws(CacheFailure) -> (result: CacheChangeResult, index: LogIndex) {
        let identity = request.map {
            RequestID(client: $0.client, sequence: $0.sequence, acknowledgedThrough: $0.acknowledgedThrough)
        }
        let body = await node.call(
            .command(.cache(.change([change])), identity), principal: principal, timeout: deadline - NodeClock.now())
        switch body {
        case .command(let reply):
            switch reply.result {
            case .cache(.changed(let results)):
                guard let result = results.first else { throw Self.nonsense }
                return (result, reply.index)
            case .refused(let refusal): throw CacheFailure(refusal)
            default: throw Self.nonsense
            }
        case .failed(let failure): throw CacheFailure(failure)
        default: throw Self.nonsense
        }
    }

    private static let principal = "node/cache"
    private static let nonsense = CacheFailure(.invalid, "the node answered another question", outcome: .unknown)

    private func query(
        _ query: Query, _ principal: String, _ deadline: Instant
    ) async throws(CacheFailure) -> QueryResult {
        let body = await node.call(
            .query(query, linearizable: true), principal: principal, timeout: deadline - NodeClock.now())
        return try Self.result(of: body)
    }

    private static func result(of body: ServiceReply.Body) throws(CacheFailure) -> QueryResult {
        switch body {
        case .query(let reply):
            if case .refused(let refusal) = reply.result { throw CacheFailure(refusal) }
            return reply.result
        case .failed(let failure): throw CacheFailure(failure)
        default: throw nonsense
        }
    }
}
