import EsperProtocol
import Foundation
import GRPCTransport
import SwiftProtobuf
import Testing

extension GRPCMethodTests {
    private static func key(_ key: String) -> ProtoKeyRange { .with { $0.key = Data(key.utf8) } }

    private static func committed(_ commit: ProtoCommit) {
        #expect(commit.outcome == .committed && commit.revision > 0 && commit.logIndex > 0)
    }

    private static func noSelector(_ request: some Message) -> Refused {
        Refused(request, .invalidArgument, "invalid_argument", "a key, a prefix or an interval")
    }

    private static func invalid(_ request: some Message, _ says: String) -> Refused {
        Refused(request, .invalidArgument, "invalid_argument", says)
    }

    private static func unknownSession(_ request: some Message) -> Refused {
        Refused(request, .notFound, "session_not_found", "does not exist")
    }

    /// The rows stand in the order of the methods: isolation comes last, and is healed after it.
    static func row(_ method: ProtoMethod, _ scene: Scene) throws -> Row {
        switch method {
        case .put, .get, .range, .delete, .transact, .compact: try keyspace(method)
        case .grantSession, .keepAlive, .revokeSession, .listSessions: try sessions(method, scene)
        case .acquireLock, .releaseLock, .listLocks: try locks(method, scene)
        case .campaign, .proclaim, .resign, .leader, .observe: try elections(method, scene)
        case .watch, .status, .transferLeadership, .registerClient, .isolate, .heal: try cluster(method)
        case .addMember, .promoteMember, .demoteMember, .removeMember, .replaceMember, .drain: try members(method)
        case .createJoinToken, .listJoinTokens, .revokeJoinToken: try joinTokens(method)
        }
    }

    /// `n2` is added, a node that never runs: it can be no voter, and is taken out again.
    private static func members(_ method: ProtoMethod) throws -> Row {
        func row(_ request: some Message, _ refused: Refused, ids: [String]) throws -> Row {
            try Row(request, refused) { (answer: ProtoMembershipResponse) in
                #expect(answer.logIndex > 0 && answer.ids == ids)
            }
        }
        func impossible(_ request: some Message, _ word: String, _ says: String) -> Refused {
            Refused(request, .failedPrecondition, word, says)
        }
        switch method {
        case .addMember:
            let new = ProtoAddMemberRequest.with { ($0.name, $0.peer, $0.api) = ("n2", "127.0.0.1:9", "127.0.0.1:10") }
            let elsewhere = ProtoAddMemberRequest.with {
                ($0.name, $0.peer, $0.api) = ("n3", "127.0.0.1:9", "127.0.0.1:11")
            }
            return try row(
                new, Refused(elsewhere, .alreadyExists, "member_exists", "address"), ids: ["0000000000000002"])
        case .promoteMember:
            return try row(
                ProtoPromoteMemberRequest.with { $0.names = ["n1"] },
                impossible(ProtoPromoteMemberRequest.with { $0.names = ["n2"] }, "not_heard", "see that it runs"),
                ids: ["0000000000000001"])
        case .demoteMember:
            return try row(
                ProtoDemoteMemberRequest.with { $0.names = ["n2"] },
                impossible(
                    ProtoDemoteMemberRequest.with { $0.names = ["n1"] }, "change_refused", "nobody would be left"),
                ids: ["0000000000000002"])
        case .removeMember:
            return try row(
                ProtoRemoveMemberRequest.with { $0.names = ["n2"] },
                impossible(
                    ProtoRemoveMemberRequest.with { $0.names = ["n1"] }, "change_refused", "nobody would be left"),
                ids: ["0000000000000002"])
        case .replaceMember:
            // One node cannot hand its vote on.
            return Row(
                refused: Refused(
                    ProtoReplaceMemberRequest.with { ($0.old, $0.new) = (["n1"], []) }, .invalidArgument,
                    "invalid_argument", "as many members"))
        default:
            return try Row(
                ProtoDrainRequest.with { ($0.name, $0.undo) = ("n1", true) },
                Refused(ProtoDrainRequest.with { $0.name = "n9" }, .invalidArgument, "unknown_member", "members are n1")
            ) { (_: ProtoDrainResponse) in }
        }
    }

