import Coordination
import EsperProtocol
import EsperTypes
import GRPCTransport
import NIOCore
import RaftRuntime

/// The calls in progress on one event loop.
///
/// Confined to its loop: ``DoorSink`` is the only part that the core loop touches.
final class DoorLane {
    /// A call that waits for replies of the node.
    struct Call {
        var handle: CallHandle
        var method: ProtoMethod
        /// A lock's or election's name, where the answer repeats it.
        var name = ""
        /// Of a candidate, as it is answered when it is elected.
        var leadership: ProtoLeadership?
        /// Keep-alives of one call are several requests.
        var keepAlive: KeepAliveProgress?
        var stream: StreamProgress?
    }

    struct KeepAliveProgress {
        /// Per requested session: answered time to live, zero when it is over, nil while not answered.
        var answers: [(session: UInt64, ttl: Duration?)]
    }

    /// Watches and observations.
    struct StreamProgress {
        /// Credit that is given back to the node when the connection has room again.
        var owedCredit = 0
        var isBlocked = false
        /// Of an observation: something changed while its reader was behind, so that it is told when there is room again.
        var mustLook = false
        /// Of a watch: how often it says how far it has come, and when it last said anything.
        var progressInterval = Duration.zero
        var lastTold = Instant.zero
        /// Of an observation: the leadership last told.
        var lastLeader: ElectionLeader?
        var hasTold = false
    }

    let node: NodeHandle
    let eventLoop: any EventLoop
    let facts: @Sendable () -> NodeFacts
    private lazy var sink = DoorSink(self, eventLoop)
    private var calls: [UInt64: Call] = [:]
    /// Tokens of the calls that may be cancelled or become writable.
    private var tokens: [CallHandle: UInt64] = [:]
    /// Parts of keep-alive calls, and the questions of observations: token to the call's own token.
    private var parts: [UInt64: (call: UInt64, position: Int)] = [:]
    private var nextToken: UInt64 = 1
    private var touched: [ObjectIdentifier: ServerConnection] = [:]

    private static let defaultTimeout = Duration.seconds(5)
    /// A wait that ends takes a command to leave the queue, for which it keeps this much of the call's time.
    private static let leavingTime = Duration.milliseconds(500)

    init(node: NodeHandle, eventLoop: any EventLoop, facts: @escaping @Sendable () -> NodeFacts) {
        self.node = node
        self.eventLoop = eventLoop
        self.facts = facts
    }

    // MARK: - Calls coming in

    func begin(_ inbound: [InboundCall], on connection: ServerConnection) {
        let now = NodeClock.now()
        var requests: [ServiceRequest] = []
        requests.reserveCapacity(inbound.count)
        let principal = connection.principal
        for call in inbound {
            guard let method = ProtoMethod(rawValue: call.method) else { continue }
            do {
                let parsed = try ParsedCall(method, call.message)
                add(parsed, call, method, principal, now, to: &requests)
            } catch {
                let failure = CallFailure(error)
                connection.finish(call.handle, failure.status, failure.trailers)
            }
        }
        if !requests.isEmpty { node.submit(requests, from: sink) }
    }

    private func add(
        _ parsed: ParsedCall, _ inbound: InboundCall, _ method: ProtoMethod, _ principal: String, _ now: Instant,
        to requests: inout [ServiceRequest]
    ) {
        let token = takeToken()
        var call = Call(
            handle: inbound.handle, method: method, name: parsed.name, leadership: parsed.leadership)
        let deadline = inbound.deadline(from: now) ?? now + Self.defaultTimeout
        switch parsed.kind {
        case .operation(let operation) where method.isServerStreaming:
            return open(operation, parsed, token, call, principal, now, to: &requests)
        case .operation(.query(let query, linearizable: false)):
            if let reply = node.answer(query, to: principal) {
                return answer(call, ServiceReply(token: token, body: .query(reply)))
            }
            requests.append(
                ServiceRequest(
                    token: token, deadline: deadline, principal: principal,
                    operation: .query(query, linearizable: false)))
        case .operation(let operation):
            requests.append(
                ServiceRequest(token: token, deadline: deadline, principal: principal, operation: operation))
        case .claim(let command, let id):
            tokens[inbound.handle] = token
            // Without a deadline of the call the wait comes on top of the usual time.
            let end = inbound.deadline == nil ? deadline + parsed.wait : deadline
            let until = min(now + parsed.wait, end - min(Self.leavingTime, (end - now) / 4))
            requests.append(
                ServiceRequest(
                    token: token, deadline: end, principal: principal, operation: .claim(command, id, until: until)))
        case .keepAlives(let sessions):
            call.keepAlive = KeepAliveProgress(answers: sessions.map { ($0.rawValue, nil) })
            for (position, session) in sessions.enumerated() {
                let part = takeToken()
                parts[part] = (token, position)
                requests.append(
                    ServiceRequest(
                        token: part, deadline: deadline, principal: principal, operation: .keepAlive(session)))
            }
        }
        calls[token] = call
    }

