import Coordination
import EsperProtocol
import EsperTypes
import FoundationEssentials
import RaftRuntime
import SwiftProtobuf

/// Replies of the node turned into response messages.
enum AnsweredCall {
    /// - Throws: ``CallFailure``, a `Refusal` or a `ServiceFailure`: what the call ends with instead.
    static func message(_ call: DoorLane.Call, _ body: ServiceReply.Body, facts: () -> NodeFacts) throws -> [UInt8] {
        switch body {
        case .command(let reply): return try command(call, reply)
        case .query(let reply): return try query(call, reply)
        case .status(let status): return try self.status(status, facts()).serializedBytes()
        case .transferred where call.method == .drain: return try ProtoDrainResponse().serializedBytes()
        case .transferred(let leader, let term):
            return try ProtoTransferLeadershipResponse.with {
                $0.leader = leader
                $0.term = term.rawValue
            }.serializedBytes()
        case .membersChanged(let done):
            return try ProtoMembershipResponse.with {
                $0.logIndex = done.index.rawValue
                $0.ids = done.members.map(\.description)
            }.serializedBytes()
        case .done:
            switch call.method {
            case .drain: return try ProtoDrainResponse().serializedBytes()
            case .isolate: return try ProtoIsolateResponse().serializedBytes()
            case .heal: return try ProtoHealResponse().serializedBytes()
            default: throw CallFailure(body)
            }
        case .failed(let failure):
            guard failure.code == .notGranted else { throw failure }
            return try notGranted(call, failure)
        case .keptAlive, .timeToLive, .watch, .stateCopy: throw CallFailure(body)
        }
    }

    /// What a query that has no result ends with.
    static func failure(of body: ServiceReply.Body) -> CallFailure {
        if case .query(let reply) = body, case .refused(let refusal) = reply.result { return CallFailure(refusal) }
        return CallFailure(body)
    }

    /// A wait that ended without a grant is an answer, not an error.
    private static func notGranted(_ call: DoorLane.Call, _ failure: ServiceFailure) throws -> [UInt8] {
        if call.method == .campaign {
            return try ProtoCampaignResponse.with {
                $0.commit.outcome = .notCommitted
                guard let holder = failure.holder else { return }
                $0.leadership.name = call.name
                $0.leadership.sessionID = holder.session.rawValue
                $0.leadership.fencingToken = holder.token.rawValue
                $0.leadership.value = Data(holder.value)
            }.serializedBytes()
        }
        return try ProtoAcquireResponse.with {
            $0.commit.outcome = .notCommitted
            $0.holderSessionID = failure.holder?.session.rawValue ?? 0
        }.serializedBytes()
    }

    // MARK: - Commands

    private static func command(_ call: DoorLane.Call, _ reply: CommandReply) throws -> [UInt8] {
        let commit = ProtoCommit.with {
            $0.outcome = .committed
            $0.revision = reply.revision.rawValue
            $0.logIndex = reply.index.rawValue
        }
        switch reply.result {
        case .refused(let refusal): throw refusal
        case .put(let put):
            return try ProtoPutResponse.with {
                $0.commit = commit
                if let previous = put.previous { $0.previous = ProtoKeyValue(previous) }
            }.serializedBytes()
        case .deleted(let delete):
            return try ProtoDeleteResponse.with {
                $0.commit = commit
                $0.deleted = UInt64(delete.count)
                $0.previous = delete.previous.map(ProtoKeyValue.init)
            }.serializedBytes()
        case .transaction(let transaction):
            return try ProtoTxnResponse.with {
                $0.commit = commit
                $0.succeeded = transaction.succeeded
                $0.results = transaction.replies.map(ProtoOperationResult.init)
            }.serializedBytes()
        case .compacted: return try ProtoCompactResponse.with { $0.commit = commit }.serializedBytes()
        case .sessionGranted(let session, let ttl):
            return try ProtoGrantResponse.with {
                $0.commit = commit
                $0.sessionID = session.rawValue
                $0.ttlMs = ttl.wholeMilliseconds
            }.serializedBytes()
        case .sessionEnded(_, let keys):
            return try ProtoRevokeResponse.with {
                $0.commit = commit
                $0.deleted = UInt64(keys)
            }.serializedBytes()
        case .lock(let lock):
            return try ProtoAcquireResponse.with {
                $0.commit = commit
                $0.granted = lock.isHeld
                $0.fencingToken = lock.token.rawValue
            }.serializedBytes()
        case .lockReleased(let wasHeld):
            return try ProtoReleaseResponse.with {
                $0.commit = commit
                $0.released = wasHeld
            }.serializedBytes()
        case .election(let election):
            return try ProtoCampaignResponse.with {
                $0.commit = commit
                $0.elected = election.isElected
                // The token of a place in the queue is no leader's.
                guard election.isElected else { return }
                $0.leadership = call.leadership ?? ProtoLeadership()
                $0.leadership.fencingToken = election.token.rawValue
            }.serializedBytes()
        case .proclaimed: return try ProtoProclaimResponse.with { $0.commit = commit }.serializedBytes()
        case .resigned(let wasElected):
            return try ProtoResignResponse.with {
                $0.commit = commit
                $0.resigned = wasElected
            }.serializedBytes()
        case .clientRegistered(let client):
            return try ProtoRegisterClientResponse.with {
                $0.commit = commit
                $0.clientID = client.rawValue
            }.serializedBytes()
        case .joinTokenCreated(let expires):
            return try ProtoCreateJoinTokenResponse.with {
                $0.commit = commit
                $0.expiresUnixMs = expires / 1_000_000
            }.serializedBytes()
        case .joinTokenRevoked: return try ProtoRevokeJoinTokenResponse.with { $0.commit = commit }.serializedBytes()
        case .sessionsExpired, .outboxAcknowledged, .configured, .recorded, .memberAdmitted, .joinTokenRedeemed,
            .authChanged, .cache:
            throw CallFailure(.done)
        }
    }

