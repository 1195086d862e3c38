internal import EsperProtocol
internal import EsperTypes
internal import GRPCTransport
internal import SwiftProtobuf
internal import NIOCore
internal import Synchronization

/// Performs operations: chooses endpoints, follows leaders, repeats what may be repeated, and keeps outcomes apart.
///
/// `@unchecked Sendable`: the constants and the atomic aside, everything is touched only on `eventLoop`; the entry points
/// hop there.
final class CallEngine: @unchecked Sendable {
    let eventLoop: any EventLoop
    let options: ClientOptions
    private let endpoints: Endpoints
    private let backoff: Backoff
    private var identities = RequestIdentities()
    private var waitingForIdentity: [OperationRun] = []
    /// Callers of ``takeIdentity(_:)`` that wait for a client id.
    private var identityWaiters: [@Sendable (Result<RequestIdentities.RequestID, EsperError>) -> Void] = []
    private var registration: OperationRun?
    private var generator = SystemRandomNumberGenerator()
    private let closedFlag = Atomic<Bool>(false)
    private var isFindingLeader = false
    private var findLeaderAt: NIODeadline = .uptimeNanoseconds(0)
    private var runs: [ObjectIdentifier: OperationRun] = [:]

    init(eventLoop: any EventLoop, endpoints: Endpoints, options: ClientOptions) {
        self.eventLoop = eventLoop
        self.endpoints = endpoints
        self.options = options
        backoff = Backoff(first: options.firstPause, longest: options.longestPause)
    }

    // MARK: Entry points, from any thread

    /// - Parameter completion: called once, on the event loop.
    @discardableResult
    func perform(
        _ operation: Operation, completion: @escaping @Sendable (Result<ClientReply, EsperError>) -> Void
    ) -> OperationHandle {
        let patience = (operation.timeout ?? options.timeout) + operation.wait
        let run = OperationRun(operation, deadline: .now() + TimeAmount(patience), completion: completion)
        onLoop(dropped: { completion(.failure(Self.closed(.notCommitted))) }) { self.begin(run) }
        return OperationHandle(engine: self, run: run)
    }

    func cancel(_ run: OperationRun) {
        onLoop {
            guard !run.isDone else { return }
            let isInFlight = run.call != nil && run.operation.isMutating
            run.call?.cancel()
            self.end(
                run,
                .failure(
                    EsperError(
                        code: EsperError.Code.cancelled, message: "the operation was cancelled",
                        outcome: run.isOpen && run.operation.isMutating || isInFlight ? .unknown : .notCommitted)))
        }
    }

    /// Opens a stream on a node that can be reached; `failed` gets what prevented it.
    func open(
        _ method: ProtoMethod, _ message: [UInt8],
        opened: @escaping @Sendable (ClientStream) -> Void,
        handler: @escaping @Sendable (ClientStreamEvent) -> Void
    ) {
        let refuse: @Sendable () -> Void = {
            handler(
                .ended(.failure(CallFailure(GRPCStatus(.cancelled, "the client is closed"), mayHaveArrived: false))))
        }
        onLoop(dropped: refuse) {
            guard !self.isClosed else { return refuse() }
            let now = NIODeadline.now()
            let endpoint = self.endpoints.choose(preferLeader: false, now: now)
            self.endpoints.connection(to: endpoint).whenComplete { result in
                switch result {
                case .failure(let error):
                    self.endpoints.avoid(endpoint, for: .milliseconds(500), now: .now())
                    handler(.ended(.failure(Self.callFailure(error))))
                case .success(let connection):
                    let call = ClientCall(path: method.path, message: message, timeout: nil)
                    let stream = connection.open(call, endsWithFirstMessage: true) { event in
                        if case .ended(.failure) = event {
                            self.endpoints.avoid(endpoint, for: .milliseconds(200), now: .now())
                        }
                        handler(event)
                    }
                    opened(stream)
                }
            }
        }
    }

    /// A pause before attempt number `attempt`, then `body`, on the event loop; at once where that is shut down.
    func afterPause(attempt: Int, _ body: @escaping @Sendable () -> Void) {
        onLoop(dropped: body) {
            let pause = self.backoff.pause(after: attempt, using: &self.generator)
            let task = self.task(body, dropped: body)
            self.eventLoop.scheduleTask(in: pause) { task.run() }
        }
    }

