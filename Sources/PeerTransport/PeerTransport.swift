public import EsperTypes
public import FoundationEssentials
public import Identity
public import Logging
public import NIOCore
import NIOPosix
import NIOSSL

/// The links of one node to its peers: mutual TLS 1.3, a main and a bulk connection per pair.
///
/// Every channel lives on the one event loop given at `init`, and so does this class: **every method must be called on
/// that loop**, which is checked. It takes no locks and makes no copies of frames between threads.
///
/// The node with the lower id dials, the other accepts; so two nodes never hold two links of a kind, and a new link
/// from the dialling end always means that the old one is dead. A node that has no link at all dials those too that
/// should dial it, one after the other, and only to be refused: they may have removed it while it was away, and would
/// never tell it otherwise. Links are read at all times: the delegate takes whole
/// batches in the same turn and there is no inbound queue.
///
/// Losing things is allowed where written: a raft message may be dropped when its link is down or its queue full; a
/// forward is refused to the caller in the same cases. Both are counted by reason.
public final class PeerTransport {
    public let eventLoop: any EventLoop
    public let options: PeerOptions
    let local: LocalPeer
    let logger: Logger
    let now: @Sendable () -> Date
    var credentials: TLSCredentials
    var serverContext: NIOSSLContext
    var clientContext: NIOSSLContext
    /// Sorted by node id.
    var peers: [Peer] = []
    var metrics = PeerMetrics()
    var limiter = LogLimiter()
    var jitter: SplitMix64
    /// Accepted connections in their handshake, the oldest first.
    var unauthenticated: [PeerConnection] = []
    /// Node ids below this were given to members; one that is not in the table was removed.
    var firstUnassigned = NodeID(0)
    var isIsolated = false
    /// Whom fault injection cuts off, members or not.
    var blocked: Set<NodeID> = []
    private(set) var isRunning = false
    private var listener: (any Channel)?
    /// Every channel that is not closed yet.
    private var channels: [ObjectIdentifier: any Channel] = [:]
    private var delegate: (any PeerDelegate)?
    private var encoder = FrameEncoder()
    private var dirty: [Lane] = []
    /// Who is asked next by a node that nobody dials.
    var nextInquiry = 0
    var inquiry: Scheduled<Void>?
    /// Calls from outside in progress; while there are any, events wait.
    private var depth = 0
    private var events: [Event] = []

    private enum Event {
        case received([PeerFrame], from: NodeID)
        case up(NodeID)
        case down(NodeID, LinkDownReason)
        case excluded(NodeID, Exclusion)
    }

    /// - Parameters:
    ///   - members: the table; this node's own line is ignored.
    ///   - seed: for the jitter of reconnects.
    ///   - now: the wall clock, against which certificates are judged.
    /// - Throws: when the TLS library does not accept the credentials.
    public init(
        eventLoop: any EventLoop, local: LocalPeer, credentials: TLSCredentials, members: [PeerMember],
        options: PeerOptions, seed: UInt64, logger: Logger, now: @escaping @Sendable () -> Date
    ) throws {
        eventLoop.preconditionInEventLoop()
        self.eventLoop = eventLoop
        self.local = local
        self.credentials = credentials
        self.options = options
        self.logger = logger
        self.now = now
        jitter = SplitMix64(seed: seed)
        serverContext = try NIOSSLContext(configuration: credentials.peerServerConfiguration())
        clientContext = try NIOSSLContext(configuration: credentials.peerClientConfiguration())
        setMembers(members)
    }

    // MARK: Life

    /// Listens, then dials every peer with a higher id.
    ///
    /// - Parameter delegate: kept until ``stop()`` is done.
    /// - Returns: the address it listens on.
    public func start(delegate: any PeerDelegate) -> EventLoopFuture<SocketAddress> {
        eventLoop.preconditionInEventLoop()
        precondition(!isRunning && listener == nil, "a transport is started once")
        isRunning = true
        self.delegate = delegate
        return listen().flatMapThrowing { [bound = NIOLoopBound(self, eventLoop: eventLoop)] channel in
            let transport = bound.value
            guard transport.isRunning else {
                channel.close(promise: nil)
                throw ChannelError.ioOnClosedChannel
            }
            transport.listener = channel
            for peer in transport.peers { transport.dial(peer) }
            transport.scheduleInquiry()
            return channel.localAddress!
        }
    }

