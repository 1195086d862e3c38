internal import CacheCore
internal import EsperTypes
internal import HTTPTypes
internal import HummingbirdCore
internal import KernelCache
internal import NIOCore
internal import RaftRuntime

/// Artifacts of one file as plain bodies: `GET`, `HEAD`, `PUT` and `DELETE` below `/v1/cache/artifacts/`, and in the layout of
/// Bazel's cache below `/v1/cache/bazel/`.
///
/// Bodies stream both ways, with at most two blobs of each in memory. The entity tag is the manifest's digest.
struct ArtifactPaths: Sendable {
    /// What a path names.
    enum Target: Equatable {
        case artifact([UInt8])
        /// The result of an action: replaced.
        case action(Digest)
        /// A file under its own SHA-256: checked.
        case content(Digest)
    }

    static let artifacts = "/v1/cache/artifacts/"
    static let bazel = "/v1/cache/bazel/"

    private let cache: any ArtifactCache
    private let options: APIOptions
    let transfers = TransferBound(128)
    private static let blobTime = Duration.seconds(30)
    /// From the end of the body to the answer.
    private static let bindingTime = Duration.seconds(15)

    init(cache: any ArtifactCache, options: APIOptions) {
        self.cache = cache
        self.options = options
    }

    static func serves(path: String) -> Bool { path.hasPrefix(artifacts) || path.hasPrefix(bazel) }

    /// - Returns: nil: there is nothing at this path.
    static func target(of path: String) -> Target? {
        if path.hasPrefix(artifacts) {
            guard let name = FormText.decoded(path.dropFirst(artifacts.count).utf8, isForm: false), !name.isEmpty else {
                return nil
            }
            return .artifact([UInt8](name.utf8))
        }
        guard path.hasPrefix(bazel) else { return nil }
        let parts = path.dropFirst(bazel.count).split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count == 2, let digest = Digest(String(parts[1])) else { return nil }
        switch parts[0] {
        case "ac": return .action(digest)
        case "cas": return .content(digest)
        default: return nil
        }
    }

    /// What is to be answered.
    private enum Plan {
        case whole(HTTPResponse.Status, HTTPFields, [UInt8], closes: Bool = false)
        case stream(HTTPFields, size: UInt64, inline: [UInt8], [BlobReference])
    }

    /// A request, read but for its body.
    private struct Asked {
        var target: Target
        var name: [UInt8]
        var principal: String
        var query: QueryParameters
        /// Counted from now on; nil: no `timeout` was given.
        var deadline: Instant?

        func deadline(orWithin usual: Duration) -> Instant { deadline ?? NodeClock.now() + usual }
    }

    /// - Returns: the status that was answered.
    @concurrent func respond(
        to request: Request, _ principal: String, _ writer: consuming ResponseWriter, on channel: any Channel
    ) async throws -> Int {
        if request.method == .put, request.headers[.expect]?.lowercased() == "100-continue", !isTooLarge(request) {
            try await writer.writeInformationalHead(HTTPResponse(status: .continue))
        }
        switch await plan(request, principal) {
        case .whole(let status, var fields, let body, let closes):
            fields[.contentLength] = "\(body.count)"
            if closes { fields[.connection] = "close" }
            let isBodyless = request.method == .head || status == .notModified
            if request.method == .head, let length = fields[.artifactLength] { fields[.contentLength] = length }
            fields[.artifactLength] = nil
            try await writer.write(
                response: HTTPResponse(status: status, headerFields: fields),
                body: isBodyless ? ResponseBody() : ResponseBody(byteBuffer: ByteBuffer(bytes: body)))
            // What is left of the body is not worth reading.
            if closes { channel.close(promise: nil) }
            return status.code
        case .stream(var fields, let size, let inline, let blobs):
            defer { if !blobs.isEmpty { transfers.leave() } }
            fields[.contentLength] = "\(size)"
            var body = try await writer.writeHead(HTTPResponse(status: .ok, headerFields: fields))
            if !inline.isEmpty { try await body.write(ByteBuffer(bytes: inline)) }
            do {
                try await stream(blobs) { bytes in
                    // A client that does not take one in that time has gone.
                    let timer = channel.eventLoop.scheduleTask(in: TimeAmount(options.idleTimeout)) {
                        channel.close(promise: nil)
                    }
                    defer { timer.cancel() }
                    try await body.write(ByteBuffer(bytes: bytes))
                }
            } catch {
                // The client sees a body that is too short.
                channel.close(promise: nil)
                throw error
            }
            try await body.finish(nil)
            return 200
        }
    }