    // MARK: - Queries

    private static func query(_ call: DoorLane.Call, _ reply: QueryReply) throws -> [UInt8] {
        let revision = reply.revision.rawValue
        switch reply.result {
        case .refused(let refusal): throw refusal
        case .range(let range):
            if call.method == .get {
                return try ProtoGetResponse.with {
                    $0.revision = revision
                    if let keyValue = range.keyValues.first { $0.kv = ProtoKeyValue(keyValue) }
                }.serializedBytes()
            }
            return try ProtoRangeResponse.with {
                $0.revision = revision
                $0.kvs = range.keyValues.map(ProtoKeyValue.init)
                $0.count = UInt64(range.count)
                $0.more = range.more
            }.serializedBytes()
        case .sessions(let sessions, let more):
            return try ProtoListSessionsResponse.with {
                $0.revision = revision
                $0.nextPageToken = PageToken.next(behind: sessions, more: more)
                $0.sessions = sessions.map { session in
                    ProtoSessionInfo.with {
                        $0.sessionID = session.id.rawValue
                        $0.ttlMs = session.ttl.wholeMilliseconds
                        $0.label = session.label
                        $0.principal = session.principal
                        $0.keys = UInt64(session.keyCount)
                    }
                }
            }.serializedBytes()
        case .locks(let locks, let more):
            return try ProtoListLocksResponse.with {
                $0.revision = revision
                $0.nextPageToken = PageToken.next(behind: locks, more: more)
                $0.locks = locks.map { lock in
                    ProtoLockInfo.with {
                        $0.name = lock.name
                        $0.holderSessionID = lock.holder?.session.rawValue ?? 0
                        $0.fencingToken = lock.holder?.token.rawValue ?? 0
                        $0.waitingSessionIds = lock.claims.dropFirst().map(\.session.rawValue)
                    }
                }
            }.serializedBytes()
        case .electionLeader(let leader):
            return try ProtoLeaderResponse.with {
                $0.revision = revision
                if let leader { $0.leadership = ProtoLeadership(leader) }
            }.serializedBytes()
        case .joinTokens(let table):
            return try ProtoListJoinTokensResponse.with {
                $0.tokens = table.records.map { record in
                    ProtoJoinToken.with {
                        $0.id = record.id.description
                        $0.node = record.nodeName
                        $0.uses = UInt32(record.uses)
                        $0.expiresUnixMs = record.expires / 1_000_000
                        $0.creator = record.creator
                        $0.revoked = record.isRevoked
                        $0.usedBy = record.used.map(\.name)
                    }
                }
            }.serializedBytes()
        case .transaction, .session, .lock, .elections, .election, .outbox, .outboxStatus, .settings, .members, .auth,
            .authStatus, .user, .role, .summary, .binding, .bindings, .cacheSummary, .shardMap:
            throw CallFailure(.done)
        }
    }

    // MARK: - Sessions and streams

