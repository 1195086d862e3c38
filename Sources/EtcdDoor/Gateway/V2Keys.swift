import APIDoor
import Coordination
import EsperTypes
import EtcdProtocol
import GRPCTransport
import RaftRuntime
import SwiftProtobuf

/// What clients of etcd's old v2 API need for a rendezvous: `/v2/machines` and `/v2/keys/…` on top of the same keyspace.
///
/// The key of a path is the path, so `/v2/keys/a/b` and the key `/a/b` are one. A directory is whatever has keys below
/// it. A value with a time to live hangs on a lease of its own. Indexes are revisions; `X-Etcd-Index` is the node's own
/// where the answer is about one, since clients compare with it.
///
/// Source: etcd 2.3, Documentation/v2/api.md.
struct V2Keys: Sendable {
    static let keysPath = "/v2/keys"
    static let machinesPath = "/v2/machines"

    private static let timeout = Duration.seconds(7)
    /// A wait is answered with nothing after this long, and asked again by its client.
    private static let waitLimit = Duration.seconds(60)
    private static let listed = 10_000

    let node: NodeHandle

    func answer(_ request: GatewayRequest) async -> GatewayAnswer {
        var answer = await answerUnnamed(request)
        answer.fields.append(("X-Etcd-Cluster-Id", String(node.clusterID.rawValue, radix: 16)))
        return answer
    }

    private func answerUnnamed(_ request: GatewayRequest) async -> GatewayAnswer {
        do {
            if request.path == Self.machinesPath { return try await machines(request) }
            let key = try Self.key(request.path)
            switch request.method {
            case "GET": return try await get(key, V2Fields(request.query), request.principal)
            case "PUT": return try await put(key, V2Fields(request.query, form: request.body), request.principal)
            case "DELETE": return try await delete(key, V2Fields(request.query), request.principal)
            default: return Self.text(405, "Method Not Allowed")
            }
        } catch let failure as V2Failure {
            return failure.answer(at: node.revision)
        } catch {
            let failure = EtcdFailure(error)
            if failure == .permissionDenied { return V2Failure.notPermitted.answer(at: node.revision) }
            return V2Failure(status: 500, code: 300, message: "Raft Internal Error", cause: failure.status.message)
                .answer(at: node.revision)
        }
    }

    private func machines(_ request: GatewayRequest) async throws -> GatewayAnswer {
        guard case .status(let status) = await node.call(.status, principal: request.principal, timeout: Self.timeout)
        else { throw EtcdFailure.unexpected }
        return Self.text(200, status.members.map { "https://" + $0.apiAddress }.joined(separator: ", "))
    }

    // MARK: - Reading

    private func get(_ key: [UInt8], _ fields: V2Fields, _ principal: String) async throws -> GatewayAnswer {
        if fields["wait"] == "true" { return try await wait(key, fields, principal) }
        let directory = Array((key.last == 0x2f ? key.dropLast() : key[...]) + [0x2f])
        let isLocal = fields["quorum"] == "false"
        let body = await node.call(
            .query(
                .transaction(
                    Transaction(success: [
                        .range(RangeRequest(.key(key.isEmpty ? [0x2f] : key))),
                        .range(RangeRequest(.prefix(directory), limit: Self.listed)),
                    ])), linearizable: !isLocal), principal: principal, timeout: Self.timeout)
        guard case .query(let reply) = body, case .transaction(let found) = reply.result,
            case .range(let own) = found.replies.first, case .range(let below) = found.replies.last
        else { throw EtcdFailure(body) ?? .unexpected }
        if let leaf = own.keyValues.first {
            return V2Answer(action: "get", node: .leaf(leaf), index: leaf.modRevision).answer(200)
        }
        guard !below.keyValues.isEmpty else { throw V2Failure.notFound(key) }
        let node = V2Node.directory(
            directory.count == 1 ? [] : Array(directory.dropLast()), below.keyValues,
            isRecursive: fields["recursive"] == "true")
        return V2Answer(action: "get", node: node, index: reply.revision).answer(200)
    }

