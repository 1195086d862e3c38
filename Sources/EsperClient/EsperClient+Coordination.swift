internal import EsperProtocol
public import EsperTypes
internal import FoundationEssentials
internal import NIOCore
internal import SwiftProtobuf

extension EsperClient {
    // MARK: Sessions

    /// Opens a session and keeps it alive until it is revoked, or can be kept no longer.
    public func openSession(ttl: Duration, label: String? = nil) async throws(EsperError) -> Session {
        let grantedAt = NIODeadline.now()
        let (id, granted) = try await grantSession(ttl: ttl, label: label)
        let session = Session(id: id, ttl: granted, client: self)
        session.startKeepingAlive(from: grantedAt)
        return session
    }

    /// Opens a session that nobody keeps alive: the caller does, with ``keepAlive(_:)``, or it ends after its time.
    public func grantSession(
        ttl: Duration, label: String? = nil
    ) async throws(EsperError) -> (id: SessionID, ttl: Duration) {
        let request = ProtoGrantRequest.with {
            $0.ttlMs = ttl.milliseconds
            $0.label = label ?? options.label
        }
        let response = try await run(.command(.grantSession, request), ProtoGrantResponse.self)
        return (SessionID(response.sessionID), .milliseconds(response.ttlMs))
    }

    /// Renews sessions; says for each whether it is alive.
    public func keepAlive(_ sessions: [SessionID]) async throws(EsperError) -> [Bool] {
        try await run(Self.keepAlive(sessions, timeout: nil), ProtoKeepAliveResponse.self).sessions.map(\.alive)
    }

    /// Ends a session now; says how many keys went with it.
    @discardableResult
    public func revoke(_ session: SessionID) async throws(EsperError) -> (Commit, UInt64) {
        let response = try await run(Self.revoke(session, timeout: nil), ProtoRevokeResponse.self)
        return (Commit(response.commit), response.deleted)
    }

    /// Sessions that are alive, however many: asked for page by page, so one that ends meanwhile may be among them.
    public func sessions() async throws(EsperError) -> [SessionInfo] {
        var found: [SessionInfo] = []
        var request = ProtoListSessionsRequest()
        repeat {
            let response = try await run(
                .repeatable(.listSessions, request, prefersLeader: true), ProtoListSessionsResponse.self)
            found += response.sessions.map { session in
                SessionInfo(
                    id: SessionID(session.sessionID), ttl: .milliseconds(session.ttlMs), label: session.label,
                    principal: session.principal, keys: session.keys)
            }
            request.pageToken = response.nextPageToken
        } while !request.pageToken.isEmpty
        return found
    }

    static func revoke(_ session: SessionID, timeout: Duration?) -> Operation {
        .command(.revokeSession, ProtoRevokeRequest.with { $0.sessionID = session.rawValue }, timeout: timeout)
    }

    static func keepAlive(_ sessions: [SessionID], timeout: Duration?) -> Operation {
        let request = ProtoKeepAliveRequest.with { $0.sessionIds = sessions.map(\.rawValue) }
        return .repeatable(.keepAlive, request, prefersLeader: true, timeout: timeout)
    }

    // MARK: Locks

    /// Enters a lock's queue and waits there.
    ///
    /// - Parameter wait: zero answers at once.
    /// - Returns: with ``LockGrant/token``, unless the lock was held by others all the time.
    public func acquire(
        _ name: String, session: SessionID, wait: Duration
    ) async throws(EsperError) -> LockGrant {
        let response = try await run(Self.acquire(name, session, wait), ProtoAcquireResponse.self)
        return LockGrant(response, name: name, session: session)
    }

    /// Gives a lock back, or leaves its queue.
    ///
    /// - Throws: ``EsperError``, with code `lock_not_found` when the session does neither.
    @discardableResult
    public func release(_ name: String, session: SessionID) async throws(EsperError) -> Commit {
        try await releaseAnswer(name, session: session).0
    }

    /// As ``release(_:session:)``, and says whether the session held the lock; otherwise it had only waited.
    public func releaseAnswer(_ name: String, session: SessionID) async throws(EsperError) -> (Commit, Bool) {
        let response = try await run(Self.release(name, session), ProtoReleaseResponse.self)
        return (Commit(response.commit), response.released)
    }

    /// Locks whose names begin with `prefix` and are held, however many: asked for page by page.
    public func locks(prefix: String = "") async throws(EsperError) -> [LockInfo] {
        var found: [LockInfo] = []
        var request = ProtoListLocksRequest.with { $0.prefix = prefix }
        repeat {
            let response = try await run(
                .repeatable(.listLocks, request, prefersLeader: true), ProtoListLocksResponse.self)
            found += response.locks.map { lock in
                LockInfo(
                    name: lock.name, holder: SessionID(lock.holderSessionID), token: FencingToken(lock.fencingToken),
                    waiting: lock.waitingSessionIds.map { SessionID($0) })
            }
            request.pageToken = response.nextPageToken
        } while !request.pageToken.isEmpty
        return found
    }