    /// As ``afterPause(attempt:_:)``, for a task.
    func pause(after attempt: Int) async {
        await withCheckedContinuation { continuation in
            afterPause(attempt: attempt) { continuation.resume() }
        }
    }

    /// Closed by its user, or its event loop has been shut down: nothing goes on. From any thread.
    var isClosed: Bool { closedFlag.load(ordering: .acquiring) }

    static func closed(_ outcome: Outcome) -> EsperError {
        EsperError(code: EsperError.Code.closed, message: "the client is closed", outcome: outcome)
    }

    func close() {
        onLoop {
            guard !self.closedFlag.exchange(true, ordering: .acquiringAndReleasing) else { return }
            for run in Array(self.runs.values) {
                self.end(
                    run,
                    .failure(
                        run.judged(
                            EsperError(
                                code: EsperError.Code.closed, message: "the client was closed",
                                outcome: run.call == nil ? .notCommitted : .unknown))))
            }
            self.endpoints.close()
        }
    }

    /// - Parameter dropped: called instead of `body`, on any thread, when the event loop is shut down and runs nothing more.
    private func onLoop(dropped: @escaping @Sendable () -> Void = {}, _ body: @escaping @Sendable () -> Void) {
        guard !eventLoop.inEventLoop else { return body() }
        let task = task(body, dropped: dropped)
        eventLoop.execute { task.run() }
    }

    /// For work that nobody cancels.
    private func task(
        _ body: @escaping @Sendable () -> Void, dropped: @escaping @Sendable () -> Void
    ) -> LoopTask {
        LoopTask(body) { [self] in
            closedFlag.store(true, ordering: .releasing)
            dropped()
        }
    }

    // MARK: Request ids

    private func begin(_ run: OperationRun) {
        guard !isClosed else {
            run.end(.failure(Self.closed(.notCommitted)))
            return
        }
        runs[ObjectIdentifier(run)] = run
        guard run.operation.needsRequestID else {
            encode(run)
            return
        }
        if let id = identities.take() {
            run.requestID = id
            encode(run)
        } else {
            waitingForIdentity.append(run)
            watchDeadline(of: run)
            register()
        }
    }

    private func register() {
        guard registration == nil else { return }
        let run = perform(.registration) { result in self.registered(result) }.run
        registration = run.isDone ? nil : run
    }

    private func registered(_ result: Result<ClientReply, EsperError>) {
        registration = nil
        let waiting = waitingForIdentity
        waitingForIdentity = []
        let waiters = identityWaiters
        identityWaiters = []
        switch result.flatMap({ Self.clientID(in: $0) }) {
        case .failure(let error):
            // Nothing of theirs was sent.
            for run in waiting { end(run, .failure(error.with(.notCommitted))) }
            for waiter in waiters { waiter(.failure(error.with(.notCommitted))) }
        case .success(let client):
            identities.add(client)
            for run in waiting where !run.isDone { begin(run) }
            for waiter in waiters { takeIdentity(waiter) }
        }
    }

    // MARK: For calls that their callers repeat themselves

    /// A request id, to be given back by ``finish(_:)`` or ``forget(_:)``.
    func takeIdentity(_ body: @escaping @Sendable (Result<RequestIdentities.RequestID, EsperError>) -> Void) {
        let refuse: @Sendable () -> Void = { body(.failure(Self.closed(.notCommitted))) }
        onLoop(dropped: refuse) {
            guard !self.isClosed else { return refuse() }
            if let id = self.identities.take() { return body(.success(id)) }
            self.identityWaiters.append(body)
            self.register()
        }
    }

    /// The caller has the answer, or has given up.
    func finish(_ id: RequestIdentities.RequestID) { onLoop { self.identities.finish(id) } }

    /// The cluster does not know the client of this id any more.
    func forget(_ id: RequestIdentities.RequestID) { onLoop { self.identities.forget(client: id.client) } }

