internal import Identity
internal import NIOCore
internal import NIOTLS

/// Guards a connection until its TLS handshake is complete, then makes way for the handlers of its protocol.
///
/// Whatever goes wrong before is reported once, and the connection is closed.
final class ConnectionGate: ChannelInboundHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer

    /// What the verifier of the client's certificate found.
    var verdict: Result<SPIFFEID, CertificateRefusal>?

    private let timeout: TimeAmount
    private let opened: (any Channel, SPIFFEID, _ protocol: String?) throws -> Void
    private let refused: (RefusedConnection, any Channel) -> Void
    private var timer: Scheduled<Void>?
    private var early: [ByteBuffer] = []
    private var isDone = false

    /// - Parameters:
    ///   - opened: adds the handlers of the protocol behind this one.
    ///   - refused: called once, when the connection did not get through.
    init(
        timeout: TimeAmount, opened: @escaping (any Channel, SPIFFEID, String?) throws -> Void,
        refused: @escaping (RefusedConnection, any Channel) -> Void
    ) {
        self.timeout = timeout
        self.opened = opened
        self.refused = refused
    }

    func handlerAdded(context: ChannelHandlerContext) {
        timer = context.eventLoop.assumeIsolated().scheduleTask(in: timeout) { [weak self] in
            self?.refuse(.handshakeTimeout, context)
        }
    }

    func handlerRemoved(context: ChannelHandlerContext) { timer?.cancel() }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if event is ConnectionTable.Evicted { return refuse(.flood, context) }
        guard case .handshakeCompleted(let negotiated)? = event as? TLSUserEvent else {
            return context.fireUserInboundEventTriggered(event)
        }
        guard !isDone else { return }
        do {
            guard let verdict else { throw RefusedConnection.certificate(.missing) }
            let identity: SPIFFEID
            do { identity = try verdict.get() } catch { throw RefusedConnection.certificate(error) }
            try opened(context.channel, identity, negotiated)
        } catch let refusal as RefusedConnection {
            return refuse(refusal, context)
        } catch {
            return refuse(.setupFailed("\(error)"), context)
        }
        isDone = true
        timer?.cancel()
        context.fireUserInboundEventTriggered(event)
        for buffer in early { context.fireChannelRead(wrapInboundOut(buffer)) }
        if !early.isEmpty { context.fireChannelReadComplete() }
        early = []
        context.pipeline.syncOperations.removeHandler(self, promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if isDone {
            context.fireChannelRead(data)
        } else {
            early.append(unwrapInboundIn(data))
        }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if isDone { return context.fireErrorCaught(error) }
        // The verifier knows better why the handshake failed than the TLS library.
        if case .failure(let refusal)? = verdict {
            refuse(.certificate(refusal), context)
        } else {
            refuse(RefusedConnection(error), context)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        refuse(.aborted, context)
        context.fireChannelInactive()
    }

    private func refuse(_ refusal: RefusedConnection, _ context: ChannelHandlerContext) {
        guard !isDone else { return }
        isDone = true
        timer?.cancel()
        early = []
        refused(refusal, context.channel)
        context.close(promise: nil)
    }
}
