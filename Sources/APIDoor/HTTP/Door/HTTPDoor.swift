internal import EsperTypes
internal import HTTPTypes
internal import HummingbirdCore
public import KernelCache
public import Logging
internal import Metrics
internal import NIOCore
public import Observability
public import RaftRuntime

/// The http/1.1 side of the API: JSON under `/v1`, event streams, and the probes.
///
/// It only translates: every operation is one call of the node. What it serves stands in one table of routes, from which
/// `/openapi.json` is made too.
public final class HTTPDoor: Sendable {
    let node: NodeHandle
    let health: Health
    let registry: PrometheusRegistry
    private let core: HealthReporter
    private let facts: @Sendable () -> NodeFacts
    private let options: APIOptions
    private let gateway: (any HTTPGateway)?
    private let cache: (any ArtifactCache)?
    private let artifacts: ArtifactPaths?
    /// Bodies of artifacts under way, both ways together.
    package var openTransfers: Int { artifacts?.transfers.current ?? 0 }
    private let logger: Logger
    private let routes: [String: [Route]]
    private let duration = Metrics.Timer(label: "api.http.request.duration")
    private let requests = Dictionary(
        uniqueKeysWithValues: (1...5).map {
            ($0, Counter(label: "api.http.requests", dimensions: [("status", "\($0)xx")]))
        })
    private let streams = Counter(label: "api.http.streams")

    /// - Parameters:
    ///   - gateway: whoever serves other paths to clients with a certificate.
    ///   - cache: what `/v1/cache` serves.
    public init(
        node: NodeHandle, health: Health, registry: PrometheusRegistry,
        facts: @escaping @Sendable () -> NodeFacts, options: APIOptions, gateway: (any HTTPGateway)? = nil,
        cache: (any ArtifactCache)? = nil, logger: Logger
    ) {
        self.node = node
        self.health = health
        self.registry = registry
        self.facts = facts
        core = health.component("core", scope: .liveness, state: .ok)
        self.options = options
        self.gateway = gateway
        self.cache = cache
        artifacts = cache.map { ArtifactPaths(cache: $0, options: options) }
        self.logger = logger
        routes = Dictionary(grouping: Route.all, by: \.path)
    }

    /// Every route as `METHOD /path`.
    package static var servedRoutes: [String] { Route.all.map { "\($0.method.rawValue) \($0.path)" } }

    private enum Answer {
        case whole(HTTPResponse.Status, contentType: String, String, closes: Bool = false, allow: String? = nil)
        case events(EventSource)
    }

    // As Hummingbird's functions, which would otherwise be handed a writer that is not Sendable.
    @concurrent func respond(
        to request: Request, _ writer: consuming ResponseWriter, on channel: any Channel, _ connection: HTTPConnection
    ) async throws {
        let start = ContinuousClock.now
        if let gateway, let principal = connection.principal, gateway.serves(path: request.uri.path) {
            return try await pass(request, to: gateway, principal, writer, start, channel, connection)
        }
        if let artifacts, let principal = connection.principal, ArtifactPaths.serves(path: request.uri.path) {
            let status = try await artifacts.respond(to: request, principal, writer, on: channel)
            requests[status / 100]?.increment()
            duration.recordNanoseconds(Self.nanoseconds(since: start))
            return
        }
        switch await answer(request, channel, connection) {
        case .whole(let status, let contentType, let text, let closes, let allow):
            var fields: HTTPFields = [
                .contentType: contentType, .contentLength: "\(text.utf8.count)", .cacheControl: "no-store",
            ]
            if closes { fields[.connection] = "close" }
            if let allow { fields[.allow] = allow }
            requests[status.code / 100]?.increment()
            duration.recordNanoseconds(Self.nanoseconds(since: start))
            try await writer.write(
                response: HTTPResponse(status: status, headerFields: fields),
                body: ResponseBody(byteBuffer: ByteBuffer(string: text)))
            // What is left of the body is not worth reading.
            if closes { channel.close(promise: nil) }
        case .events(let source):
            streams.increment()
            try await serve(source, writer, channel, connection)
        }
    }

    private static func nanoseconds(since start: ContinuousClock.Instant) -> Int64 {
        let (seconds, attoseconds) = (ContinuousClock.now - start).components
        return seconds * 1_000_000_000 + attoseconds / 1_000_000_000
    }