    /// As ``acquire(_:session:wait:)``; `completion` is called once, on ``eventLoop``.
    @discardableResult
    public func startAcquire(
        _ name: String, session: SessionID, wait: Duration,
        completion: @escaping @Sendable (Result<LockGrant, EsperError>) -> Void
    ) -> OperationHandle {
        start(Self.acquire(name, session, wait), ProtoAcquireResponse.self) { result in
            completion(result.map { LockGrant($0, name: name, session: session) })
        }
    }

    /// As ``releaseAnswer(_:session:)``; `completion` is called once, on ``eventLoop``.
    @discardableResult
    public func startRelease(
        _ name: String, session: SessionID,
        completion: @escaping @Sendable (Result<Bool, EsperError>) -> Void
    ) -> OperationHandle {
        start(Self.release(name, session), ProtoReleaseResponse.self) { result in
            completion(result.map { $0.released })
        }
    }

    private static func acquire(_ name: String, _ session: SessionID, _ wait: Duration) -> Operation {
        let request = ProtoAcquireRequest.with {
            $0.name = name
            $0.sessionID = session.rawValue
            $0.waitMs = wait.milliseconds
        }
        return .command(.acquireLock, request, wait: wait)
    }

    private static func release(_ name: String, _ session: SessionID) -> Operation {
        let request = ProtoReleaseRequest.with {
            $0.name = name
            $0.sessionID = session.rawValue
        }
        return .command(.releaseLock, request)
    }

    // MARK: Elections

    /// Becomes a candidate and waits to lead.
    public func campaign(
        _ name: String, value: [UInt8], session: SessionID, wait: Duration
    ) async throws(EsperError) -> CampaignAnswer {
        let request = ProtoCampaignRequest.with {
            $0.name = name
            $0.sessionID = session.rawValue
            $0.value = Data(value)
            $0.waitMs = wait.milliseconds
        }
        let response = try await run(.command(.campaign, request, wait: wait), ProtoCampaignResponse.self)
        return CampaignAnswer(
            commit: Commit(response.commit), elected: response.elected,
            leadership: response.hasLeadership ? Leadership(response.leadership) : nil)
    }

    /// Changes the value that observers are told, as the leader.
    @discardableResult
    public func proclaim(
        _ name: String, value: [UInt8], session: SessionID
    ) async throws(EsperError) -> Commit {
        let request = ProtoProclaimRequest.with {
            $0.name = name
            $0.sessionID = session.rawValue
            $0.value = Data(value)
        }
        return Commit(try await run(.command(.proclaim, request), ProtoProclaimResponse.self).commit)
    }

    /// Gives leadership up, or stops being a candidate.
    ///
    /// - Throws: ``EsperError``, with code `candidate_not_found` when the session is neither.
    @discardableResult
    public func resign(_ name: String, session: SessionID) async throws(EsperError) -> Commit {
        try await resignAnswer(name, session: session).0
    }

    /// As ``resign(_:session:)``, and says whether the session led; otherwise it had only stood.
    public func resignAnswer(_ name: String, session: SessionID) async throws(EsperError) -> (Commit, Bool) {
        let request = ProtoResignRequest.with {
            $0.name = name
            $0.sessionID = session.rawValue
        }
        let response = try await run(.command(.resign, request), ProtoResignResponse.self)
        return (Commit(response.commit), response.resigned)
    }

    /// Who leads now; nil: nobody.
    public func leader(of name: String) async throws(EsperError) -> Leadership? {
        let request = ProtoLeaderRequest.with { $0.name = name }
        let response = try await run(.repeatable(.leader, request, prefersLeader: true), ProtoLeaderResponse.self)
        return response.hasLeadership ? Leadership(response.leadership) : nil
    }

    // MARK: Cluster

    /// What one node knows of the cluster; answered without a quorum too.
    public func status() async throws(EsperError) -> ClusterView {
        let operation = Operation.repeatable(.status, ProtoStatusRequest(), prefersLeader: true)
        return ClusterView(try await run(operation, ProtoStatusResponse.self))
    }

    /// Hands leadership to a member; nil: whichever is most up to date.
    public func transferLeadership(to target: String?) async throws(EsperError) -> (leader: String, term: UInt64) {
        let request = ProtoTransferLeadershipRequest.with { $0.target = target ?? "" }
        let response = try await run(.once(.transferLeadership, request), ProtoTransferLeadershipResponse.self)
        return (response.leader, response.term)
    }

    /// Cuts the node that is asked off from peers: all of them when none is named. For clients of one endpoint.
    public func isolate(from peers: [String] = []) async throws(EsperError) {
        let request = ProtoIsolateRequest.with { $0.peers = peers }
        let operation = Operation.repeatable(.isolate, request, prefersLeader: false)
        _ = try await run(operation, ProtoIsolateResponse.self)
    }

    /// Ends ``isolate(from:)``. For clients of one endpoint.
    public func heal() async throws(EsperError) {
        _ = try await run(.repeatable(.heal, ProtoHealRequest(), prefersLeader: false), ProtoHealResponse.self)
    }
}

extension LockGrant {
    init(_ response: ProtoAcquireResponse, name: String, session: SessionID) {
        commit = Commit(response.commit)
        self.name = name
        self.session = session
        token = response.granted ? FencingToken(response.fencingToken) : nil
        holder = SessionID(response.holderSessionID)
    }
}