    /// A connection to a node that can be reached, and where it goes.
    func connect(_ body: @escaping @Sendable (Result<(HostPort, ClientConnection), EsperError>) -> Void) {
        let refuse: @Sendable () -> Void = { body(.failure(Self.closed(.notCommitted))) }
        onLoop(dropped: refuse) {
            guard !self.isClosed else { return refuse() }
            let endpoint = self.endpoints.choose(preferLeader: false, now: .now())
            self.endpoints.connection(to: endpoint).whenComplete { result in
                switch result {
                case .success(let connection): body(.success((endpoint, connection)))
                case .failure(let error):
                    self.endpoints.avoid(endpoint, for: .milliseconds(500), now: .now())
                    body(
                        .failure(
                            EsperError(
                                code: EsperError.Code.unavailable,
                                message: "\(endpoint): \(Self.callFailure(error).status.message)",
                                outcome: .notCommitted, isRetryable: true)))
                }
            }
        }
    }

    /// Passes an endpoint over for a while.
    func avoid(_ endpoint: HostPort, for period: TimeAmount) {
        onLoop { self.endpoints.avoid(endpoint, for: period, now: .now()) }
    }

    private static func clientID(in reply: ClientReply) -> Result<UInt64, EsperError> {
        guard let response = try? ProtoRegisterClientResponse(serializedBytes: reply.message), response.clientID != 0
        else {
            return .failure(
                EsperError(
                    code: EsperError.Code.malformedAnswer, message: "no client id in the answer", outcome: .notCommitted
                ))
        }
        return .success(response.clientID)
    }

    private func encode(_ run: OperationRun) {
        do {
            run.request = try run.operation.encode(run.requestID)
        } catch {
            let failure = EsperError(
                code: "invalid_argument", message: "the request cannot be written: \(error)", outcome: .notCommitted)
            end(run, .failure(failure))
            return
        }
        attempt(run)
    }

    // MARK: Attempts

    private func attempt(_ run: OperationRun) {
        guard !run.isDone, let request = run.request else { return }
        let now = NIODeadline.now()
        guard now < run.deadline, run.attempts < options.maximumAttempts else {
            end(run, .failure(run.timedOut()))
            return
        }
        run.attempts += 1
        let prefersLeader = options.followsLeader && run.operation.prefersLeader
        if prefersLeader, now >= findLeaderAt { findLeader(now: now) }
        let endpoint = endpoints.choose(preferLeader: prefersLeader, now: now)
        if let connection = endpoints.standing(endpoint) {
            send(request, of: run, on: connection, to: endpoint, now: now)
            return
        }
        watchDeadline(of: run)
        endpoints.connection(to: endpoint).whenComplete { result in
            guard !run.isDone else { return }
            switch result {
            case .success(let connection): self.send(request, of: run, on: connection, to: endpoint, now: .now())
            case .failure(let error):
                self.endpoints.avoid(endpoint, for: .milliseconds(500), now: .now())
                run.lastError = EsperError(
                    code: EsperError.Code.unavailable,
                    message: "\(endpoint): \(Self.callFailure(error).status.message)",
                    outcome: .notCommitted, isRetryable: true)
                self.pause(run)
            }
        }
    }

    private func send(
        _ request: [UInt8], of run: OperationRun, on connection: ClientConnection, to endpoint: HostPort,
        now: NIODeadline
    ) {
        let left = run.deadline - now
        let patience = run.mayRepeat ? min(left, TimeAmount(options.attemptTimeout + run.operation.wait)) : left
        let call = ClientCall(
            path: run.operation.path, message: request, timeout: max(patience, .milliseconds(1)))
        run.call = connection.start(call) { result in
            run.call = nil
            guard !run.isDone else { return }
            switch result {
            case .success(let reply): self.end(run, .success(reply))
            case .failure(let failure): self.failed(run, failure, at: endpoint)
            }
        }
    }

    /// Asks who leads, beside the operations and never more than one question at a time: any node serves them, but the
    /// leader with a step less.
    private func findLeader(now: NIODeadline) {
        guard !isFindingLeader else { return }
        isFindingLeader = true
        findLeaderAt = now + (endpoints.leader == nil ? Self.searchInterval : Self.confirmationInterval)
        let question = Operation.repeatable(
            .status, ProtoStatusRequest(), prefersLeader: false, timeout: options.attemptTimeout)
        perform(question) { result in
            self.isFindingLeader = false
            guard let reply = try? result.get(), let status = try? ProtoStatusResponse(serializedBytes: reply.message),
                let endpoint = HostPort(endpoint: status.leaderEndpoint)
            else { return }
            self.endpoints.leaderIs(endpoint)
        }
    }