    /// Closes every link, dial and the listener. Frames that were flushed before are sent as far as the peers take them
    /// within a second; every standing link is reported down as ``LinkDownReason/stopped``.
    public func stop() -> EventLoopFuture<Void> {
        eventLoop.preconditionInEventLoop()
        depth += 1
        defer { depth -= 1 }
        isRunning = false
        inquiry?.cancel()
        var closed = channels.values.map(\.closeFuture)
        if let listener {
            closed.append(listener.closeFuture)
            listener.close(promise: nil)
        }
        for peer in peers { close(peer, .stopped) }
        for connection in unauthenticated { connection.end(.refused(.abandoned)) }
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        return EventLoopFuture.andAllComplete(closed, on: eventLoop).map {
            bound.value.deliverEvents()
            bound.value.delegate = nil
        }
    }

    // MARK: Sending

    /// Encodes the frame for its link; it leaves with the next ``flush()``. The delegate is never called from here.
    @discardableResult
    public func send(_ frame: PeerFrame, to id: NodeID) -> SendOutcome {
        eventLoop.preconditionInEventLoop()
        guard let reason = queue(frame, to: id) else { return .queued }
        metrics.dropped(1, reason)
        return .dropped(reason)
    }

    /// Writes what was sent since the last flush: one write per link, whatever the number of frames.
    public func flush() {
        eventLoop.preconditionInEventLoop()
        guard !dirty.isEmpty else { return }
        depth += 1
        defer { depth -= 1 }
        let lanes = dirty
        dirty.removeAll(keepingCapacity: true)
        encoder.forget()
        for lane in lanes {
            lane.isDirty = false
            write(lane)
        }
        metrics.queued(bytes: peers.reduce(0) { $0 + $1.main.queue.bytes + $1.bulk.queue.bytes })
    }

    private func queue(_ frame: PeerFrame, to id: NodeID) -> DropReason? {
        guard let peer = peer(id) else { return .linkDown }
        guard mayHear(peer) else { return .partitioned }
        let lane = peer.lane(frame.link)
        guard lane.connection != nil else { return .linkDown }
        if let reason = lane.queue.append(frame, with: &encoder, frameLimit: Limits.peerFrameBytes) { return reason }
        if !lane.isDirty {
            lane.isDirty = true
            dirty.append(lane)
        }
        return nil
    }

    private func write(_ lane: Lane) {
        guard let connection = lane.connection, let (buffer, frames) = lane.queue.take() else { return }
        let bytes = buffer.readableBytes
        metrics.sent(frames: frames, bytes: bytes)
        connection.write(buffer)?.assumeIsolated().whenComplete { _ in
            // A link that ended cleared its queue, and the lane may have another one by now.
            if lane.connection === connection { lane.queue.written(bytes) }
        }
    }

    // MARK: Members and status

    /// Replaces the table. Links to nodes that left it, or whose line changed, are closed; new ones are dialled.
    ///
    /// - Parameter firstUnassigned: every lower id was a member's once, so whoever has one and is not in the table has
    ///   been removed, and is told so.
    public func updateMembers(_ members: [PeerMember], firstUnassigned: NodeID = NodeID(0)) {
        eventLoop.preconditionInEventLoop()
        depth += 1
        defer { depth -= 1 }
        self.firstUnassigned = firstUnassigned
        setMembers(members)
    }

    /// Uses other certificates for connections from now on; those that stand keep theirs.
    public func updateCredentials(_ credentials: TLSCredentials) throws {
        eventLoop.preconditionInEventLoop()
        let server = try NIOSSLContext(configuration: credentials.peerServerConfiguration())
        let client = try NIOSSLContext(configuration: credentials.peerClientConfiguration())
        // All or nothing.
        (serverContext, clientContext, self.credentials) = (server, client, credentials)
    }

    public var statistics: PeerStatistics {
        eventLoop.preconditionInEventLoop()
        return metrics.statistics
    }

