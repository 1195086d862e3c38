internal import NIOCore
internal import NIOSSL

/// The last handler of one connection: greets the server, then writes requests as they come and gives each answer to the
/// request whose turn it is.
///
///     greeting ──every answer is fine──▶ open ──▶ ended
///         └───────────any failure──────────────────▲
///
/// Answers come in the order of the requests, so one that is malformed, or does not come, ends the connection: nothing
/// that follows could be told apart. It is confined to its event loop and reports to its pool.
final class ServerConnection: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private enum Phase {
        case greeting
        case open
        case ended
    }

    private let pool: PoolCore
    private let settings: RedisSettings
    private let reader: ReplyReader
    private var phase = Phase.greeting
    private var context: ChannelHandlerContext?
    private var greeting: Greeting
    private var requests = CircularBuffer<Request>()
    private var bytesInFlight = 0
    private var alarm: Scheduled<Void>?
    /// When the last bytes came.
    private var heardAt = NIODeadline.uptimeNanoseconds(0)

    init(of pool: PoolCore) {
        self.pool = pool
        settings = pool.settings
        reader = ReplyReader(maximumReplyBytes: pool.settings.maximumReplyBytes)
        greeting = Greeting(pool.settings)
    }

    // MARK: Requests

    var isOpen: Bool { phase == .open }

    /// Requests in flight.
    var load: Int { requests.count }

    func hasRoom(for request: Request) -> Bool {
        guard isOpen, requests.count < settings.maximumRequestsInFlight else { return false }
        return requests.isEmpty || bytesInFlight + request.byteCount <= settings.maximumBytesInFlight
    }

    func send(_ request: Request) {
        guard let context else { return }
        requests.append(request)
        bytesInFlight += request.byteCount
        request.sent(on: self, at: .now())
        write(request.commands, byteCount: request.byteCount, to: context)
    }

    /// Nobody waits any more for a request that is in flight here. Its answer is passed over when it comes, if the server is
    /// not silent for longer than the settings' patience, nor the answer on its way for longer than their limit.
    func givenUp(_ request: Request, since: NIODeadline) {
        guard isOpen, !request.isAnswered, let context else { return }
        let limit = min(max(since, heardAt) + TimeAmount(settings.patience), since + TimeAmount(settings.answerLimit))
        if .now() >= limit {
            return end(RedisError(.connectionLost, "Redis at \(pool.endpoint) is silent, or too slow"))
        }
        context.eventLoop.assumeIsolated().scheduleTask(deadline: limit) { self.givenUp(request, since: since) }
    }

    private func write(_ commands: [RedisCommand], byteCount: Int, to context: ChannelHandlerContext) {
        var buffer = context.channel.allocator.buffer(capacity: byteCount)
        for command in commands { command.write(into: &buffer) }
        context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
    }

    // MARK: Answers

    private func take(_ reply: RedisReply) throws(RedisError) {
        switch phase {
        case .greeting:
            if try greeting.answered(reply) {
                phase = .open
                alarm?.cancel()
                pool.greeted(slots: greeting.slots)
            }
        case .open:
            guard let request = requests.first else {
                throw RedisError(.malformedAnswer, "Redis at \(pool.endpoint) answers what nobody asked")
            }
            request.answered(reply)
            guard request.isAnswered else { return }
            requests.removeFirst()
            bytesInFlight -= request.byteCount
            pool.answered(request)
        case .ended: break
        }
    }

    /// Ends the connection, once, and what is in flight on it.
    func end(_ error: RedisError) {
        if phase == .ended { return }
        let wasOpen = isOpen
        phase = .ended
        alarm?.cancel()
        let lost = requests
        requests = []
        if let tls = try? context?.pipeline.syncOperations.context(handlerType: NIOSSLHandler.self) {
            // Past TLS: no goodbye is owed to a server that failed us, and none shall keep the socket open.
            tls.close(promise: nil)
        } else {
            context?.close(promise: nil)
        }
        pool.ended(self, wasOpen: wasOpen, lost: lost, error)
    }

    // MARK: Channel events

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
        alarm = context.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(settings.connectTimeout)) {
            self.end(RedisError(.unavailable, "Redis at \(self.pool.endpoint) does not greet in time"))
        }
        // TLS holds it back until its own handshake is over.
        write(greeting.commands, byteCount: 512, to: context)
    }

    func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if phase == .ended { return }
        heardAt = .now()
        do throws(RedisError) {
            try reader.feed(unwrapInboundIn(data))
            while let reply = try reader.next() {
                try take(reply)
                if phase == .ended { return }
            }
        } catch {
            end(error)
        }
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        if isOpen { pool.dispatch() }
        context.fireChannelReadComplete()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        end(RedisError(.connectionLost, "the connection to Redis at \(pool.endpoint) failed: \(Self.words(error))"))
    }

    func channelInactive(context: ChannelHandlerContext) {
        end(RedisError(.connectionLost, "Redis at \(pool.endpoint) closed the connection"))
        context.fireChannelInactive()
    }

    private static func words(_ error: any Error) -> String {
        if case .handshakeFailed? = error as? NIOSSLError { return "TLS handshake: \(error)" }
        return "\(error)"
    }
}
