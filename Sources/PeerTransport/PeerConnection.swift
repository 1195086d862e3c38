import EsperTypes
import Glibc
import Identity
import NIOCore
import NIOSSL

/// The last handler of one connection: runs the handshake, then turns reads into batches of frames.
///
///     securing ──hello / welcome──▶ open ──▶ ended
///         └──────────any refusal────────────────▲
///
/// It is loop-confined and decides nothing about membership: it asks the transport, which owns the table. Wrong input at
/// any point ends the connection; bytes that arrive afterwards are ignored.
final class PeerConnection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    enum Direction {
        case accepted
        case dialled(Peer, Lane)
        /// Ours too, to a peer that should dial us: it is to say why it does not.
        case inquiring(Peer)
    }

    private enum Phase {
        case securing
        case open(Peer, Lane)
        case ended
    }

    /// How a connection ended.
    enum End {
        /// Before it was a link.
        case refused(PeerRefusal)
        /// After it was one.
        case down(LinkDownReason)
    }

    let direction: Direction
    /// What Identity said of the other end's certificate; set by the TLS handler's callback before any byte arrives.
    var verdict: Result<SPIFFEID, CertificateRefusal>?
    private let transport: PeerTransport
    private var phase = Phase.securing
    private var context: ChannelHandlerContext?
    private var decoder = FrameDecoder()
    private var frames: [PeerFrame] = []
    private var deadline: Scheduled<Void>?
    private var failure: (any Error)?

    init(_ direction: Direction, of transport: PeerTransport) {
        self.direction = direction
        self.transport = transport
    }

    /// The other end's address, for log lines.
    var remoteAddress: String { context?.remoteAddress.map { "\($0)" } ?? "unknown" }

    var channel: (any Channel)? { context?.channel }

    // MARK: The link

    /// The transport took this connection as a link.
    func open(_ peer: Peer, _ lane: Lane) {
        deadline?.cancel()
        phase = .open(peer, lane)
    }

    /// Writes and flushes; the future fails when the connection ends before the kernel has the bytes.
    func write(_ buffer: ByteBuffer) -> EventLoopFuture<Void>? {
        guard let context else { return nil }
        let promise = context.eventLoop.makePromise(of: Void.self)
        context.writeAndFlush(wrapOutboundOut(buffer), promise: promise)
        return promise.futureResult
    }

    /// Ends the connection and tells the transport, once.
    ///
    /// - Parameters:
    ///   - farewell: bytes to send before it closes.
    ///   - orderly: whether TLS says goodbye; otherwise the socket is closed at once.
    func end(_ end: End, farewell: ByteBuffer? = nil, orderly: Bool = false) {
        let previous = phase
        if case .ended = previous { return }
        phase = .ended
        deadline?.cancel()
        decoder = FrameDecoder()
        switch previous {
        case .open(let peer, let lane):
            deliver(from: peer)
            transport.linkEnded(self, peer, lane, end)
        case .securing: transport.handshakeEnded(self, end)
        case .ended: break
        }
        guard let context else { return }
        if let farewell { context.writeAndFlush(wrapOutboundOut(farewell), promise: nil) }
        if orderly || farewell != nil {
            context.close(promise: nil)
        } else if let tls = try? context.pipeline.syncOperations.context(handlerType: NIOSSLHandler.self) {
            // Past TLS: no goodbye is owed to whoever failed the handshake, and none shall keep the socket open.
            tls.close(promise: nil)
        } else {
            context.close(promise: nil)
        }
    }

    // MARK: Channel events

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        let bound = NIOLoopBound(self, eventLoop: context.eventLoop)
        let limit = TimeAmount(transport.options.handshakeDeadline)
        deadline = context.eventLoop.scheduleTask(in: limit) { bound.value.end(.refused(.deadline)) }
        // Given up while the name was still being resolved.
        if case .ended = phase { context.close(promise: nil) }
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        deadline?.cancel()
    }

    func channelActive(context: ChannelHandlerContext) {
        greet(context)
        context.fireChannelActive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if case .ended = phase { return }
        let bytes = unwrapInboundIn(data)
        transport.bytesReceived(bytes.readableBytes)
        decoder.feed(bytes)
        do throws(FrameError) {
            while let frame = try decoder.next(limit: frameLimit) { try handle(frame) }
        } catch {
            violated(error)
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        decoder.settle()
        if case .open(let peer, _) = phase { deliver(from: peer) }
        context.fireChannelReadComplete()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        failure = failure ?? error
        ended()
    }

    func channelInactive(context: ChannelHandlerContext) {
        ended()
        context.fireChannelInactive()
    }

    // MARK: Frames

    private var frameLimit: Int {
        if case .open = phase { Limits.peerFrameBytes } else { PeerProtocol.handshakeBytes }
    }

    /// The dialling end speaks first; TLS holds the bytes back until its own handshake is over.
    private func greet(_ context: ChannelHandlerContext) {
        guard case .securing = phase else { return }
        var buffer = context.channel.allocator.buffer(capacity: 256)
        switch direction {
        case .accepted: return
        case .dialled(let peer, let lane): transport.hello(to: peer, lane.kind).append(to: &buffer)
        case .inquiring(let peer): transport.hello(to: peer, .main).append(to: &buffer)
        }
        context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
    }

    private func handle(_ frame: IncomingFrame) throws(FrameError) {
        switch (phase, frame, direction) {
        case (.open(let peer, _), .peer(let frame), _):
            if transport.mayHear(peer) { frames.append(frame) }
        case (.securing, .hello(let hello), .accepted): transport.helloReceived(hello, on: self)
        case (.securing, .welcome(let welcome), .dialled(let peer, let lane)):
            transport.welcomeReceived(welcome, from: peer, lane, on: self)
        case (.securing, .refusal(let refusal), .dialled(let peer, _)),
            (.securing, .refusal(let refusal), .inquiring(let peer)):
            transport.refused(refusal, by: peer)
            end(.refused(.byPeer(refusal)), orderly: true)
        case (.open(let peer, _), .refusal(let refusal), _):
            transport.refused(refusal, by: peer)
            end(.down(.refused(refusal.description)), orderly: true)
        case (.ended, _, _): break
        case (.open, _, _), (.securing, _, _): throw .unexpected
        }
    }

    private func deliver(from peer: Peer) {
        guard !frames.isEmpty else { return }
        let batch = frames
        frames = []
        transport.framesReceived(batch, from: peer)
    }

    private func violated(_ error: FrameError) {
        switch phase {
        case .open: end(.down(.protocolViolation(error.description)))
        case .securing: end(.refused(.protocolViolation(error)))
        case .ended: break
        }
    }

    /// The channel failed or closed, in whatever phase.
    private func ended() {
        switch phase {
        case .open: end(.down(failure.map(Self.downReason) ?? .closed))
        case .securing: end(.refused(refusal))
        case .ended: break
        }
    }

    private var refusal: PeerRefusal {
        if case .failure(let refusal)? = verdict { return .certificate(refusal) }
        guard let failure else { return .abandoned }
        switch failure as? NIOSSLError {
        case .uncleanShutdown, .handshakeFailed(.sslError([.eofDuringHandshake])): return .abandoned
        default: break
        }
        return .tls("\(failure)")
    }

    /// A process that dies closes its sockets without a goodbye of TLS, which is no failure of the network.
    private static func downReason(_ error: any Error) -> LinkDownReason {
        if let error = error as? NIOSSLError, case .uncleanShutdown = error { return .closed }
        if let error = error as? IOError, error.errnoCode == ECONNRESET || error.errnoCode == EPIPE { return .closed }
        return .failed("\(error)")
    }
}