    private func wait(_ key: [UInt8], _ fields: V2Fields, _ principal: String) async throws -> GatewayAnswer {
        let range: KeyRange = fields["recursive"] == "true" ? .prefix(key) : .key(key)
        let from = try fields.number("waitIndex").map { Revision($0) } ?? .zero
        let wait = OneChange(node: node)
        let event = try await wait.first(
            WatchRequest(range, fromRevision: from, includesPrevious: true), principal, within: Self.waitLimit)
        guard let event else { return Self.text(200, "") }
        let previous = event.previous.map(V2Node.leaf)
        let node: V2Node =
            event.isDeletion
            ? .gone(event.key, modified: event.revision, created: event.previous?.createRevision ?? .zero)
            : .leaf(event.keyValue)
        return V2Answer(
            action: event.isDeletion ? "delete" : event.keyValue.version == 1 ? "create" : "set", node: node,
            previous: previous, index: event.revision
        ).answer(200)
    }

    // MARK: - Writing

    private func put(_ key: [UInt8], _ fields: V2Fields, _ principal: String) async throws -> GatewayAnswer {
        if fields["dir"] == "true" { return try await makeDirectory(key, fields, principal) }
        guard !key.isEmpty, key.last != 0x2f else { throw V2Failure.notAFile(key) }
        var session: SessionID?
        if let ttl = try fields.number("ttl"), ttl > 0 { session = try await lease(ttl, principal) }
        let conditions = try compares(key, fields)
        let put = Command.Put(
            key: key, value: [UInt8]((fields["value"] ?? "").utf8), session: session, returnsPrevious: true)
        let body = await node.call(
            .command(
                .transaction(
                    Transaction(
                        compares: conditions, success: [.put(put)], failure: [.range(RangeRequest(.key(key)))])), nil),
            principal: principal, timeout: Self.timeout)
        guard case .command(let reply) = body, case .transaction(let done) = reply.result else {
            throw EtcdFailure(body) ?? .unexpected
        }
        guard done.succeeded, case .put(let written) = done.replies.first else {
            throw V2Failure.refused(key, fields, found: done.replies.first)
        }
        let previous = written.previous
        let now = KeyValue(
            key: key, value: put.value, createRevision: previous?.createRevision ?? reply.revision,
            modRevision: reply.revision, version: (previous?.version ?? 0) + 1, session: session)
        let action = fields["prevExist"] == "false" ? "create" : conditions.isEmpty ? "set" : "compareAndSwap"
        return V2Answer(
            action: action, node: .leaf(now, ttl: try fields.number("ttl")), previous: previous.map { .leaf($0) },
            index: reply.revision
        ).answer(previous == nil ? 201 : 200)
    }

    /// A directory is there as soon as something is in it. Made empty it is only said to be there, so it needs no time to live.
    private func makeDirectory(
        _ key: [UInt8], _ fields: V2Fields, _ principal: String
    ) async throws -> GatewayAnswer {
        let path = key.last == 0x2f ? Array(key.dropLast()) : key
        guard !path.isEmpty else { throw V2Failure.exists(path) }
        let body = await node.call(
            .query(
                .transaction(
                    Transaction(success: [
                        .range(RangeRequest(.key(path))), .range(RangeRequest(.prefix(path + [0x2f]), limit: 1)),
                    ])), linearizable: true), principal: principal, timeout: Self.timeout)
        guard case .query(let reply) = body, case .transaction(let found) = reply.result,
            case .range(let own) = found.replies.first, case .range(let below) = found.replies.last
        else { throw EtcdFailure(body) ?? .unexpected }
        guard own.keyValues.isEmpty, below.keyValues.isEmpty else {
            throw fields["prevExist"] == "false" ? V2Failure.exists(path) : V2Failure.notAFile(path)
        }
        return V2Answer(
            action: fields["prevExist"] == "false" ? "create" : "set",
            node: .directory(path, [], isRecursive: false), index: reply.revision
        ).answer(201)
    }

