internal import NIOCore
internal import NIOSSL
internal import NIOTLS

/// One host at the enrolment port: its request, the decision, the answer.
///
///     securing ──handshake──▶ reading ──whole request──▶ deciding ──▶ answered
///         └────────────────────┴── anything else: refused, closed ──────┘
///
/// Bytes that are no request get one refusal that says so, once TLS stands; without TLS the connection is just closed.
final class EnrollmentConnection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private enum Phase { case securing, reading, deciding, answered }

    private let deadline: TimeAmount
    private let enroll: EnrollmentListener.Enroll
    private let log: EnrollmentLog
    private let table: EnrollmentTable
    private var phase = Phase.securing
    private var buffer = EnrollmentFrameBuffer(limit: EnrollmentFrame.maximumRequestBytes)
    private var timer: Scheduled<Void>?
    /// Cancelled when the host goes away before it has its answer.
    private var decision: Task<Void, Never>?

    init(
        deadline: TimeAmount, enroll: @escaping EnrollmentListener.Enroll, log: EnrollmentLog, table: EnrollmentTable
    ) {
        self.deadline = deadline
        self.enroll = enroll
        self.log = log
        self.table = table
    }

    func handlerAdded(context: ChannelHandlerContext) {
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        timer = context.eventLoop.scheduleTask(in: deadline) { bound.value.0.end(.deadline, bound.value.1) }
    }

    func handlerRemoved(context: ChannelHandlerContext) { timer?.cancel() }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        switch event {
        case is EnrollmentTable.Evicted: end(.flood, context)
        case TLSUserEvent.handshakeCompleted(let negotiated) where phase == .securing:
            guard negotiated == EnrollmentFrame.applicationProtocol else { return end(.noProtocol, context) }
            phase = .reading
        default: context.fireUserInboundEventTriggered(event)
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard phase == .reading else {
            if phase == .deciding { end(.malformed("more than one request"), context) }
            return
        }
        do {
            guard let body = try buffer.feed(unwrapInboundIn(data).readableBytesView) else { return }
            decide(try EnrollmentFrame.request(body), context)
        } catch EnrollmentFrameBuffer.Violation.oversized(let length) {
            refuse(.oversized(length), context)
        } catch {
            refuse(.malformed("\(error)"), context)
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) { end(EnrollmentEnd(error), context) }

    func channelInactive(context: ChannelHandlerContext) {
        end(.aborted, context)
        context.fireChannelInactive()
    }

    private func decide(_ request: EnrollmentRequest, _ context: ChannelHandlerContext) {
        phase = .deciding
        timer?.cancel()
        table.asked(context.channel)
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        let (enroll, eventLoop) = (enroll, context.eventLoop)
        decision = Task {
            let answer = await enroll(request)
            eventLoop.execute { bound.value.0.decided(answer, request, bound.value.1) }
        }
    }

    private func decided(_ answer: EnrollmentAnswer, _ request: EnrollmentRequest, _ context: ChannelHandlerContext) {
        guard phase == .deciding else { return }
        switch answer {
        case .enrolled(let enrolled): log.enrolled(enrolled, request, remote: context.channel.remoteAddress)
        case .refused(let refusal):
            log.refused(.denied(refusal, request), remote: context.channel.remoteAddress)
        }
        say(answer, context)
    }

    /// Tells why, for bytes that came by TLS and were no request.
    private func refuse(_ end: EnrollmentEnd, _ context: ChannelHandlerContext) {
        log.refused(end, remote: context.channel.remoteAddress)
        say(.refused(.badRequest(end.message)), context)
    }

    private func say(_ answer: EnrollmentAnswer, _ context: ChannelHandlerContext) {
        phase = .answered
        timer?.cancel()
        let bytes = context.channel.allocator.buffer(bytes: EnrollmentFrame.encoded(answer))
        let channel = context.channel
        // A host that does not read its answer keeps the place no longer than this.
        let limit = context.eventLoop.scheduleTask(in: deadline) { channel.close(promise: nil) }
        channel.closeFuture.whenComplete { _ in limit.cancel() }
        context.writeAndFlush(wrapOutboundOut(bytes)).whenComplete { _ in channel.close(promise: nil) }
    }

    private func end(_ end: EnrollmentEnd, _ context: ChannelHandlerContext) {
        if phase == .answered { return }
        phase = .answered
        timer?.cancel()
        decision?.cancel()
        log.refused(end, remote: context.channel.remoteAddress)
        if let tls = try? context.pipeline.syncOperations.context(handlerType: NIOSSLHandler.self) {
            // Past TLS: no goodbye is owed, and none shall keep the socket open.
            tls.close(promise: nil)
        } else {
            context.close(promise: nil)
        }
    }
}
