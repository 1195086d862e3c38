import Coordination
import EsperProtocol
import EsperTypes
import RaftRuntime
import SwiftProtobuf

/// A request message turned into what the node is asked.
struct ParsedCall {
    enum Kind {
        case operation(ServiceRequest.Operation)
        /// A lock acquisition or campaign; ``ParsedCall/wait`` says for how long.
        case claim(Command, RequestID?)
        case keepAlives([SessionID])
    }

    var kind: Kind
    /// How long a claim waits to be granted.
    var wait = Duration.zero
    var name = ""
    /// What a candidate will lead with.
    var leadership: ProtoLeadership?
    /// How often a watch says how far it has come.
    var progressInterval = Duration.zero

    /// Sessions of one keep-alive call.
    static let maximumKeepAlives = 1024
    /// A key-value answer of one range call.
    static let maximumRangeBytes = 3 << 20

    init(_ method: ProtoMethod, _ bytes: [UInt8]) throws {
        switch method {
        case .put:
            let message = try ProtoPutRequest(serializedBytes: bytes)
            kind = .command(
                .put(
                    .init(
                        key: [UInt8](message.key), value: [UInt8](message.value),
                        session: SessionID(written: message.sessionID), returnsPrevious: message.wantPrevious)),
                message.hasRequestID ? message.requestID : nil)
        case .get:
            let message = try ProtoGetRequest(serializedBytes: bytes)
            kind = .query(
                .range(Coordination.RangeRequest(.key([UInt8](message.key)), revision: Revision(message.revision))),
                message.consistency)
        case .range:
            let message = try ProtoRangeRequest(serializedBytes: bytes)
            kind = .query(
                .range(
                    Coordination.RangeRequest(
                        try KeyRange(message.range), revision: Revision(message.revision), limit: Int(message.limit),
                        keysOnly: message.keysOnly, countOnly: message.countOnly,
                        sort: message.descending ? .init(by: .key, .descending) : nil,
                        maximumBytes: Self.maximumRangeBytes)),
                message.consistency)
        case .delete:
            let message = try ProtoDeleteRequest(serializedBytes: bytes)
            kind = .command(
                .delete(.init(try KeyRange(message.range), returnsPrevious: message.wantPrevious)),
                message.hasRequestID ? message.requestID : nil)
        case .transact:
            let message = try ProtoTxnRequest(serializedBytes: bytes)
            kind = .command(
                .transaction(try Transaction(message)), message.hasRequestID ? message.requestID : nil)
        case .compact:
            let message = try ProtoCompactRequest(serializedBytes: bytes)
            kind = .command(
                .compact(through: Revision(message.revision)), message.hasRequestID ? message.requestID : nil)
        case .grantSession:
            let message = try ProtoGrantRequest(serializedBytes: bytes)
            kind = .command(
                .grantSession(ttl: .milliseconds(Int64(clamping: message.ttlMs)), label: message.label),
                message.hasRequestID ? message.requestID : nil)
        case .keepAlive:
            let message = try ProtoKeepAliveRequest(serializedBytes: bytes)
            guard (1...Self.maximumKeepAlives).contains(message.sessionIds.count) else {
                throw CallFailure.invalid("session_ids must name 1 to \(Self.maximumKeepAlives) sessions")
            }
            kind = .keepAlives(message.sessionIds.map(SessionID.init(_:)))
        case .revokeSession:
            let message = try ProtoRevokeRequest(serializedBytes: bytes)
            kind = .command(
                .revokeSession(SessionID(message.sessionID)), message.hasRequestID ? message.requestID : nil)
        case .listSessions:
            let message = try ProtoListSessionsRequest(serializedBytes: bytes)
            guard let after = PageToken.session(message.pageToken) else { throw CallFailure.invalid(PageToken.refusal) }
            kind = .query(
                .sessions(after: after, limit: PageToken.limit(Int(message.limit))), message.consistency)
        case .acquireLock:
            let message = try ProtoAcquireRequest(serializedBytes: bytes)
            name = message.name
            wait = .milliseconds(Int64(clamping: message.waitMs))
            kind = .claim(
                .acquireLock(
                    LockRequest(name: name, session: SessionID(message.sessionID), waits: message.waitMs > 0)),
                message.hasRequestID ? RequestID(message.requestID) : nil)
        case .releaseLock:
            let message = try ProtoReleaseRequest(serializedBytes: bytes)
            kind = .command(
                .releaseLock(name: message.name, session: SessionID(message.sessionID)),
                message.hasRequestID ? message.requestID : nil)
        case .listLocks:
            let message = try ProtoListLocksRequest(serializedBytes: bytes)
            kind = .query(
                .locks(
                    prefix: message.prefix, after: PageToken.lock(message.pageToken),
                    limit: PageToken.limit(Int(message.limit))), message.consistency)
        case .campaign:
            let message = try ProtoCampaignRequest(serializedBytes: bytes)
            name = message.name
            wait = .milliseconds(Int64(clamping: message.waitMs))
            leadership = .with {
                $0.name = message.name
                $0.sessionID = message.sessionID
                $0.value = message.value
            }
            kind = .claim(
                .campaign(election: name, session: SessionID(message.sessionID), value: [UInt8](message.value)),
                message.hasRequestID ? RequestID(message.requestID) : nil)
        case .proclaim:
            let message = try ProtoProclaimRequest(serializedBytes: bytes)
            kind = .command(
                .proclaim(
                    election: message.name, session: SessionID(message.sessionID), value: [UInt8](message.value)),
                message.hasRequestID ? message.requestID : nil)
        case .resign:
            let message = try ProtoResignRequest(serializedBytes: bytes)
            kind = .command(
                .resign(election: message.name, session: SessionID(message.sessionID)),
                message.hasRequestID ? message.requestID : nil)
        case .leader:
            let message = try ProtoLeaderRequest(serializedBytes: bytes)
            name = message.name
            kind = .query(.electionLeader(name: name), message.consistency)
        case .observe:
            let message = try ProtoObserveRequest(serializedBytes: bytes)
            name = message.name
            // Asked again, from this node's own state, whenever the election changes.
            kind = .operation(.query(.electionLeader(name: name), linearizable: true))
        case .watch:
            let message = try ProtoWatchRequest(serializedBytes: bytes)
            progressInterval =
                message.progressIntervalMs == 0
                ? Self.defaultProgressInterval
                : max(.milliseconds(Int64(clamping: message.progressIntervalMs)), Self.leastProgressInterval)
            kind = .operation(
                .watch(
                    WatchRequest(
                        try KeyRange(message.range), fromRevision: Revision(message.fromRevision),
                        includesPrevious: message.wantPrevious)))
        case .status:
            _ = try ProtoStatusRequest(serializedBytes: bytes)
            kind = .operation(.status)
        case .transferLeadership:
            let message = try ProtoTransferLeadershipRequest(serializedBytes: bytes)
            kind = .operation(.transferLeadership(toMember: message.target.isEmpty ? nil : message.target))
        case .addMember:
            let message = try ProtoAddMemberRequest(serializedBytes: bytes)
            kind = .operation(
                .changeMembers([
                    .add(try NewMember(message.name, peer: message.peer, api: message.api, zone: message.zone))
                ]))
        case .promoteMember:
            let names = try ProtoPromoteMemberRequest(serializedBytes: bytes).names
            kind = .operation(.changeMembers(names.map(MemberChange.promote)))
        case .demoteMember:
            let names = try ProtoDemoteMemberRequest(serializedBytes: bytes).names
            kind = .operation(.changeMembers(names.map(MemberChange.demote)))
        case .removeMember:
            let names = try ProtoRemoveMemberRequest(serializedBytes: bytes).names
            kind = .operation(.changeMembers(names.map(MemberChange.remove)))
        case .replaceMember:
            let message = try ProtoReplaceMemberRequest(serializedBytes: bytes)
            guard message.old.count == message.new.count else {
                throw CallFailure.invalid(
                    "old and new must name as many members: each that leaves has one in its place")
            }
            kind = .operation(
                .changeMembers(zip(message.old, message.new).map { MemberChange.replace($0, with: $1) }))
        case .drain:
            let message = try ProtoDrainRequest(serializedBytes: bytes)
            kind = .operation(.setAside(member: message.name, !message.undo))
        case .createJoinToken:
            let message = try ProtoCreateJoinTokenRequest(serializedBytes: bytes)
            kind = .command(
                .createJoinToken(
                    NewJoinToken(
                        id: try JoinTokenID(written: message.id), secretDigest: [UInt8](message.secretSha256),
                        nodeName: message.node, uses: Int(message.uses),
                        ttl: .milliseconds(Int64(clamping: message.ttlMs)))),
                message.hasRequestID ? message.requestID : nil)
        case .revokeJoinToken:
            let message = try ProtoRevokeJoinTokenRequest(serializedBytes: bytes)
            kind = .command(
                .revokeJoinToken(try JoinTokenID(written: message.id)),
                message.hasRequestID ? message.requestID : nil)
        case .listJoinTokens:
            _ = try ProtoListJoinTokensRequest(serializedBytes: bytes)
            kind = .operation(.query(.joinTokens, linearizable: true))
        case .registerClient:
            _ = try ProtoRegisterClientRequest(serializedBytes: bytes)
            kind = .command(.registerClient, nil)
        case .isolate:
            kind = .operation(.isolate(fromPeers: try ProtoIsolateRequest(serializedBytes: bytes).peers))
        case .heal:
            _ = try ProtoHealRequest(serializedBytes: bytes)
            kind = .operation(.heal)
        }
    }