    /// Writes events as long as the source has some; each is written out before the next is asked for.
    @concurrent private func serve(
        _ source: EventSource, _ writer: consuming ResponseWriter, _ channel: any Channel, _ connection: HTTPConnection
    ) async throws {
        let number = connection.register(isStream: true) { source.cancel() }
        let interval = TimeAmount(options.heartbeatInterval)
        let beat = channel.eventLoop.scheduleRepeatedTask(initialDelay: interval, delay: interval) { _ in source.beat()
        }
        defer {
            connection.forget(number)
            beat.cancel()
            source.cancel()
        }
        let fields: HTTPFields = [.contentType: "text/event-stream", .cacheControl: "no-store"]
        var body = try await writer.writeHead(HTTPResponse(status: .ok, headerFields: fields))
        try await body.write(ByteBuffer(string: EventSource.comment))
        while let text = await source.next() { try await body.write(ByteBuffer(string: text)) }
        try await body.finish(nil)
    }

    private static func metadata(of request: Request) -> [String: String] {
        let prefix = "grpc-metadata-"
        var found: [String: String] = [:]
        for field in request.headers where field.name.canonicalName.hasPrefix(prefix) {
            found[String(field.name.canonicalName.dropFirst(prefix.count))] = field.value
        }
        return found
    }

    /// Has the gateway answer.
    @concurrent private func pass(
        _ request: Request, to gateway: any HTTPGateway, _ principal: String, _ writer: consuming ResponseWriter,
        _ start: ContinuousClock.Instant, _ channel: any Channel, _ connection: HTTPConnection
    ) async throws {
        let answer: GatewayAnswer
        var closes = false
        do throws(HTTPFailure) {
            let body = try await body(of: request)
            let asked = GatewayRequest(
                method: request.method.rawValue, path: request.uri.path, query: request.uri.query ?? "",
                body: [UInt8](body.readableBytesView), authorization: request.headers[.authorization],
                metadata: Self.metadata(of: request), principal: principal)
            answer =
                (try? await connection.waiting { await gateway.answer(asked) })
                ?? GatewayAnswer(status: 503, body: .whole([]))
        } catch {
            answer = GatewayAnswer(status: error.status.code, body: .whole([UInt8](error.json.serialized.utf8)))
            closes = error.status == .contentTooLarge
        }
        var fields: HTTPFields = [.contentType: answer.contentType, .cacheControl: "no-store"]
        for (name, value) in answer.fields {
            if let name = HTTPField.Name(name) { fields[name] = value }
        }
        if closes { fields[.connection] = "close" }
        let status = HTTPResponse.Status(code: answer.status)
        requests[answer.status / 100]?.increment()
        switch answer.body {
        case .whole(let bytes):
            fields[.contentLength] = "\(bytes.count)"
            duration.recordNanoseconds(Self.nanoseconds(since: start))
            try await writer.write(
                response: HTTPResponse(status: status, headerFields: fields),
                body: ResponseBody(byteBuffer: ByteBuffer(bytes: bytes)))
            if closes { channel.close(promise: nil) }
        case .stream(let stream):
            streams.increment()
            let number = connection.register(isStream: true) { stream.cancel() }
            defer {
                connection.forget(number)
                stream.cancel()
            }
            var body = try await writer.writeHead(HTTPResponse(status: status, headerFields: fields))
            while let bytes = await stream.next() { try await body.write(ByteBuffer(bytes: bytes)) }
            try await body.finish(nil)
        }
    }

    // MARK: - From request to answer

    private func answer(_ request: Request, _ channel: any Channel, _ connection: HTTPConnection) async -> Answer {
        do {
            let route = try route(of: request, connection)
            if case .probe(let contentType, let probe) = route.action {
                let (status, text) = await probe(self)
                return .whole(status, contentType: contentType, text)
            }
            var query = try QueryParameters(request.uri.query ?? "")
            var context = CallContext(
                node: node, cache: cache, principal: connection.principal ?? "", facts: facts,
                timeout: options.defaultTimeout,
                isTimeoutGiven: false, maximumTimeout: options.maximumTimeout,
                lastEventID: request.headers[.lastEventID])
            if let text = query.take("timeout") {
                guard let timeout = Duration(written: text), timeout > .zero else {
                    throw HTTPFailure.invalid("'timeout' must be a duration such as 250ms, 5s or 2m")
                }
                context.timeout = min(timeout, options.maximumTimeout)
                context.isTimeoutGiven = true
            }
            let fields = try await fields(of: request, route, query)
            switch route.action {
            case .call(let call):
                return .whole(.ok, contentType: "application/json", try await call(fields, context).serialized)
            case .wait(let call):
                let settled = context
                let value = try await connection.waiting { try await call(fields, settled) }
                return .whole(.ok, contentType: "application/json", value.serialized)
            case .events(let open): return .events(try open(fields, context))
            case .probe: throw HTTPFailure.unexpected
            }
        } catch let failure as HTTPFailure {
            let isUnread = failure.status == .contentTooLarge
            return .whole(
                failure.status, contentType: "application/json", failure.json.serialized, closes: isUnread,
                allow: failure.allow)
        } catch {
            logger.error("a request failed unexpectedly", metadata: ["error": "\(error)"])
            return .whole(.internalServerError, contentType: "application/json", HTTPFailure.unexpected.json.serialized)
        }
    }

