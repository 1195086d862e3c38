public import Coordination
public import EsperTypes
public import Identity
public import NIOCore
import PeerTransport
import RaftCore
import RaftStorage

/// A running node's runtime, as the doors and the composition root hold it. Every method may be called from any thread.
public final class NodeHandle: Sendable {
    let eventLoop: any EventLoop
    private let mailbox: Mailbox
    let core: NIOLoopBound<NodeCore>
    private let log: LogWriter
    private let worker: SnapshotWorker
    private let scrubber: Scrubber
    private let asyncCalls: AsyncCalls
    private let heartbeat: Heartbeat
    private let position: NodePosition
    private let localReads: LocalReads
    let names: NameBoard

    public let clusterID: ClusterID
    public let nodeID: NodeID
    /// How long a node hears nothing of its leader before it takes it to be gone; up to twice as long.
    public let electionTimeout: Duration

    private init(
        identity: StorageIdentity, electionTimeout: Duration, position: NodePosition, localReads: LocalReads,
        names: NameBoard, eventLoop: any EventLoop, mailbox: Mailbox, heartbeat: Heartbeat,
        core: NIOLoopBound<NodeCore>, log: LogWriter,
        worker: SnapshotWorker, scrubber: Scrubber
    ) {
        self.eventLoop = eventLoop
        clusterID = identity.cluster
        nodeID = identity.node
        self.electionTimeout = electionTimeout
        self.position = position
        self.localReads = localReads
        self.names = names
        self.heartbeat = heartbeat
        self.mailbox = mailbox
        self.core = core
        self.log = log
        self.worker = worker
        self.scrubber = scrubber
        asyncCalls = AsyncCalls()
    }

    /// Builds the runtime on `eventLoop` and starts listening for peers.
    ///
    /// - Throws: when the peer port cannot be bound or the credentials are not accepted.
    public static func start(
        _ parts: NodeParts, on eventLoop: any EventLoop, observer: any NodeObserver
    ) async throws -> NodeHandle {
        let mailbox = Mailbox(
            eventLoop: eventLoop, maximumRequests: parts.options.maximumMailboxRequests,
            maximumBytes: parts.options.maximumMailboxBytes)
        // The log's thread reports to a core that does not exist yet; nothing is written before it does.
        let reports = LogReports(eventLoop: eventLoop, observer: observer)
        let log = LogWriter(parts.recovery.log, now: { NodeClock.now() }, callbacks: reports.callbacks)
        let heartbeat = Heartbeat()
        let position = NodePosition(
            term: parts.recovery.restored.hardState.term, parts.state)
        let localReads = LocalReads()
        let names = NameBoard(
            parts.state, parts.recovery.restored.entries, isLeased: parts.options.raft.holderLease > .zero)
        do {
            let core = try await eventLoop.submit {
                let core = try NodeCore(
                    parts, eventLoop: eventLoop, observer: observer, log: log, mailbox: mailbox, heartbeat: heartbeat,
                    position: position, localReads: localReads, names: names)
                return NIOLoopBound(core, eventLoop: eventLoop)
            }.get()
            reports.attach(core)
            let (worker, scrubber) = try await eventLoop.submit {
                (core.value.snapshotWorker, core.value.scrubber)
            }.get()
            let handle = NodeHandle(
                identity: parts.recovery.identity, electionTimeout: parts.options.raft.electionTimeout,
                position: position, localReads: localReads, names: names, eventLoop: eventLoop, mailbox: mailbox,
                heartbeat: heartbeat, core: core, log: log, worker: worker,
                scrubber: scrubber)
            let damage = parts.recovery.damage
            _ = try await eventLoop.flatSubmit {
                core.value.reportDamage(damage)
                return core.value.start()
            }.get()
            return handle
        } catch {
            log.close()
            throw error
        }
    }

    /// The term that this node is in.
    public var term: Term { position.term }

    /// The revision of the keyspace here. A reply's own says what the reply is true of.
    public var revision: Revision { position.revision }

    /// Users, roles and permissions as this node knows them, with the secret by which doors sign and check what they give to
    /// users. Costs a lock and a few counts of references.
    public var auth: AuthTable { position.auth }

    /// For how long this node has known no leader; nil while it knows one. Asks nobody.
    public var leaderless: Duration? { position.leaderless }

    /// How long ago the core loop last came round; more than a few report intervals: it hangs. Asks nobody.
    public var silence: Duration { heartbeat.silence }

    /// Hands a batch of requests to the core loop; each is answered through the sink exactly once.
    public func submit(_ requests: [ServiceRequest], from sink: any ReplySink) {
        guard !mailbox.submit(requests, from: sink, drain: { [core] in core.value.drainMailbox() }) else { return }
        let failure = ServiceFailure(
            code: .overloaded, message: "the node has too many requests waiting; try again", outcome: .notCommitted)
        sink.deliver(
            requests.compactMap { request in
                switch request.operation {
                case .cancel, .watchCredit, .watchProgress: nil
                default: ServiceReply(token: request.token, body: .failed(failure))
                }
            })
    }

    /// Answers a short read from this node's state on the calling thread.
    ///
    /// - Returns: nil when the read has to be submitted: it may be long, or the state changed since the last one that was.
    public func answer(_ query: Query, to principal: String) -> QueryReply? {
        guard case .range(let request) = query, case .single = request.range.end else { return nil }
        return localReads.answer(query, to: principal)
    }

    /// One request for callers that can wait; not for hot paths. A cancelled task gives its wait up.
    public func call(
        _ operation: ServiceRequest.Operation, principal: String, timeout: Duration
    ) async -> ServiceReply.Body {
        await asyncCalls.call(self, operation, principal: principal, timeout: timeout)
    }

    /// Uses other certificates for links from now on; those that stand keep theirs.
    ///
    /// - Throws: when the credentials are not accepted; the old ones stay in force.
    public func updateCredentials(_ credentials: TLSCredentials) async throws {
        try await eventLoop.submit { [core] in try core.value.transport.updateCredentials(credentials) }.get()
    }

    /// Stops taking new requests and hands leadership over; returns when another node leads or the time is over.
    public func drain(within limit: Duration) async {
        let deadline = NodeClock.now() + limit
        try? await eventLoop.submit { [core] in core.value.beginDrain() }.get()
        let promise = eventLoop.makePromise(of: Void.self)
        eventLoop.execute { [core] in core.value.whenDrained(by: deadline, promise) }
        try? await promise.futureResult.get()
    }

    /// Cuts the links, writes what the log still holds, and ends the threads.
    public func stop() async {
        try? await eventLoop.flatSubmit { [core] in core.value.stop() }.get()
        await withCheckedContinuation { continuation in
            // Joining threads blocks, so it must not happen on a cooperative thread.
            worker.submit { [log, scrubber] in
                scrubber.stop()
                log.close()
                continuation.resume()
            }
        }
        try? await worker.shutdown()
    }
}