    private static func joinTokens(_ method: ProtoMethod) throws -> Row {
        let id = "00000000000000a7"
        switch method {
        case .listJoinTokens:
            return try Row(ProtoListJoinTokensRequest(), .malformed) { (answer: ProtoListJoinTokensResponse) in
                let token = answer.tokens.first
                #expect(answer.tokens.count == 1 && token?.id == id && token?.node == "n7" && token?.uses == 2)
                #expect(token?.creator == "client/alice" && token?.revoked == false && token?.usedBy == [])
            }
        case .revokeJoinToken:
            let unknown = ProtoRevokeJoinTokenRequest.with { $0.id = "00000000000000a8" }
            return try Row(
                ProtoRevokeJoinTokenRequest.with { $0.id = id },
                Refused(unknown, .notFound, "unknown_token", "no such join token")
            ) { (answer: ProtoRevokeJoinTokenResponse) in committed(answer.commit) }
        default:
            let request = ProtoCreateJoinTokenRequest.with {
                ($0.id, $0.secretSha256, $0.node) = (id, Data(repeating: 1, count: 32), "n7")
                ($0.uses, $0.ttlMs) = (2, 60_000)
            }
            var short = request
            short.secretSha256 = Data(repeating: 1, count: 31)
            return try Row(request, invalid(short, "a digest of 31 bytes")) { (answer: ProtoCreateJoinTokenResponse) in
                committed(answer.commit)
                #expect(answer.expiresUnixMs > 60_000)
            }
        }
    }