    static func keepAlives(_ progress: DoorLane.KeepAliveProgress) throws -> [UInt8] {
        try ProtoKeepAliveResponse.with {
            $0.sessions = progress.answers.map { answer in
                ProtoSessionState.with {
                    $0.sessionID = answer.session
                    $0.alive = (answer.ttl ?? .zero) > .zero
                    $0.ttlMs = (answer.ttl ?? .zero).wholeMilliseconds
                }
            }
        }.serializedBytes()
    }

    static func cost(of delivery: WatchDelivery) -> Int {
        guard case .events(let events, _) = delivery.content else { return 0 }
        return events.reduce(0) { $0 + $1.cost }
    }

    static func events(_ delivery: WatchDelivery) throws -> [UInt8] {
        guard case .events(let events, let continues) = delivery.content else { throw CallFailure(.done) }
        return try ProtoWatchResponse.with {
            // Whoever resumes after this message must not skip the rest of a revision that goes on in the next one.
            $0.revision = continues ? delivery.through.previous.rawValue : delivery.through.rawValue
            $0.events = events.map { event in
                ProtoEvent.with {
                    $0.kind = event.isDeletion ? .delete : .put
                    $0.kv = ProtoKeyValue(event.keyValue)
                    if let previous = event.previous { $0.previous = ProtoKeyValue(previous) }
                }
            }
        }.serializedBytes()
    }

    static func observation(_ leader: ElectionLeader?, at revision: Revision) throws -> [UInt8] {
        try ProtoObserveResponse.with {
            $0.revision = revision.rawValue
            if let leader { $0.leadership = ProtoLeadership(leader) }
        }.serializedBytes()
    }

    // MARK: - Status

    private static func status(_ status: ClusterStatus, _ facts: NodeFacts) -> ProtoStatusResponse {
        ProtoStatusResponse.with {
            $0.clusterID = status.clusterID.description
            $0.leader = status.leader ?? ""
            $0.leaderEndpoint = status.leaderAPIAddress ?? ""
            $0.term = status.term.rawValue
            $0.commitIndex = status.commitIndex.rawValue
            $0.appliedIndex = status.appliedIndex.rawValue
            $0.revision = status.revision.rawValue
            $0.answeredBy = status.answeredBy
            $0.outboxPending = UInt64(status.outboxPending)
            $0.catalog = facts.catalog.rawValue
            $0.enrollAddress = facts.enrollment?.address.description ?? ""
            $0.authoritySha256 = facts.enrollment?.authorityFingerprint ?? ""
            $0.pendingChange = status.pendingChange ?? ""
            $0.members = status.members.map { member in
                ProtoMember.with {
                    $0.name = member.name
                    $0.id = member.id.description
                    $0.role = member.role
                    $0.voter = member.isVoter
                    $0.reachable = member.isReachable
                    $0.appliedIndex = member.appliedIndex.rawValue
                    $0.matchIndex = member.matchIndex.rawValue
                    $0.version = member.version
                    $0.address = member.address
                    $0.zone = member.zone
                    $0.apiEndpoint = member.apiAddress
                }
            }
        }
    }
}

extension ProtoKeyValue {
    init(_ keyValue: KeyValue) {
        self.init()
        key = Data(keyValue.key)
        value = Data(keyValue.value)
        createRevision = keyValue.createRevision.rawValue
        modRevision = keyValue.modRevision.rawValue
        version = keyValue.version
        sessionID = keyValue.session?.rawValue ?? 0
    }
}

extension ProtoLeadership {
    init(_ leader: ElectionLeader) {
        self.init()
        name = leader.name
        sessionID = leader.session.rawValue
        fencingToken = leader.token.rawValue
        value = Data(leader.keyValue.value)
        modRevision = leader.keyValue.modRevision.rawValue
    }
}

extension ProtoOperationResult {
    init(_ reply: TransactionReply.OperationReply) {
        self.init()
        switch reply {
        case .put(let put):
            self.put = .with { if let previous = put.previous { $0.previous = ProtoKeyValue(previous) } }
        case .delete(let delete):
            self.delete = .with {
                $0.deleted = UInt64(delete.count)
                $0.previous = delete.previous.map(ProtoKeyValue.init)
            }
        case .range(let range):
            self.range = .with {
                $0.kvs = range.keyValues.map(ProtoKeyValue.init)
                $0.count = UInt64(range.count)
                $0.more = range.more
            }
        case .transaction: break
        }
    }
}

extension Duration {
    fileprivate var wholeMilliseconds: UInt64 { UInt64(max(nanoseconds, 0)) / 1_000_000 }
}