    private func plan(_ request: Request, _ principal: String) async -> Plan {
        do {
            var asked = try asked(request, principal)
            switch request.method {
            case .get, .head: return try await get(&asked, request)
            case .put: return try await put(&asked, request)
            case .delete: return try await delete(&asked, request)
            default:
                let allowed = "GET, HEAD, PUT, DELETE"
                var failure = HTTPFailure.refused(.methodNotAllowed, "method_not_allowed", "this path takes \(allowed)")
                failure.allow = allowed
                throw failure
            }
        } catch {
            let failure = error as? HTTPFailure ?? (error as? CacheFailure).map(HTTPFailure.init) ?? .unexpected
            var fields = Self.json
            if let allow = failure.allow { fields[.allow] = allow }
            // A body that nobody has read is not worth reading.
            return .whole(failure.status, fields, [UInt8](failure.json.serialized.utf8), closes: request.method == .put)
        }
    }

    private func asked(_ request: Request, _ principal: String) throws -> Asked {
        guard let target = Self.target(of: request.uri.path) else {
            throw HTTPFailure.refused(.notFound, "not_found", "there is nothing at this path")
        }
        var query = try QueryParameters(request.uri.query ?? "")
        var deadline: Instant?
        if let text = query.take("timeout") {
            guard let timeout = Duration(written: text), timeout > .zero else {
                throw HTTPFailure.invalid("'timeout' must be a duration such as 250ms, 5s or 2m")
            }
            deadline = NodeClock.now() + min(timeout, options.maximumTimeout)
        }
        let tenant = query.take("tenant") ?? ""
        let name: [UInt8] =
            switch target {
            case .artifact(let bytes): bytes
            case .action(let digest): [UInt8]("bazel/ac/\(digest)".utf8)
            case .content(let digest): [UInt8]("bazel/cas/\(digest)".utf8)
            }
        return Asked(
            target: target, name: try ArtifactNames.full(tenant: tenant, name), principal: principal, query: query,
            deadline: deadline)
    }

    // MARK: Reading

    private func get(_ asked: inout Asked, _ request: Request) async throws -> Plan {
        let file = asked.query.take("file")
        let allowsStale = asked.query.take("allow_stale").map { $0 == "true" } ?? false
        guard asked.query.isEmpty else {
            throw HTTPFailure.invalid("the query takes 'tenant', 'file', 'allow_stale' and 'timeout'")
        }
        if file == nil, let hit = cache.hit(asked.name) {
            switch hit {
            case .absent: throw Self.absent
            case .found(let binding, let value):
                return answer(binding, size: UInt64(value.count), inline: value, [], tier: .memory, false, request)
            }
        }
        let reply = try await cache.retrieve(
            RetrieveRequest(
                name: asked.name, deadline: asked.deadline(orWithin: options.defaultTimeout),
                principal: asked.principal, allowsStale: allowsStale))
        guard case .found(let binding, let manifest, let tier) = reply.result else { throw Self.absent }
        let found: Manifest.File?
        if let file {
            found = manifest.files.first { $0.name == file }
        } else {
            found = manifest.files.count == 1 ? manifest.files.first : nil
        }
        guard let found else {
            let names = manifest.files.prefix(16).map(\.name).joined(separator: ", ")
            throw HTTPFailure.refused(
                file == nil ? .conflict : .notFound, file == nil ? "several_files" : "not_found",
                "say which file by 'file': \(names)")
        }
        var inline: [UInt8] = []
        var blobs: [BlobReference] = []
        switch found.content {
        case .inline(let bytes): inline = bytes
        case .blobs(let references): blobs = references
        }
        if request.method == .get, !blobs.isEmpty, !Self.matches(request.headers[.ifNoneMatch], binding) {
            try transfers.enter()
        }
        return answer(binding, size: found.size, inline: inline, blobs, tier: tier, reply.isStale, request)
    }