    /// Every peer of the table, by node id.
    public var status: [PeerStatus] {
        eventLoop.preconditionInEventLoop()
        return peers.map {
            PeerStatus(
                id: $0.member.id, name: $0.member.name, isUp: $0.main.connection != nil,
                isBulkUp: $0.bulk.connection != nil, queuedBytes: $0.main.queue.bytes + $0.bulk.queue.bytes,
                incarnation: $0.incarnation, version: $0.version)
        }
    }

    /// Connections that are not closed yet, in whatever state.
    package var openChannels: Int { channels.count }

    func peer(_ id: NodeID) -> Peer? { peers.first { $0.member.id == id } }

    /// Whether a node had this id, and is no member any more.
    func hasRemoved(_ id: NodeID) -> Bool { id < firstUnassigned && id != local.id && peer(id) == nil }

    private func setMembers(_ members: [PeerMember]) {
        var kept: [Peer] = []
        for member in members.sorted(by: { $0.id < $1.id }) where member.id != local.id {
            if let peer = peer(member.id), peer.accepts(member) {
                peer.member = member
                kept.append(peer)
            } else {
                kept.append(Peer(member, options))
            }
        }
        let gone = peers.filter { old in !kept.contains { $0 === old } }
        for peer in kept { peer.isBlocked = blocked.contains(peer.member.id) }
        peers = kept
        for peer in gone { close(peer, .removed) }
        guard listener != nil else { return }
        for peer in peers { dial(peer) }
    }

    private func close(_ peer: Peer, _ reason: LinkDownReason) {
        // Nobody will dial it again to tell it why.
        let farewell = isRunning && hasRemoved(peer.member.id) ? HandshakeRefusal.removed.farewell : nil
        for lane in peer.lanes {
            lane.cancelDial()
            lane.connection?.end(.down(reason), farewell: farewell, orderly: true)
        }
    }

    // MARK: Events

    func framesReceived(_ frames: [PeerFrame], from peer: Peer) {
        metrics.received(frames: frames.count)
        emit(.received(frames, from: peer.member.id))
    }

    func bytesReceived(_ count: Int) { metrics.received(bytes: count) }

    func linkUp(_ peer: Peer) {
        metrics.linkChanged(up: true)
        emit(.up(peer.member.id))
    }

    func linkDown(_ peer: Peer, _ reason: LinkDownReason) {
        metrics.linkChanged(up: false)
        emit(.down(peer.member.id, reason))
    }

    func refused(_ refusal: HandshakeRefusal, by peer: Peer) {
        guard let exclusion = refusal.exclusion else { return }
        emit(.excluded(peer.member.id, exclusion))
    }

    func track(_ channel: any Channel) {
        let key = ObjectIdentifier(channel)
        channels[key] = channel
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        channel.closeFuture.whenComplete { _ in bound.value.channels[key] = nil }
    }

    /// At once, unless somebody is inside one of our methods: then in a turn of its own, in order.
    private func emit(_ event: Event) {
        guard depth > 0 else {
            deliverEvents()
            deliver(event)
            return
        }
        events.append(event)
        guard events.count == 1 else { return }
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        eventLoop.execute { bound.value.deliverEvents() }
    }

    private func deliverEvents() {
        while !events.isEmpty { deliver(events.removeFirst()) }
    }

    private func deliver(_ event: Event) {
        switch event {
        case .received(let frames, let id): delegate?.received(frames, from: id)
        case .up(let id): delegate?.linkUp(id)
        case .down(let id, let reason): delegate?.linkDown(id, reason: reason)
        case .excluded(let id, let exclusion): delegate?.excluded(by: id, exclusion)
        }
    }
}

extension Peer {
    /// Whether a new line of the table describes the peer that the standing links were made with.
    fileprivate func accepts(_ new: PeerMember) -> Bool {
        guard new.name == member.name, new.host == member.host, new.port == member.port else { return false }
        guard let wanted = new.incarnation else { return true }
        defer { if incarnation == nil { incarnation = wanted } }
        return incarnation == nil || incarnation == wanted
    }
}
