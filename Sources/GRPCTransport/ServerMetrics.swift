internal import Metrics
internal import Synchronization

/// What a gRPC server counts; shared by its connections, from any thread.
final class ServerMetrics: Sendable {
    private struct CallKey: Hashable {
        var route: Int
        var status: GRPCCode
    }

    private static let calls = "grpc.server.calls"

    private let paths: [String]
    /// `grpc.server.calls` by `method` and `status`: calls that have ended. Those that go well are counted most, so theirs
    /// are made at once and found without a lock.
    private let succeeded: [Counter]
    private let others = Mutex<[CallKey: Counter]>([:])
    /// `grpc.server.requests.refused` by `status`: requests that are no gRPC call, by the HTTP status they got.
    private let refused = Mutex<[String: Counter]>([:])
    /// `grpc.server.connections.failed` by `reason`: connections we ended because of what the peer did or failed to do.
    private let failed = Dictionary(
        uniqueKeysWithValues: HTTP2Failure.Reason.allCases.map {
            ($0, Counter(label: "grpc.server.connections.failed", dimensions: [("reason", $0.rawValue)]))
        })
    /// `grpc.server.connections`: open ones.
    private let connections = Gauge(label: "grpc.server.connections")
    /// `grpc.server.streams`: calls in progress, on all connections.
    private let streams = Gauge(label: "grpc.server.streams")
    /// `grpc.server.queued.bytes`: messages of streams that their readers have not taken, on all connections.
    private let queued = Gauge(label: "grpc.server.queued.bytes")
    /// `grpc.server.answers.bytes`: unary answers that their readers have not taken, likewise.
    private let answers = Gauge(label: "grpc.server.answers.bytes")
    /// `grpc.server.requests.bytes`: requests that are unfinished, or of streams and not acknowledged, likewise.
    private let requests = Gauge(label: "grpc.server.requests.bytes")
    private let queuedBytes = Atomic<Int>(0)
    private let answerBytes = Atomic<Int>(0)
    private let requestBytes = Atomic<Int>(0)
    private let openConnections = Atomic<Int>(0)
    private let openStreams = Atomic<Int>(0)

    init(_ router: MethodRouter) {
        paths = router.routes.map { String($0.path.dropFirst()) }
        succeeded = paths.map { Counter(label: Self.calls, dimensions: [("method", $0), ("status", "ok")]) }
    }

    func connected() { connections.record(openConnections.add(1, ordering: .relaxed).newValue) }

    func disconnected(_ failure: HTTP2Failure?) {
        connections.record(openConnections.subtract(1, ordering: .relaxed).newValue)
        if let failure { failed[failure.reason]?.increment() }
    }

    /// Told in steps, once for each pass over a connection.
    func streamsChanged(by change: Int) { streams.record(openStreams.add(change, ordering: .relaxed).newValue) }

    /// Told in steps likewise.
    func heldChanged(from old: HeldBytes, to new: HeldBytes) {
        if old.messages != new.messages {
            queued.record(queuedBytes.add(new.messages - old.messages, ordering: .relaxed).newValue)
        }
        if old.answers != new.answers {
            answers.record(answerBytes.add(new.answers - old.answers, ordering: .relaxed).newValue)
        }
        if old.requests != new.requests {
            requests.record(requestBytes.add(new.requests - old.requests, ordering: .relaxed).newValue)
        }
    }

    var held: HeldBytes {
        HeldBytes(
            requests: requestBytes.load(ordering: .relaxed), answers: answerBytes.load(ordering: .relaxed),
            messages: queuedBytes.load(ordering: .relaxed))
    }

    /// - Parameter route: as in ``ServerStream/route``.
    func ended(_ route: Int, _ status: GRPCCode) {
        if status == .ok, route >= 0 { return succeeded[route].increment() }
        let key = CallKey(route: route, status: status)
        let counter = others.withLock { others in
            if let counter = others[key] { return counter }
            let counter = Counter(
                label: Self.calls, dimensions: [("method", name(of: key.route)), ("status", status.word)])
            others[key] = counter
            return counter
        }
        counter.increment()
    }

    func refused(httpStatus: String) {
        let counter = refused.withLock { refused in
            if let counter = refused[httpStatus] { return counter }
            let counter = Counter(label: "grpc.server.requests.refused", dimensions: [("status", httpStatus)])
            refused[httpStatus] = counter
            return counter
        }
        counter.increment()
    }

    /// Paths that a client made up are all called `unknown`, so that it cannot make series.
    private func name(of route: Int) -> String {
        switch route {
        case ServerConnection.healthCheck: "grpc.health.v1.Health/Check"
        case ServerConnection.healthWatch: "grpc.health.v1.Health/Watch"
        case ServerConnection.unknownMethod: "unknown"
        default: paths[route]
        }
    }
}

/// What is held for peers, as of the last pass over each connection.
package struct HeldBytes: Hashable, Sendable {
    /// Of requests that no service has taken.
    package var requests = 0
    /// Of unary answers that no reader has taken.
    package var answers = 0
    /// Of messages of streams, likewise.
    package var messages = 0

    package init(requests: Int = 0, answers: Int = 0, messages: Int = 0) {
        self.requests = requests
        self.answers = answers
        self.messages = messages
    }
}

extension GRPCCode {
    /// As in gRPC's documents, in lower case.
    var word: String {
        switch self {
        case .ok: "ok"
        case .cancelled: "cancelled"
        case .unknown: "unknown"
        case .invalidArgument: "invalid_argument"
        case .deadlineExceeded: "deadline_exceeded"
        case .notFound: "not_found"
        case .alreadyExists: "already_exists"
        case .permissionDenied: "permission_denied"
        case .resourceExhausted: "resource_exhausted"
        case .failedPrecondition: "failed_precondition"
        case .aborted: "aborted"
        case .outOfRange: "out_of_range"
        case .unimplemented: "unimplemented"
        case .`internal`: "internal"
        case .unavailable: "unavailable"
        case .dataLoss: "data_loss"
        case .unauthenticated: "unauthenticated"
        }
    }
}