    private func answer(
        _ binding: Binding, size: UInt64, inline: [UInt8], _ blobs: [BlobReference], tier: CacheTier, _ isStale: Bool,
        _ request: Request
    ) -> Plan {
        var fields: HTTPFields = [
            .contentType: "application/octet-stream", .eTag: Self.tag(binding), .cacheControl: "no-cache",
            .version: "\(binding.version.rawValue)", .tier: tier.name,
        ]
        if isStale { fields[.stale] = "true" }
        if Self.matches(request.headers[.ifNoneMatch], binding) { return .whole(.notModified, fields, []) }
        if request.method == .head {
            fields[.artifactLength] = "\(size)"
            return .whole(.ok, fields, [])
        }
        return .stream(fields, size: size, inline: inline, blobs)
    }

    /// Each blob is fetched while the one before leaves.
    private func stream(_ blobs: [BlobReference], _ write: ([UInt8]) async throws -> Void) async throws {
        var ahead = blobs.first.map(fetch)
        defer { ahead?.cancel() }
        for number in blobs.indices {
            guard let fetching = ahead else { return }
            let blob = try await fetching.value
            ahead = number + 1 < blobs.count ? fetch(blobs[number + 1]) : nil
            guard blob.bytes.count == Int(blobs[number].size) else {
                throw CacheFailure(.bytesLost, "a blob has another size than the manifest says")
            }
            try await write(blob.bytes)
        }
    }

    /// Awaited or cancelled by whoever streams.
    private func fetch(_ blob: BlobReference) -> Task<CachedBlob, any Error> {
        Task { [cache] in try await cache.blob(blob, deadline: NodeClock.now() + Self.blobTime) }
    }

    // MARK: Writing

    private func isTooLarge(_ request: Request) -> Bool {
        (request.headers[.contentLength].flatMap { UInt64($0) } ?? 0) > CacheLimits.artifactBytes
    }

    private func put(_ asked: inout Asked, _ request: Request) async throws -> Plan {
        guard !isTooLarge(request) else {
            throw CacheFailure(.oversized, "an artifact has at most \(CacheLimits.artifactBytes) bytes")
        }
        var store = try self.store(&asked)
        store.condition = try await condition(of: request, asked)
        try transfers.enter()
        defer { transfers.leave() }
        let deadline = asked.deadline
        var assembler = ArtifactAssembler(cache, store.mode) {
            min(deadline ?? .distantFuture, NodeClock.now() + Self.blobTime)
        }
        var expected: Digest?
        if case .content(let digest) = asked.target { expected = digest }
        try await assembler.begin("", expected: expected)
        do {
            for try await buffer in request.body { try await assembler.append(buffer.readableBytesView) }
        } catch let failure as CacheFailure {
            throw failure
        } catch {
            throw HTTPFailure.invalid("the body did not arrive: \(error)")
        }
        store.manifest = try await assembler.finish(writer: asked.principal)
        store.deadline = asked.deadline(orWithin: Self.bindingTime)
        let reply = try await cache.store(store)
        var fields = Self.json
        fields[.eTag] = Self.tag(reply.binding)
        fields[.version] = "\(reply.binding.version.rawValue)"
        let body = JSONValue.object(CacheAnswers.stored(reply))
        return .whole(reply.isStored ? .created : .ok, fields, [UInt8](body.serialized.utf8))
    }