    private func takeToken() -> UInt64 {
        defer { nextToken += 1 }
        return nextToken
    }

    func occurred(_ events: [CallEvent]) {
        for event in events {
            switch event {
            case .ended(let handle, _):
                guard let token = tokens.removeValue(forKey: handle) else { continue }
                calls[token] = nil
                submit(token, .cancel)
            case .writable(let handle):
                if let token = tokens[handle] { unblock(token) }
            case .opened, .message, .halfClosed: break
            }
        }
    }

    /// Ends every watch and observation of a connection.
    func endStreams(of connection: ServerConnection, _ status: GRPCStatus, _ trailers: Metadata) {
        for (handle, token) in tokens where handle.connection === connection && calls[token]?.stream != nil {
            tokens[handle] = nil
            calls[token] = nil
            submit(token, .cancel)
            connection.finish(handle, status, trailers)
        }
    }

    /// The stream has room again.
    private func unblock(_ token: UInt64) {
        guard let call = calls[token], let stream = call.stream else { return }
        calls[token]?.stream?.owedCredit = 0
        calls[token]?.stream?.isBlocked = false
        calls[token]?.stream?.mustLook = false
        if stream.owedCredit > 0 { submit(token, .watchCredit(bytes: stream.owedCredit)) }
        if stream.mustLook { askLeader(of: token, call) }
    }

    private func submit(_ token: UInt64, _ operation: ServiceRequest.Operation, connection: UInt64? = nil) {
        let request = ServiceRequest(
            token: token, deadline: .distantFuture, principal: "", operation: operation, connection: connection)
        node.submit([request], from: sink)
    }

    // MARK: - Replies going out

    func answer(_ replies: [ServiceReply]) {
        for reply in replies {
            if let part = parts[reply.token] {
                answerPart(part.call, part.position, of: reply)
            } else if let call = calls[reply.token] {
                answer(call, reply)
            }
        }
        for connection in touched.values { connection.flushAnswers() }
        touched.removeAll(keepingCapacity: true)
    }

    private func answer(_ call: Call, _ reply: ServiceReply) {
        if call.stream != nil { return answerStream(call, reply) }
        end(reply.token, call)
        do {
            let message = try AnsweredCall.message(call, reply.body, facts: facts)
            call.handle.connection.reply(message, on: call.handle)
        } catch {
            let failure = CallFailure(error)
            call.handle.connection.finish(call.handle, failure.status, failure.trailers)
        }
    }

    private func end(_ token: UInt64, _ call: Call) {
        calls[token] = nil
        tokens[call.handle] = nil
        touch(call)
    }

    private func touch(_ call: Call) {
        touched[ObjectIdentifier(call.handle.connection)] = call.handle.connection
    }

    private func answerPart(_ token: UInt64, _ position: Int, of reply: ServiceReply) {
        parts[reply.token] = nil
        guard var call = calls[token] else { return }
        if call.stream != nil { return answerObservation(token, call, reply) }
        guard var progress = call.keepAlive else { return }
        switch reply.body {
        case .keptAlive(let ttl): progress.answers[position].ttl = ttl
        case .failed(let failure) where failure.code == .sessionNotFound: progress.answers[position].ttl = .zero
        default:
            // One that is not confirmed fails the call: the caller cannot tell what its sessions are worth.
            end(token, call)
            let failure = CallFailure(reply.body)
            return call.handle.connection.finish(call.handle, failure.status, failure.trailers)
        }
        call.keepAlive = progress
        calls[token] = call
        guard progress.answers.allSatisfy({ $0.ttl != nil }) else { return }
        end(token, call)
        do {
            call.handle.connection.reply(try AnsweredCall.keepAlives(progress), on: call.handle)
        } catch {
            let failure = CallFailure(error)
            call.handle.connection.finish(call.handle, failure.status, failure.trailers)
        }
    }

    // MARK: - Streams

    private func open(
        _ operation: ServiceRequest.Operation, _ parsed: ParsedCall, _ token: UInt64, _ call: Call,
        _ principal: String, _ now: Instant, to requests: inout [ServiceRequest]
    ) {
        var call = call
        call.stream = StreamProgress(progressInterval: parsed.progressInterval)
        calls[token] = call
        tokens[call.handle] = token
        call.handle.connection.begin(call.handle)
        guard call.method == .watch else {
            let part = takeToken()
            parts[part] = (token, 0)
            requests.append(
                ServiceRequest(
                    token: part, deadline: now + Self.defaultTimeout, principal: principal, operation: operation))
            return
        }
        requests.append(
            ServiceRequest(
                token: token, deadline: .distantFuture, principal: principal, operation: operation,
                connection: Self.number(of: call)))
        // The first answer says where the watch begins.
        requests.append(
            ServiceRequest(token: token, deadline: .distantFuture, principal: "", operation: .watchProgress))
        scheduleProgress(token, after: parsed.progressInterval)
    }

