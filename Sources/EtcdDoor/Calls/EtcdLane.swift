import APIDoor
import Coordination
import EsperTypes
import EtcdProtocol
import GRPCTransport
import NIOCore
import RaftRuntime
import SwiftProtobuf

/// The calls in progress on one event loop.
///
/// Confined to its loop: ``LaneSink`` is the only part that the core loop touches. Calls that are one question to the
/// node are translated in `EtcdLane+Unary`; those that are more have an ``OpenCall`` each.
final class EtcdLane {
    /// What becomes of the answer to a question.
    enum Pending {
        case unary(Caller, EtcdMethod, lease: Int64)
        /// Part of a call that is more than one question.
        case then((ServiceReply.Body) -> Void)
    }

    let node: NodeHandle
    let eventLoop: any EventLoop
    private lazy var sink = LaneSink(self, eventLoop)
    private lazy var leaderRequirement = LeaderRequirement(self)
    private lazy var largeAnswers = LargeAnswers(self)
    private var pending: [UInt64: Pending] = [:]
    private var open: [Caller: any OpenCall] = [:]
    private var nextToken: UInt64 = 1
    /// Questions of this turn, not yet submitted.
    private var questions: [ServiceRequest] = []
    private var touched: [ServerConnection] = []

    /// What a call without a deadline is given, as in etcd.
    static let defaultTimeout = Duration.seconds(7)

    init(node: NodeHandle, eventLoop: any EventLoop) {
        self.node = node
        self.eventLoop = eventLoop
    }

    /// - Parameter revision: what the answer is true of; nil where the answer is not about the keyspace.
    func header(_ revision: Revision? = nil) -> EtcdResponseHeader { node.etcdHeader(revision) }

    // MARK: - Calls coming in

    func begin(_ calls: [InboundCall], on connection: ServerConnection) {
        let now = NodeClock.now()
        for inbound in calls {
            guard let method = EtcdMethod(rawValue: inbound.method) else { continue }
            begin(
                .stream(inbound.handle), method, inbound.message, inbound.deadline(from: now),
                Self.token(of: inbound), connection.principal, now,
                needsLeader: LeaderRequirement.isAsked(by: inbound))
        }
        endTurn()
    }

    func occurred(_ events: [CallEvent], on connection: ServerConnection) {
        for event in events {
            switch event {
            case .opened(let inbound):
                guard let method = EtcdMethod(rawValue: inbound.method) else { continue }
                begin(
                    .stream(inbound.handle), method, [], nil, Self.token(of: inbound), connection.principal,
                    NodeClock.now(), needsLeader: LeaderRequirement.isAsked(by: inbound))
            case .message(let handle, let message): open[.stream(handle)]?.received(message)
            case .halfClosed(let handle): open[.stream(handle)]?.halfClosed()
            case .writable(let handle): open[.stream(handle)]?.writable()
            case .ended(let handle, _): open.removeValue(forKey: .stream(handle))?.ended()
            }
        }
        endTurn()
    }

    private static func token(of call: InboundCall) -> String? {
        call.metadata["token"] ?? call.metadata["authorization"]
    }

    private func begin(
        _ caller: Caller, _ method: EtcdMethod, _ message: [UInt8], _ deadline: Instant?, _ token: String?,
        _ principal: String, _ now: Instant, needsLeader: Bool
    ) {
        do {
            if needsLeader { try leaderRequirement.check() }
            let principal = try token.map { try self.principal(bearing: $0, principal, method) } ?? principal
            try answerOrAsk(
                EtcdCall(
                    caller: caller, method: method, message: message, deadline: deadline, principal: principal), now)
            if needsLeader, method.kind != .unary, isOpen(caller) { leaderRequirement.add(caller) }
        } catch {
            caller.finish(EtcdFailure(error).status)
        }
    }

    /// Who a token says its bearer is; while nobody has to say who he is, whoever the certificate says.
    private func principal(
        bearing token: String, _ certified: String, _ method: EtcdMethod
    ) throws(EtcdFailure) -> String {
        let table = node.auth
        guard table.isEnabled, method != .authenticate else { return certified }
        guard let user = AuthTokens(table).user(of: token, at: NodeClock.wallNanoseconds()) else {
            throw .invalidToken
        }
        return "user/" + user
    }

    /// From now on the call's events go to `call`, until it is forgotten or its caller is gone.
    func keep(_ call: any OpenCall, for caller: Caller) { open[caller] = call }

    /// Whether a call of several steps goes on.
    func isOpen(_ caller: Caller) -> Bool { open[caller] != nil }

    /// Ends a call of several steps, whatever step it is at.
    func abandon(_ caller: Caller, _ failure: EtcdFailure) {
        open.removeValue(forKey: caller)?.ended()
        touch(caller)
        caller.finish(failure.status)
    }

    /// The node stops.
    func draining(_ connection: ServerConnection) {
        let calls = open.filter { entry in
            guard case .stream(let handle) = entry.key else { return false }
            return handle.connection === connection
        }
        for call in calls.values { call.draining() }
        endTurn()
    }