    private func store(_ asked: inout Asked) throws -> StoreRequest {
        let kind: Binding.Kind
        if case .action = asked.target {
            kind = .alias
        } else {
            kind = try CacheAnswers.kind(asked.query.take("kind"))
        }
        let mode = try CacheAnswers.mode(asked.query.take("mode"))
        let cost = try Self.number(asked.query.take("cost_ms"), "cost_ms")
        let ttl = try Self.number(asked.query.take("ttl_ms"), "ttl_ms")
        guard asked.query.isEmpty else {
            throw HTTPFailure.invalid("the query takes 'tenant', 'kind', 'mode', 'cost_ms', 'ttl_ms' and 'timeout'")
        }
        return StoreRequest(
            name: asked.name, kind: kind, manifest: Manifest(writer: "", files: []), mode: mode,
            costMilliseconds: UInt32(clamping: cost), lifetime: ttl == 0 ? nil : .milliseconds(Int64(clamping: ttl)),
            principal: asked.principal, deadline: .distantFuture)
    }

    /// If-None-Match: * stores only what is not there; If-Match replaces only what the tag names.
    private func condition(of request: Request, _ asked: Asked) async throws -> StoreRequest.Condition {
        if let tag = request.headers[.ifNoneMatch] {
            guard tag.trimmed == "*" else { throw HTTPFailure.invalid("If-None-Match of a PUT is *") }
            return .version(nil)
        }
        return try await version(of: request, asked).map { .version($0) } ?? .byKind
    }

    /// - Returns: nil without If-Match.
    private func version(of request: Request, _ asked: Asked) async throws -> LogIndex? {
        guard let tag = request.headers[.ifMatch] else { return nil }
        let reply = try await cache.retrieve(
            RetrieveRequest(
                name: asked.name, deadline: asked.deadline(orWithin: options.defaultTimeout),
                principal: asked.principal))
        guard case .found(let binding, _, _) = reply.result, Self.matches(tag, binding) else {
            throw HTTPFailure.refused(.preconditionFailed, "conflict", "the name stands for something else")
        }
        return binding.version
    }

    private func delete(_ asked: inout Asked, _ request: Request) async throws -> Plan {
        guard asked.query.isEmpty else { throw HTTPFailure.invalid("the query takes 'tenant' and 'timeout'") }
        let version = try await version(of: request, asked)
        let reply = try await cache.evict(
            EvictRequest(
                name: asked.name, subject: .name(version: version), principal: asked.principal,
                deadline: asked.deadline(orWithin: options.defaultTimeout)))
        guard reply.previous != nil else { throw Self.absent }
        return .whole(.ok, Self.json, [UInt8](JSONValue.object(CacheAnswers.evicted(reply)).serialized.utf8))
    }

    // MARK: Helpers

    private static let absent = HTTPFailure.refused(.notFound, "not_found", "there is no such artifact")
    private static let json: HTTPFields = [.contentType: "application/json", .cacheControl: "no-store"]

    private static func tag(_ binding: Binding) -> String { "\"\(binding.manifest)\"" }

    /// Whether a list of entity tags names the artifact (RFC 9110, section 13.1).
    static func matches(_ tags: String?, _ binding: Binding) -> Bool {
        guard let tags else { return false }
        return tags.split(separator: ",").contains { part in
            let tag = String(part).trimmed
            return tag == "*" || tag == self.tag(binding) || tag == "W/" + self.tag(binding)
        }
    }

    private static func number(_ text: String?, _ name: String) throws(HTTPFailure) -> UInt64 {
        guard let text else { return 0 }
        guard let number = UInt64(text) else { throw .invalid("'\(name)' must be a whole number from 0") }
        return number
    }
}

extension String {
    /// Without spaces at both ends.
    fileprivate var trimmed: String {
        let isSpace: (Character) -> Bool = { $0 == " " || $0 == "\t" }
        return String(drop(while: isSpace).reversed().drop(while: isSpace).reversed())
    }
}

extension HTTPField.Name {
    fileprivate static let version = HTTPField.Name("Esper-Version")!
    fileprivate static let tier = HTTPField.Name("Esper-Tier")!
    /// `true`: not confirmed to be the newest.
    fileprivate static let stale = HTTPField.Name("Esper-Stale")!
    /// Stands for Content-Length until the answer is written.
    fileprivate static let artifactLength = HTTPField.Name("Esper-Length")!
}