    private func route(of request: Request, _ connection: HTTPConnection) throws(HTTPFailure) -> Route {
        let path = request.uri.path
        let candidates = (routes[path] ?? []).filter { connection.principal != nil || $0.isProbe }
        guard !candidates.isEmpty else { throw .refused(.notFound, "not_found", "there is nothing at this path") }
        guard let route = candidates.first(where: { $0.method == request.method }) else {
            let allowed = candidates.map(\.method.rawValue).joined(separator: ", ")
            var failure = HTTPFailure.refused(.methodNotAllowed, "method_not_allowed", "this path takes \(allowed)")
            failure.allow = allowed
            throw failure
        }
        return route
    }

    /// The body of a POST, the query of a GET, checked against the route's fields.
    private func fields(
        of request: Request, _ route: Route, _ query: QueryParameters
    ) async throws(HTTPFailure) -> RequestFields {
        let value: JSONValue
        if route.method == .get {
            value = try query.value(route.fields)
        } else {
            guard query.isEmpty else { throw .invalid("fields belong in the body; the query takes 'timeout' only") }
            value = try Self.json(try await body(of: request))
        }
        try Field.check(value, against: route.fields)
        return RequestFields(value: value)
    }

    private func body(of request: Request) async throws(HTTPFailure) -> ByteBuffer {
        let limit = options.maximumBodyBytes
        let tooLarge = HTTPFailure.refused(
            .contentTooLarge, "body_too_large", "the body has more than \(limit) bytes")
        if let length = request.headers[.contentLength].flatMap(Int.init), length > limit { throw tooLarge }
        do {
            return try await request.body.collect(upTo: limit)
        } catch is NIOTooManyBytesError {
            throw tooLarge
        } catch {
            throw .invalid("the body did not arrive: \(error)")
        }
    }

    private static func json(_ buffer: ByteBuffer) throws(HTTPFailure) -> JSONValue {
        guard buffer.readableBytes > 0 else { return .object([] as [JSONValue.Member]) }
        do throws(JSONParser.Failure) {
            return try JSONParser.parse([UInt8](buffer.readableBytesView))
        } catch {
            throw .invalid("the body is not JSON: \(error.message) at byte \(error.offset)")
        }
    }

    // MARK: - Probes

    /// Whether the process must be restarted; asks nobody, so that it answers when nobody does.
    func liveness() -> (HTTPResponse.Status, String) {
        lookAtCore()
        let report = health.report
        return (report.isAlive ? .ok : .serviceUnavailable, report.json)
    }

    private func lookAtCore() {
        if node.silence < options.coreSilence { core.ok() } else { core.failing("the core loop does not answer") }
    }

    /// The deadlines of calls are kept by the core loop, so its own answer is not waited for longer than this.
    private func status(within limit: Duration) async -> ClusterStatus? {
        await withTaskGroup(of: ClusterStatus?.self) { group in
            group.addTask { [node] in
                guard case .status(let status) = await node.call(.status, principal: "probe", timeout: limit) else {
                    return nil
                }
                return status
            }
            group.addTask {
                try? await Task.sleep(for: limit)
                return nil
            }
            defer { group.cancelAll() }
            return await group.next() ?? nil
        }
    }

    /// Whether work may be sent here, with every reason against it; a degraded component is told but does not count.
    func readiness() async -> (HTTPResponse.Status, String) {
        let status = await status(within: .seconds(2))
        lookAtCore()
        let report = health.report
        var reasons = report.components.filter { $0.state != .ok }.map {
            "\($0.name): \($0.reason ?? $0.state.rawValue)"
        }
        var isReady = report.isReady
        if let status {
            if let reason = status.readiness.reason, !reasons.contains("raft: \(reason)") {
                reasons.append("raft: \(reason)")
            }
            isReady = isReady && status.readiness == .ready
        } else {
            isReady = false
            reasons.append("raft: the node does not answer")
        }
        let components = report.components.map { component in
            JSONValue.object([
                "name": .text(component.name), "state": .text(component.state.rawValue),
                "reason": component.reason.map(JSONValue.text),
            ])
        }
        let json = JSONValue.object([
            "ready": .boolean(isReady), "state": .text(isReady ? report.state.rawValue : "failing"),
            "reasons": .list(reasons.map(JSONValue.text)), "components": .list(components),
        ])
        return (isReady ? .ok : .serviceUnavailable, json.serialized)
    }
}

extension HTTPField.Name {
    /// Sent by a client that resumes an event stream (WHATWG HTML, section 9.2.4).
    fileprivate static let lastEventID = HTTPField.Name("Last-Event-ID")!
}