    /// Tells connections apart while they have calls.
    private static func number(of call: Call) -> UInt64 {
        UInt64(UInt(bitPattern: ObjectIdentifier(call.handle.connection)))
    }

    private func scheduleProgress(_ token: UInt64, after interval: Duration) {
        let lane = NIOLoopBound(self, eventLoop: eventLoop)
        eventLoop.scheduleTask(in: .nanoseconds(interval.nanoseconds)) { lane.value.progressIsDue(token) }
    }

    /// A watch that was silent for its interval says how far it has come. A reader that is behind is not waited for: it
    /// has events on the way.
    private func progressIsDue(_ token: UInt64) {
        guard let stream = calls[token]?.stream else { return }
        let silence = NodeClock.now() - stream.lastTold
        guard silence >= stream.progressInterval else {
            return scheduleProgress(token, after: stream.progressInterval - silence)
        }
        if !stream.isBlocked { submit(token, .watchProgress) }
        scheduleProgress(token, after: stream.progressInterval)
    }

    private func answerStream(_ call: Call, _ reply: ServiceReply) {
        touch(call)
        guard case .watch(let delivery) = reply.body else {
            end(reply.token, call)
            let failure = CallFailure(reply.body)
            return call.handle.connection.finish(call.handle, failure.status, failure.trailers)
        }
        let cost = AnsweredCall.cost(of: delivery)
        if call.method == .observe {
            guard call.stream?.isBlocked == true else {
                submit(reply.token, .watchCredit(bytes: cost))
                return askLeader(of: reply.token, call)
            }
            // Only the present counts, so a reader that is behind is spared what it has missed.
            calls[reply.token]?.stream?.mustLook = true
            calls[reply.token]?.stream?.owedCredit += cost
            return
        }
        do {
            send(try AnsweredCall.events(delivery), of: reply.token, call, cost: cost)
        } catch {
            end(reply.token, call)
            let failure = CallFailure(error)
            call.handle.connection.finish(call.handle, failure.status, failure.trailers)
        }
    }

    private func send(_ message: [UInt8], of token: UInt64, _ call: Call, cost: Int) {
        let hasCredit = call.handle.connection.send(message, on: call.handle)
        calls[token]?.stream?.lastTold = NodeClock.now()
        if hasCredit, call.stream?.isBlocked == false {
            if cost > 0 { submit(token, .watchCredit(bytes: cost)) }
        } else {
            calls[token]?.stream?.isBlocked = true
            calls[token]?.stream?.owedCredit += cost
        }
    }

    /// Something changed in an election that is observed: ask who leads now.
    private func askLeader(of token: UInt64, _ call: Call) {
        let part = takeToken()
        parts[part] = (token, 0)
        let request = ServiceRequest(
            token: part, deadline: NodeClock.now() + Self.defaultTimeout,
            principal: call.handle.connection.principal,
            operation: .query(.electionLeader(name: call.name), linearizable: false))
        node.submit([request], from: sink)
    }

    /// The first answer tells where to watch from; those that follow are told when they differ.
    private func answerObservation(_ token: UInt64, _ call: Call, _ reply: ServiceReply) {
        touch(call)
        guard case .query(let answer) = reply.body, case .electionLeader(let leader) = answer.result,
            let stream = call.stream
        else {
            end(token, call)
            submit(token, .cancel)
            let failure = AnsweredCall.failure(of: reply.body)
            return call.handle.connection.finish(call.handle, failure.status, failure.trailers)
        }
        if !stream.hasTold {
            let range = KeyRange.prefix(ClaimIndex.queue(.election, call.name))
            submit(
                token, .watch(WatchRequest(range, fromRevision: answer.revision.next)),
                connection: Self.number(of: call))
        }
        guard !stream.hasTold || leader != stream.lastLeader else { return }
        calls[token]?.stream?.lastLeader = leader
        calls[token]?.stream?.hasTold = true
        guard let message = try? AnsweredCall.observation(leader, at: answer.revision) else { return }
        send(message, of: token, call, cost: 0)
    }
}

/// Carries replies from the core loop to the lane's loop.
///
/// Sendable although the lane is not: the lane is only reached on its own loop.
final class DoorSink: ReplySink {
    private let lane: NIOLoopBound<DoorLane>
    private let eventLoop: any EventLoop

    init(_ lane: DoorLane, _ eventLoop: any EventLoop) {
        self.lane = NIOLoopBound(lane, eventLoop: eventLoop)
        self.eventLoop = eventLoop
    }

    func deliver(_ replies: [ServiceReply]) {
        eventLoop.execute { [lane] in lane.value.answer(replies) }
    }
}