    private static func keyspace(_ method: ProtoMethod) throws -> Row {
        switch method {
        case .get:
            let future = ProtoGetRequest.with { ($0.key, $0.revision) = (Data("k".utf8), 1 << 40) }
            return try Row(
                ProtoGetRequest.with { $0.key = Data("k".utf8) },
                Refused(future, .outOfRange, "future_revision", "future revision")
            ) { (answer: ProtoGetResponse) in #expect(answer.kv.value == Data("v".utf8) && answer.revision > 0) }
        case .range:
            return try Row(
                ProtoRangeRequest.with { $0.range.prefix = Data("k".utf8) }, noSelector(ProtoRangeRequest())
            ) { (answer: ProtoRangeResponse) in
                #expect(answer.count == 1 && answer.kvs.count == 1 && !answer.more && answer.revision > 0)
            }
        case .delete:
            let request = ProtoDeleteRequest.with { ($0.range, $0.wantPrevious) = (key("k"), true) }
            return try Row(request, noSelector(ProtoDeleteRequest())) { (answer: ProtoDeleteResponse) in
                committed(answer.commit)
                #expect(answer.deleted == 1 && answer.previous.first?.value == Data("v".utf8))
            }
        case .transact:
            let request = ProtoTxnRequest.with {
                $0.compares = [.with { ($0.key, $0.target, $0.relation) = (Data("t".utf8), .version, .equal) }]
                $0.success = [.with { $0.put = .with { $0.key = Data("t".utf8) } }]
            }
            let bad = invalid(
                ProtoTxnRequest.with { $0.success = [ProtoOperation()] }, "a put, a delete or a range")
            return try Row(request, bad) { (answer: ProtoTxnResponse) in
                committed(answer.commit)
                #expect(answer.succeeded && answer.results.count == 1)
            }
        case .compact:
            let future = ProtoCompactRequest.with { $0.revision = 1 << 40 }
            return try Row(
                ProtoCompactRequest.with { $0.revision = 2 },
                Refused(future, .outOfRange, "future_revision", "future revision")
            ) { (answer: ProtoCompactResponse) in committed(answer.commit) }
        default:
            let request = ProtoPutRequest.with { ($0.key, $0.value) = (Data("k".utf8), Data("v".utf8)) }
            return try Row(request, invalid(ProtoPutRequest(), "the key is empty")) { (answer: ProtoPutResponse) in
                committed(answer.commit)
                #expect(!answer.hasPrevious)
            }
        }
    }

    private static func sessions(_ method: ProtoMethod, _ scene: Scene) throws -> Row {
        switch method {
        case .keepAlive:
            let request = ProtoKeepAliveRequest.with { $0.sessionIds = [scene.holder, 1 << 40] }
            return try Row(request, invalid(ProtoKeepAliveRequest(), "1 to 1024 sessions")) {
                (answer: ProtoKeepAliveResponse) in
                #expect(answer.sessions.map(\.sessionID) == [scene.holder, 1 << 40])
                #expect(answer.sessions.map(\.alive) == [true, false])
                #expect(answer.sessions.map(\.ttlMs) == [600_000, 0])
            }
        case .revokeSession:
            let unknown = unknownSession(ProtoRevokeRequest.with { $0.sessionID = 1 << 40 })
            return try Row(ProtoRevokeRequest.with { $0.sessionID = scene.doomed }, unknown) {
                (answer: ProtoRevokeResponse) in
                committed(answer.commit)
                #expect(answer.deleted == 0)
            }
        case .listSessions:
            let bad = invalid(ProtoListSessionsRequest.with { $0.pageToken = "none of ours" }, "page_token")
            return try Row(ProtoListSessionsRequest.with { $0.limit = 1 }, bad) {
                (answer: ProtoListSessionsResponse) in
                #expect(answer.revision > 0 && answer.sessions.count == 1 && !answer.nextPageToken.isEmpty)
                let first = answer.sessions.first
                #expect(first?.sessionID == scene.holder && first?.label == "holder" && first?.ttlMs == 600_000)
                #expect(first?.principal == "client/alice" && first?.keys == 2)
            }
        default:
            let short = invalid(ProtoGrantRequest.with { $0.ttlMs = 99 }, "outside 100 ms to 24 h")
            return try Row(ProtoGrantRequest.with { ($0.ttlMs, $0.label) = (86_400_000, "day") }, short) {
                (answer: ProtoGrantResponse) in
                committed(answer.commit)
                #expect(answer.sessionID > 0 && answer.ttlMs == 86_400_000)
            }
        }
    }

    private static func locks(_ method: ProtoMethod, _ scene: Scene) throws -> Row {
        switch method {
        case .releaseLock:
            let neither = ProtoReleaseRequest.with { ($0.name, $0.sessionID) = ("held", scene.other) }
            return try Row(
                ProtoReleaseRequest.with { ($0.name, $0.sessionID) = ("free", scene.other) },
                Refused(neither, .notFound, "lock_not_found", "neither holds nor waits")
            ) { (answer: ProtoReleaseResponse) in
                committed(answer.commit)
                #expect(answer.released)
            }
        case .listLocks:
            return try Row(ProtoListLocksRequest.with { $0.prefix = "he" }, .malformed) {
                (answer: ProtoListLocksResponse) in
                #expect(answer.revision > 0 && answer.nextPageToken.isEmpty && answer.locks.count == 1)
                let lock = answer.locks.first
                #expect(lock?.name == "held" && lock?.holderSessionID == scene.holder)
                #expect(lock?.fencingToken == scene.heldToken && lock?.waitingSessionIds == [])
            }
        default:
            let unknown = ProtoAcquireRequest.with { ($0.name, $0.sessionID) = ("free", 1 << 40) }
            return try Row(
                ProtoAcquireRequest.with { ($0.name, $0.sessionID) = ("free", scene.other) }, unknownSession(unknown)
            ) { (answer: ProtoAcquireResponse) in
                committed(answer.commit)
                #expect(answer.granted && answer.fencingToken > scene.heldToken && answer.holderSessionID == 0)
            }
        }
    }

    private static func elections(_ method: ProtoMethod, _ scene: Scene) throws -> Row {
        @Sendable func leads(_ leadership: ProtoLeadership, _ value: String) {
            #expect(leadership.name == "led" && leadership.sessionID == scene.holder)
            #expect(leadership.fencingToken == scene.leaderToken && leadership.value == Data(value.utf8))
            #expect(leadership.modRevision >= scene.leaderToken)
        }
        switch method {
        case .proclaim:
            let stranger = ProtoProclaimRequest.with { ($0.name, $0.sessionID) = ("led", scene.other) }
            return try Row(
                ProtoProclaimRequest.with {
                    ($0.name, $0.sessionID, $0.value) = ("led", scene.holder, Data("new".utf8))
                }, Refused(stranger, .notFound, "candidate_not_found", "does not stand")
            ) { (answer: ProtoProclaimResponse) in committed(answer.commit) }
        case .resign:
            let stranger = ProtoResignRequest.with { ($0.name, $0.sessionID) = ("led", scene.other) }
            return try Row(
                ProtoResignRequest.with { ($0.name, $0.sessionID) = ("open", scene.other) },
                Refused(stranger, .notFound, "candidate_not_found", "does not stand")
            ) { (answer: ProtoResignResponse) in
                committed(answer.commit)
                #expect(answer.resigned)
            }
        case .leader:
            return try Row(
                ProtoLeaderRequest.with { $0.name = "led" }, invalid(ProtoLeaderRequest(), "a name of 0 bytes")
            ) { (answer: ProtoLeaderResponse) in
                #expect(answer.revision > 0)
                leads(answer.leadership, "new")
            }
        case .observe:
            return try Row(
                ProtoObserveRequest.with { $0.name = "led" }, invalid(ProtoObserveRequest(), "a name of 0 bytes")
            ) { (answer: ProtoObserveResponse) in
                #expect(answer.revision > 0)
                leads(answer.leadership, "new")
            }
        default:
            let unknown = ProtoCampaignRequest.with { ($0.name, $0.sessionID) = ("open", 1 << 40) }
            return try Row(
                ProtoCampaignRequest.with {
                    ($0.name, $0.sessionID, $0.value) = ("open", scene.other, Data("x".utf8))
                }, unknownSession(unknown)
            ) { (answer: ProtoCampaignResponse) in
                committed(answer.commit)
                #expect(answer.elected && answer.leadership.name == "open")
                #expect(answer.leadership.sessionID == scene.other && answer.leadership.value == Data("x".utf8))
                #expect(answer.leadership.fencingToken > scene.leaderToken)
            }
        }
    }

    private static func cluster(_ method: ProtoMethod) throws -> Row {
        switch method {
        case .watch:
            return try Row(
                ProtoWatchRequest.with { $0.range.prefix = Data() }, noSelector(ProtoWatchRequest())
            ) { (answer: ProtoWatchResponse) in #expect(answer.revision > 0 && answer.events.isEmpty) }
        case .status:
            return try Row(ProtoStatusRequest(), .malformed) { (answer: ProtoStatusResponse) in
                #expect(answer.leader == "n1" && answer.answeredBy == "n1" && answer.clusterID.count == 16)
                #expect(answer.catalog == "disabled" && answer.members.map(\.role) == ["leader"])
            }
        case .transferLeadership:
            let unknown = ProtoTransferLeadershipRequest.with { $0.target = "n9" }
            return try Row(
                ProtoTransferLeadershipRequest.with { $0.target = "n1" },
                Refused(unknown, .failedPrecondition, "transfer_failed", "n1")
            ) { (answer: ProtoTransferLeadershipResponse) in #expect(answer.leader == "n1" && answer.term > 0) }
        case .isolate:
            let unknown = ProtoIsolateRequest.with { $0.peers = ["n9"] }
            return try Row(
                ProtoIsolateRequest(),
                Refused(unknown, .invalidArgument, "unknown_member", "'n9' is no peer of n1")
            ) { (_: ProtoIsolateResponse) in }
        case .heal: return try Row(ProtoHealRequest(), .malformed) { (_: ProtoHealResponse) in }
        default:
            return try Row(ProtoRegisterClientRequest(), .malformed) { (answer: ProtoRegisterClientResponse) in
                committed(answer.commit)
                #expect(answer.clientID > 0)
            }
        }
    }
}