    /// Ends a call of several steps.
    func finish(_ caller: Caller, _ status: GRPCStatus) {
        open[caller] = nil
        touch(caller)
        caller.finish(status)
    }

    /// Ends a call of several steps with its one answer.
    func reply(_ caller: Caller, _ message: [UInt8]) {
        open[caller] = nil
        touch(caller)
        caller.reply(message)
    }

    func reply(_ caller: Caller, _ message: some Message) {
        do {
            reply(caller, try message.serializedBytes())
        } catch {
            finish(caller, EtcdFailure(error).status)
        }
    }

    // MARK: - Questions to the node

    /// Asks the node; the questions of one turn leave together.
    ///
    /// - Returns: the question's token, to take it back by or to give a watch credit.
    @discardableResult
    func ask(
        _ operation: ServiceRequest.Operation, _ principal: String, deadline: Instant, connection: UInt64? = nil,
        _ pending: Pending
    ) -> UInt64 {
        let token = nextToken
        nextToken += 1
        self.pending[token] = pending
        questions.append(
            ServiceRequest(
                token: token, deadline: deadline, principal: principal, operation: operation, connection: connection))
        return token
    }

    /// Says something about a question that was asked, which is not answered itself.
    func tell(_ token: UInt64, _ operation: ServiceRequest.Operation) {
        questions.append(ServiceRequest(token: token, deadline: .distantFuture, principal: "", operation: operation))
    }

    /// Gives a question up; its answers are not wanted any more.
    func giveUp(_ token: UInt64) {
        guard pending.removeValue(forKey: token) != nil else { return }
        tell(token, .cancel)
    }

    /// What was asked goes to the node, and what was answered to its callers. Ends whatever the lane was called for.
    func endTurn() {
        submitQuestions()
        flush()
    }

    private func submitQuestions() {
        guard !questions.isEmpty else { return }
        let batch = questions
        questions.removeAll(keepingCapacity: true)
        node.submit(batch, from: sink)
    }

    // MARK: - Replies going out

    func answer(_ replies: [ServiceReply]) {
        for reply in replies {
            // A watch goes on after each of its deliveries.
            let goesOn = if case .watch = reply.body { true } else { false }
            switch goesOn ? pending[reply.token] : pending.removeValue(forKey: reply.token) {
            case .unary(let caller, let method, let lease)?: answer(caller, method, lease, reply.body)
            case .then(let proceed)?: proceed(reply.body)
            case nil: continue
            }
        }
        endTurn()
    }

    /// Answers a call that was one question.
    func answer(_ caller: Caller, _ method: EtcdMethod, _ lease: Int64, _ body: ServiceReply.Body) {
        guard !body.isLarge else {
            return largeAnswers.add(caller) { [unowned self] in try message(method, lease, body) }
        }
        touch(caller)
        do {
            caller.reply(try message(method, lease, body))
        } catch {
            caller.finish(EtcdFailure(error).status)
        }
    }

    func touch(_ caller: Caller) {
        guard case .stream(let handle) = caller else { return }
        guard !handle.connection.wantsFlush else { return }
        handle.connection.wantsFlush = true
        touched.append(handle.connection)
    }

    private func flush() {
        guard !touched.isEmpty else { return }
        let connections = touched
        touched = []
        for connection in connections {
            connection.wantsFlush = false
            connection.flushAnswers()
        }
    }

    // MARK: - The gateway

    /// Begins a call of the gateway. On the lane's loop; further requests come by ``gatewayReceived(_:_:)``.
    func begin(
        _ call: GatewayCall, _ method: EtcdMethod, _ message: [UInt8], principal: String, token: String?,
        deadline: Instant?, needsLeader: Bool
    ) {
        begin(
            .gateway(call), method, message, deadline, token, principal, NodeClock.now(), needsLeader: needsLeader)
        if method.kind == .streaming { open[.gateway(call)]?.received(message) }
        endTurn()
    }

    func gatewayHalfClosed(_ call: GatewayCall) {
        open[.gateway(call)]?.halfClosed()
        endTurn()
    }

    func gatewayHasRoom(_ call: GatewayCall) {
        open[.gateway(call)]?.writable()
        endTurn()
    }

    func gatewayEnded(_ call: GatewayCall) {
        open.removeValue(forKey: .gateway(call))?.ended()
        endTurn()
    }
}

/// One call as its door took it.
struct EtcdCall {
    var caller: Caller
    var method: EtcdMethod
    var message: [UInt8]
    /// Nil when the caller waits for as long as it takes.
    var deadline: Instant?
    var principal: String
}

/// Carries replies from the core loop to the lane's loop.
///
/// Sendable although the lane is not: the lane is only reached on its own loop.
final class LaneSink: ReplySink {
    private let lane: NIOLoopBound<EtcdLane>
    private let eventLoop: any EventLoop

    init(_ lane: EtcdLane, _ eventLoop: any EventLoop) {
        self.lane = NIOLoopBound(lane, eventLoop: eventLoop)
        self.eventLoop = eventLoop
    }

    func deliver(_ replies: [ServiceReply]) {
        eventLoop.execute { [lane] in lane.value.answer(replies) }
    }
}
