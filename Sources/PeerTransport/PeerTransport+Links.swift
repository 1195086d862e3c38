import EsperTypes
import Identity
import Logging
import NIOCore
import NIOPosix
import NIOSSL

/// How connections come to be, become links and end.
extension PeerTransport {
    // MARK: Accepting

    func listen() -> EventLoopFuture<any Channel> {
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        return ServerBootstrap(group: eventLoop)
            .serverChannelOption(.backlog, value: 128)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try bound.value.accepted(channel) }
            }
            .bind(host: options.host, port: options.port)
    }

    private func accepted(_ channel: any Channel) throws {
        guard isRunning, !isIsolated else { throw PeerRefusal.partitioned }
        try setOptions(channel)
        track(channel)
        if unauthenticated.count >= options.maximumUnauthenticated { unauthenticated[0].end(.refused(.flood)) }
        let connection = PeerConnection(.accepted, of: self)
        unauthenticated.append(connection)
        metrics.unauthenticatedChanged(to: unauthenticated.count)
        let tls = NIOSSLServerHandler(
            context: serverContext,
            customVerificationCallback: credentials.verifier(of: .client, now: now) { [weak connection] in
                connection?.verdict = $0
            })
        try channel.pipeline.syncOperations.addHandlers(tls, connection)
    }

    /// The accepting end's whole decision, in the order in which an operator looks for a mistake.
    func helloReceived(_ hello: Hello, on connection: PeerConnection) {
        do throws(PeerRefusal) {
            let peer = try judge(hello, on: connection)
            var buffer = ByteBuffer()
            Welcome(
                agreed: hello.agreedVersion!, cluster: local.cluster, node: local.id, incarnation: local.incarnation,
                version: versionText
            ).append(to: &buffer)
            _ = connection.write(buffer)
            adopt(connection, as: hello.link, of: peer, incarnation: hello.incarnation, version: hello.version)
        } catch {
            var farewell: ByteBuffer?
            if case .handshake(let refusal, _) = error { farewell = refusal.farewell }
            connection.end(.refused(error), farewell: farewell)
        }
    }

    private func judge(_ hello: Hello, on connection: PeerConnection) throws(PeerRefusal) -> Peer {
        let identity: SPIFFEID
        switch connection.verdict {
        case .success(let verified)?: identity = verified
        case .failure(let refusal)?: throw .certificate(refusal)
        // TLS without the callback is a resumed session, whose certificate nobody judged today.
        case nil: throw .certificate(.missing)
        }
        guard hello.agreedVersion != nil else {
            throw .handshake(.version, detail: "it speaks \(hello.lowest) to \(hello.highest)")
        }
        guard identity.role == .node else { throw .handshake(.notANode, detail: "\(identity)") }
        guard hello.cluster == local.cluster else { throw .handshake(.cluster, detail: "\(hello.cluster)") }
        guard hello.addressee == local.id else { throw .handshake(.misaddressed, detail: "\(hello.addressee)") }
        guard !hasRemoved(hello.node) else { throw .handshake(.removed, detail: "\(identity.name), \(hello.node)") }
        guard let peer = peers.first(where: { $0.member.name == identity.name }) else {
            throw .handshake(.unknownName, detail: identity.name)
        }
        guard hello.node == peer.member.id else {
            throw .handshake(.wrongNode, detail: "\(identity.name) is \(peer.member.id), not \(hello.node)")
        }
        if let known = peer.incarnation, known != hello.incarnation {
            throw .handshake(.incarnation, detail: "\(hello.incarnation), not \(known)")
        }
        guard peer.member.id < local.id else { throw .handshake(.direction, detail: "\(peer.member.id) dialled") }
        guard mayHear(peer) else { throw .partitioned }
        return peer
    }

    // MARK: Dialling

    /// Dials both lanes of a peer that is ours to dial, where nothing stands and nothing is under way.
    func dial(_ peer: Peer) {
        for lane in peer.lanes { dial(peer, lane) }
    }

    private func dial(_ peer: Peer, _ lane: Lane) {
        guard isRunning, local.id < peer.member.id, lane.connection == nil, mayHear(peer) else { return }
        guard case .idle = lane.dial, peers.contains(where: { $0 === peer }) else { return }
        let connection = PeerConnection(.dialled(peer, lane), of: self)
        lane.dial = .connecting(connection)
        let bound = NIOLoopBound((self, connection), eventLoop: eventLoop)
        ClientBootstrap(group: eventLoop)
            .connectTimeout(TimeAmount(options.connectDeadline))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let (transport, connection) = bound.value
                    try transport.dialled(channel, connection)
                }
            }
            .connect(host: peer.member.host, port: peer.member.port)
            .assumeIsolated()
            .whenFailure { error in self.unreachable(peer, lane, error) }
    }

    // MARK: Inquiring

    /// Every ``PeerOptions/inquiryInterval``, while there is no link, a peer that should dial us is asked whether we are a
    /// member. One that has removed us says so; any other refuses the direction, and dials as soon as it can.
    func scheduleInquiry() {
        let half = options.inquiryInterval / 2
        let wait = half + half * (Double(jitter.next() >> 11) / Double(1 << 53))
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        inquiry = eventLoop.scheduleTask(in: TimeAmount(wait)) {
            let transport = bound.value
            guard transport.isRunning else { return }
            transport.inquire()
            transport.scheduleInquiry()
        }
    }

    private func inquire() {
        let silent = peers.filter { $0.member.id < local.id && mayHear($0) }
        guard !silent.isEmpty, peers.allSatisfy({ $0.main.connection == nil }) else { return }
        let peer = silent[nextInquiry % silent.count]
        nextInquiry += 1
        let connection = PeerConnection(.inquiring(peer), of: self)
        let bound = NIOLoopBound((self, connection), eventLoop: eventLoop)
        ClientBootstrap(group: eventLoop)
            .connectTimeout(TimeAmount(options.connectDeadline))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let (transport, connection) = bound.value
                    try transport.dialled(channel, connection)
                }
            }
            .connect(host: peer.member.host, port: peer.member.port)
            // Whoever cannot be reached is asked again in its turn.
            .whenFailure { _ in }
    }

    private func dialled(_ channel: any Channel, _ connection: PeerConnection) throws {
        try setOptions(channel)
        track(channel)
        let tls = try NIOSSLClientHandler(
            context: clientContext, serverHostname: nil,
            customVerificationCallback: credentials.verifier(of: .server, now: now) { [weak connection] in
                connection?.verdict = $0
            })
        try channel.pipeline.syncOperations.addHandlers(tls, connection)
    }

    func hello(to peer: Peer, _ link: LinkKind) -> Hello {
        Hello(
            cluster: local.cluster, node: local.id, addressee: peer.member.id, incarnation: local.incarnation,
            link: link, version: versionText)
    }

    func welcomeReceived(_ welcome: Welcome, from peer: Peer, _ lane: Lane, on connection: PeerConnection) {
        do throws(PeerRefusal) {
            try judge(welcome, from: peer, on: connection)
        } catch {
            // The other end took us for a link already; its operator has to know as well.
            var farewell: ByteBuffer?
            if case .handshake(let refusal, _) = error { farewell = refusal.farewell }
            connection.end(.refused(error), farewell: farewell)
            return
        }
        lane.dial = .idle
        adopt(connection, as: lane.kind, of: peer, incarnation: welcome.incarnation, version: welcome.version)
    }

    private func judge(_ welcome: Welcome, from peer: Peer, on connection: PeerConnection) throws(PeerRefusal) {
        let identity: SPIFFEID
        switch connection.verdict {
        case .success(let verified)?: identity = verified
        case .failure(let refusal)?: throw .certificate(refusal)
        case nil: throw .certificate(.missing)
        }
        guard (PeerProtocol.lowest...PeerProtocol.highest).contains(welcome.agreed) else {
            throw .handshake(.version, detail: "it chose \(welcome.agreed)")
        }
        guard identity.role == .node else { throw .handshake(.notANode, detail: "\(identity)") }
        guard welcome.cluster == local.cluster else { throw .handshake(.cluster, detail: "\(welcome.cluster)") }
        guard identity.name == peer.member.name else {
            throw .handshake(.unknownName, detail: "\(identity.name) answered for \(peer.member.name)")
        }
        guard welcome.node == peer.member.id else {
            throw .handshake(.wrongNode, detail: "\(welcome.node) answered for \(peer.member.id)")
        }
        if let known = peer.incarnation, known != welcome.incarnation {
            throw .handshake(.incarnation, detail: "\(welcome.incarnation), not \(known)")
        }
        guard isRunning, mayHear(peer), peers.contains(where: { $0 === peer }) else { throw .partitioned }
    }

    private func unreachable(_ peer: Peer, _ lane: Lane, _ error: any Error) {
        metrics.dialFailed("unreachable")
        let level: Logger.Level = lane.backoff.failures == 0 ? .info : .debug
        logger.log(level: level, "peer unreachable", metadata: metadata(peer, lane, [LogKey.error: "\(error)"]))
        retry(peer, lane, longest: options.longestRetry)
    }

    private func retry(_ peer: Peer, _ lane: Lane, longest: Duration) {
        lane.dial = .idle
        guard isRunning, local.id < peer.member.id, peers.contains(where: { $0 === peer }) else { return }
        let wait = lane.backoff.next(longest: longest, using: &jitter)
        let bound = NIOLoopBound((self, peer, lane), eventLoop: eventLoop)
        lane.dial = .waiting(
            eventLoop.scheduleTask(in: TimeAmount(wait)) {
                let (transport, peer, lane) = bound.value
                lane.dial = .idle
                transport.dial(peer, lane)
            })
    }

    // MARK: Links

    private func adopt(
        _ connection: PeerConnection, as kind: LinkKind, of peer: Peer, incarnation: Incarnation, version: String
    ) {
        forget(connection)
        let lane = peer.lane(kind)
        lane.connection?.end(.down(.replaced))
        lane.connection = connection
        lane.openedAt = .now()
        peer.incarnation = incarnation
        peer.version = version
        connection.open(peer, lane)
        logger.debug(
            "peer link up", metadata: metadata(peer, lane, [LogKey.address: "\(connection.remoteAddress)"]))
        if kind == .main { linkUp(peer) }
    }

    /// A link is gone; called once per link.
    func linkEnded(_ connection: PeerConnection, _ peer: Peer, _ lane: Lane, _ end: PeerConnection.End) {
        let reason: LinkDownReason =
            switch end {
            case .down(let reason): reason
            case .refused(let refusal): .failed(refusal.description)
            }
        guard lane.connection === connection else { return }
        lane.connection = nil
        // A link that ends as soon as it stands (two nodes with one identity, say) is a failure like any other.
        if .now() - lane.openedAt > TimeAmount(options.longestRetry) { lane.backoff.reset() }
        metrics.dropped(lane.queue.clear(), .linkDown)
        logger.info("peer link down", metadata: metadata(peer, lane, [LogKey.reason: "\(reason)"]))
        if lane.kind == .main { linkDown(peer, reason) }
        retry(peer, lane, longest: options.longestRetry)
    }

    /// A connection ended before it was a link; called once per connection.
    func handshakeEnded(_ connection: PeerConnection, _ end: PeerConnection.End) {
        guard case .refused(let refusal) = end else { return }
        switch connection.direction {
        case .accepted:
            forget(connection)
            metrics.refused(refusal.reason)
            guard let suppressed = limiter.admit(refusal.reason, at: .now()) else { return }
            logger.warning(
                "peer connection refused",
                metadata: [
                    LogKey.reason: "\(refusal)", LogKey.address: "\(connection.remoteAddress)",
                    LogKey.suppressed: "\(suppressed)",
                ])
        case .inquiring(let peer):
            logger.debug(
                "inquiry answered", metadata: metadata(peer, peer.main, [LogKey.reason: "\(refusal)"]))
        case .dialled(let peer, let lane):
            metrics.dialFailed(refusal.reason)
            let level: Logger.Level = lane.backoff.failures == 0 ? .warning : .debug
            logger.log(
                level: level, "peer dial failed", metadata: metadata(peer, lane, [LogKey.reason: "\(refusal)"]))
            retry(peer, lane, longest: refusal.isPatient ? options.longestRetryWhenRefused : options.longestRetry)
        }
    }

    private func forget(_ connection: PeerConnection) {
        guard let index = unauthenticated.firstIndex(where: { $0 === connection }) else { return }
        unauthenticated.remove(at: index)
        metrics.unauthenticatedChanged(to: unauthenticated.count)
    }

    private func metadata(_ peer: Peer, _ lane: Lane, _ more: Logger.Metadata) -> Logger.Metadata {
        var metadata = more
        metadata[LogKey.peer] = "\(peer.member.id)"
        metadata[LogKey.name] = "\(peer.member.name)"
        metadata[LogKey.link] = "\(lane.kind)"
        return metadata
    }

    private var versionText: String { String(local.version.prefix(while: \.isASCII).prefix(PeerProtocol.versionBytes)) }

    /// Small messages leave at once; the kernel notices by itself when the other host is gone.
    private func setOptions(_ channel: any Channel) throws {
        guard let socket = channel.syncOptions else { return }
        try socket.setOption(.tcpOption(.tcp_nodelay), value: 1)
        try socket.setOption(.socketOption(.so_keepalive), value: 1)
        let seconds = max(1, Int(options.userTimeout.components.seconds))
        try socket.setOption(.tcpOption(.keepIdle), value: seconds)
        try socket.setOption(.tcpOption(.keepInterval), value: 1)
        try socket.setOption(.tcpOption(.keepCount), value: 3)
        try socket.setOption(.tcpOption(.userTimeout), value: seconds * 1000)
    }
}

extension PeerRefusal {
    /// Whether dialling again soon is pointless: the other end answered, and its answer will not change by itself.
    fileprivate var isPatient: Bool {
        switch self {
        case .certificate, .tls, .protocolViolation, .handshake, .byPeer: true
        case .deadline, .flood, .abandoned, .partitioned: false
        }
    }
}

extension NIOBSDSocket.Option {
    // Linux's numbers (include/uapi/linux/tcp.h), for the options NIO has no names for.
    fileprivate static let keepIdle = NIOBSDSocket.Option(rawValue: 4)
    fileprivate static let keepInterval = NIOBSDSocket.Option(rawValue: 5)
    fileprivate static let keepCount = NIOBSDSocket.Option(rawValue: 6)
    fileprivate static let userTimeout = NIOBSDSocket.Option(rawValue: 18)
}