    /// What a watch gets that leaves it to us: often enough that a reader who comes back finds what it missed uncompacted.
    private static let defaultProgressInterval = Duration.seconds(30)
    private static let leastProgressInterval = Duration.milliseconds(100)
}

extension ParsedCall.Kind {
    static func command(_ command: Command, _ request: ProtoRequestID?) -> Self {
        .operation(.command(command, request.map(RequestID.init)))
    }

    static func query(_ query: Query, _ consistency: ProtoConsistency) -> Self {
        .operation(.query(query, linearizable: consistency != .local))
    }
}

extension RequestID {
    init(_ message: ProtoRequestID) {
        self.init(
            client: ClientID(message.clientID), sequence: message.sequence,
            acknowledgedThrough: message.acknowledgedThrough)
    }
}

extension JoinTokenID {
    init(written text: String) throws(CallFailure) {
        guard text.utf8.count == 16, let id = JoinTokenID(text) else {
            throw .invalid("a join token's id has sixteen hexadecimal digits")
        }
        self = id
    }
}

extension SessionID {
    /// Zero on the wire means no session.
    init?(written: UInt64) {
        guard written != 0 else { return nil }
        self.init(written)
    }
}

extension KeyRange {
    init(_ message: ProtoKeyRange) throws {
        switch message.selector {
        case .key(let key)?: self = .key([UInt8](key))
        case .prefix(let prefix)?: self = .prefix([UInt8](prefix))
        case .interval(let interval)?:
            self =
                interval.end.isEmpty
                ? .from([UInt8](interval.start)) : .keys(from: [UInt8](interval.start), before: [UInt8](interval.end))
        case nil: throw CallFailure.invalid("range needs a key, a prefix or an interval")
        }
    }
}