    private static let searchInterval = TimeAmount.milliseconds(200)
    private static let confirmationInterval = TimeAmount.seconds(5)

    /// Decides what a failed attempt means.
    private func failed(_ run: OperationRun, _ failure: CallFailure, at endpoint: HostPort) {
        let now = NIODeadline.now()
        let reading = FailureReading(failure, isMutating: run.operation.isMutating)
        let error = reading.error
        run.lastError = error
        run.lastRefusal = reading.refusal(after: run.lastRefusal, timeLeft: run.deadline - now)
        // A leader that refuses names itself: that is no other place to go.
        let hint = reading.leaderEndpoint.flatMap { HostPort(endpoint: $0) }.flatMap { $0 == endpoint ? nil : $0 }
        if let hint {
            endpoints.leaderIs(hint)
        } else if !reading.isJudged || error.isRetryable {
            let isSlow = failure.status.code == .deadlineExceeded
            endpoints.avoid(endpoint, for: isSlow ? .seconds(1) : .milliseconds(200), now: now)
            findLeaderAt = min(findLeaderAt, now + Self.searchInterval)
        }
        if error.code == "client_unknown", renew(run) { return }
        let isOpenBefore = run.isOpen
        if error.outcome == .unknown { run.isOpen = true }
        let canRepeat = run.mayRepeat || error.outcome == .notCommitted && !isOpenBefore
        let shouldRepeat = reading.isJudged ? error.isRetryable : true
        guard canRepeat, shouldRepeat else {
            end(run, .failure(run.judged(error)))
            return
        }
        if reading.isRemembered, !isOpenBefore, let id = run.requestID {
            identities.finish(id)
            run.requestID = nil
        }
        // A hint, or a call that never left, costs nothing to try again at once; the second time it does.
        let isFree = run.attempts == 1 && (hint != nil || !failure.mayHaveArrived)
        if isFree { again(run) } else { pause(run, atLeast: .milliseconds(Int64(reading.retryAfterMilliseconds))) }
    }

    /// A client id the cluster has forgotten is replaced, if no earlier attempt may have gone through under it.
    private func renew(_ run: OperationRun) -> Bool {
        guard let id = run.requestID, !run.isOpen else { return false }
        identities.forget(client: id.client)
        run.requestID = nil
        begin(run)
        return true
    }

    private func pause(_ run: OperationRun, atLeast least: TimeAmount = .zero) {
        let pause = max(least, backoff.pause(after: run.attempts, using: &generator))
        watchDeadline(of: run)
        let task = LoopTask({ self.again(run) }) {
            // A run that has ended has cancelled its timers; otherwise the loop ends.
            if !run.isDone { self.end(run, .failure(run.judged(Self.closed(run.isOpen ? .unknown : .notCommitted)))) }
        }
        run.timer = eventLoop.scheduleTask(in: pause) { task.run() }
    }

    private func again(_ run: OperationRun) {
        guard !run.isDone else { return }
        if run.operation.needsRequestID, run.requestID == nil { begin(run) } else { attempt(run) }
    }

    private func watchDeadline(of run: OperationRun) {
        guard run.deadlineTimer == nil else { return }
        run.deadlineTimer = eventLoop.scheduleTask(deadline: run.deadline) {
            // A call under way ends by its own time-out, which is no later.
            guard run.call == nil else { return }
            // What kept a run from being sent at all kept the registration from it.
            run.lastError = run.lastError ?? self.registration?.lastError
            self.end(run, .failure(run.timedOut()))
        }
    }

    private func end(_ run: OperationRun, _ result: Result<ClientReply, EsperError>) {
        guard !run.isDone else { return }
        runs.removeValue(forKey: ObjectIdentifier(run))
        if let id = run.requestID { identities.finish(id) }
        run.end(result)
    }

    private static func callFailure(_ error: any Error) -> CallFailure {
        error as? CallFailure ?? CallFailure(GRPCStatus(.unavailable, "\(error)"), mayHaveArrived: false)
    }
}