    private func delete(_ key: [UInt8], _ fields: V2Fields, _ principal: String) async throws -> GatewayAnswer {
        let range: KeyRange = fields["recursive"] == "true" ? .prefix(key + [0x2f]) : .key(key)
        let conditions = try compares(key, fields)
        var operations: [Transaction.Operation] = [.delete(Command.Delete(.key(key), returnsPrevious: true))]
        if range != .key(key) { operations.append(.delete(Command.Delete(range))) }
        let body = await node.call(
            .command(
                .transaction(
                    Transaction(compares: conditions, success: operations, failure: [.range(RangeRequest(.key(key)))])),
                nil), principal: principal, timeout: Self.timeout)
        guard case .command(let reply) = body, case .transaction(let done) = reply.result else {
            throw EtcdFailure(body) ?? .unexpected
        }
        guard done.succeeded else { throw V2Failure.refused(key, fields, found: done.replies.first) }
        var deleted = 0
        var previous: KeyValue?
        for case .delete(let part) in done.replies {
            deleted += part.count
            previous = previous ?? part.previous.first
        }
        guard deleted > 0 else { throw V2Failure.notFound(key) }
        return V2Answer(
            action: conditions.isEmpty ? "delete" : "compareAndDelete",
            node: .gone(key, modified: reply.revision, created: previous?.createRevision ?? .zero),
            previous: previous.map { .leaf($0) }, index: reply.revision
        ).answer(200)
    }

    private func compares(_ key: [UInt8], _ fields: V2Fields) throws(V2Failure) -> [Compare] {
        var compares: [Compare] = []
        switch fields["prevExist"] {
        case "true": compares.append(.present(key))
        case "false": compares.append(.absent(key))
        case nil: break
        default: throw V2Failure.invalid("prevExist is true or false")
        }
        if let value = fields["prevValue"] { compares.append(Compare(.key(key), .equal, .value([UInt8](value.utf8)))) }
        if let index = try fields.number("prevIndex") {
            compares.append(Compare(.key(key), .equal, .modRevision(Revision(index))))
        }
        return compares
    }

    private func lease(_ seconds: UInt64, _ principal: String) async throws -> SessionID {
        let terms = try LeaseTerms(.with { $0.ttl = Int64(clamping: seconds) })
        let body = await node.call(.command(terms.command, nil), principal: principal, timeout: Self.timeout)
        guard case .command(let reply) = body, case .sessionGranted(let session, _) = reply.result else {
            throw EtcdFailure(body) ?? .unexpected
        }
        return session
    }

    static func text(_ status: Int, _ text: String) -> GatewayAnswer {
        GatewayAnswer(status: status, contentType: "text/plain; charset=utf-8", body: .whole([UInt8](text.utf8)))
    }

    private static func key(_ path: String) throws(V2Failure) -> [UInt8] {
        guard let key = FormText.decoded(path.dropFirst(keysPath.count).utf8, isForm: false) else {
            throw .invalid("the path has a broken percent escape, or is not UTF-8")
        }
        return [UInt8](key.utf8)
    }
}

/// The fields of a query and of a form.
struct V2Fields: Sendable {
    private var values: [String: String] = [:]

    /// - Throws: when a field is not well encoded.
    init(_ query: String, form: [UInt8] = []) throws(V2Failure) {
        for part in [query, String(decoding: form, as: UTF8.self)] {
            for pair in part.split(separator: "&") {
                let sides = pair.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                guard let name = FormText.decoded(sides[0].utf8),
                    let value = FormText.decoded((sides.count > 1 ? sides[1] : "").utf8)
                else {
                    throw .invalid("a field is not well encoded")
                }
                values[name] = value
            }
        }
    }

    subscript(name: String) -> String? { values[name] }

    func number(_ name: String) throws(V2Failure) -> UInt64? {
        guard let text = values[name], !text.isEmpty else { return nil }
        guard let number = UInt64(text) else { throw .invalid("\(name) is a number") }
        return number
    }
}