extension Transaction {
    init(_ message: ProtoTxnRequest) throws {
        self.init(
            compares: try message.compares.map(Compare.init), success: try message.success.map(Operation.init),
            failure: try message.failure.map(Operation.init))
    }
}

extension Transaction.Operation {
    init(_ message: ProtoOperation) throws {
        switch message.kind {
        case .put(let put)?:
            self = .put(
                .init(
                    key: [UInt8](put.key), value: [UInt8](put.value), session: SessionID(written: put.sessionID),
                    returnsPrevious: put.wantPrevious))
        case .delete(let delete)?:
            self = .delete(.init(try KeyRange(delete.range), returnsPrevious: delete.wantPrevious))
        case .range(let range)?:
            self = .range(
                Coordination.RangeRequest(
                    try KeyRange(range.range), limit: Int(range.limit), keysOnly: range.keysOnly,
                    countOnly: range.countOnly, sort: range.descending ? .init(by: .key, .descending) : nil))
        case nil: throw CallFailure.invalid("an operation of a transaction needs a put, a delete or a range")
        }
    }
}

extension Compare {
    init(_ message: ProtoCompare) throws {
        let relation: Relation
        switch message.relation {
        case .equal: relation = .equal
        case .notEqual: relation = .notEqual
        case .less: relation = .less
        case .greater: relation = .greater
        case .UNRECOGNIZED(let value): throw CallFailure.invalid("unknown relation \(value) in a compare")
        }
        let target: Target
        switch message.target {
        case .version: target = .version(message.number)
        case .createRevision: target = .createRevision(Revision(message.number))
        case .modRevision: target = .modRevision(Revision(message.number))
        case .session: target = .session(SessionID(written: message.number))
        case .value: target = .value([UInt8](message.value))
        case .UNRECOGNIZED(let value): throw CallFailure.invalid("unknown target \(value) in a compare")
        }
        self.init(.key([UInt8](message.key)), relation, target)
    }
}
