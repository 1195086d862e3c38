package import Coordination
import EsperTypes
import EtcdProtocol
import FoundationEssentials
import GRPCTransport
import NIOPosix
import RaftRuntime
import SwiftProtobuf

/// One call of the cluster or maintenance service, from request to answer.
struct EtcdAdministration: Sendable {
    let node: NodeHandle
    let principal: String
    let deadline: Instant

    /// - Throws: whatever ``EtcdFailure/init(_:)-(any_Error)`` takes.
    func answer(_ method: EtcdMethod, _ message: [UInt8]) async throws -> [UInt8] {
        switch method {
        case .memberList:
            let request = try EtcdMemberListRequest(serializedBytes: message)
            if request.linearizable { _ = try await query(.summary, linearizable: true) }
            let status = try await status()
            return try EtcdMemberListResponse.with {
                $0.header = header(status)
                $0.members = status.members.map(EtcdMember.init)
            }.serializedBytes()
        case .memberAdd: return try await addMember(EtcdMemberAddRequest(serializedBytes: message))
        case .memberRemove:
            let id = try EtcdMemberRemoveRequest(serializedBytes: message).id
            let status = try await change { .remove(try name(of: id, in: $0)) }
            return try EtcdMemberRemoveResponse.with {
                $0.header = header(status)
                $0.members = status.members.map(EtcdMember.init)
            }.serializedBytes()
        case .memberPromote:
            let id = try EtcdMemberPromoteRequest(serializedBytes: message).id
            let status = try await change { status in
                let name = try name(of: id, in: status)
                guard status.members.contains(where: { $0.id.rawValue == id && !$0.isVoter }) else {
                    throw EtcdFailure.notLearner
                }
                return .promote(name)
            }
            return try EtcdMemberPromoteResponse.with {
                $0.header = header(status)
                $0.members = status.members.map(EtcdMember.init)
            }.serializedBytes()
        case .memberUpdate:
            throw EtcdFailure(
                .unimplemented,
                "etcdserver: a member keeps its addresses; to move it, add a new one and remove the old: esper cluster replace"
            )
        case .status: return try await answerStatus()
        case .alarm: return try await answerAlarm(EtcdAlarmRequest(serializedBytes: message))
        case .defragment:
            // Nothing is ever fragmented: what is deleted leaves memory, and the log is cut by snapshots.
            let reply = try await query(.summary, linearizable: false)
            return try EtcdDefragmentResponse.with { $0.header = header(reply.revision) }.serializedBytes()
        case .hash:
            let (revision, hash, _) = try await hash(at: .zero)
            return try EtcdHashResponse.with {
                $0.header = header(revision)
                $0.hash = hash
            }.serializedBytes()
        case .hashKV:
            let wanted = Revision(wire: try EtcdHashKVRequest(serializedBytes: message).revision)
            let (revision, hash, compacted) = try await hash(at: wanted)
            return try EtcdHashKVResponse.with {
                $0.header = header(revision)
                $0.hash = hash
                $0.compactRevision = Int64(compacted.rawValue)
            }.serializedBytes()
        case .moveLeader:
            let id = try EtcdMoveLeaderRequest(serializedBytes: message).targetID
            guard let target = try await self.status().members.first(where: { $0.id.rawValue == id && $0.isVoter })
            else {
                throw EtcdFailure.badTransferee
            }
            let body = await call(.transferLeadership(toMember: target.name))
            guard case .transferred = body else { throw EtcdFailure(body) ?? .unexpected }
            let status = try await status()
            return try EtcdMoveLeaderResponse.with { $0.header = header(status) }.serializedBytes()
        case .downgrade:
            throw EtcdFailure(
                .unimplemented, "etcdserver: nodes are replaced one by one to change versions, either way")
        default: return try await answerAuth(method, message)
        }
    }

    // MARK: - Questions

    func call(_ operation: ServiceRequest.Operation) async -> ServiceReply.Body {
        await node.call(operation, principal: principal, timeout: max(deadline - NodeClock.now(), .zero))
    }

    func query(_ query: Query, linearizable: Bool) async throws -> QueryReply {
        let body = await call(.query(query, linearizable: linearizable))
        if let failure = EtcdFailure(body) { throw failure }
        guard case .query(let reply) = body else { throw EtcdFailure.unexpected }
        return reply
    }

    func status() async throws -> ClusterStatus {
        let body = await call(.status)
        guard case .status(let status) = body else { throw EtcdFailure(body) ?? .unexpected }
        return status
    }

    func header(_ status: ClusterStatus) -> EtcdResponseHeader { header(status.revision) }

    func header(_ revision: Revision) -> EtcdResponseHeader { node.etcdHeader(revision) }

    // MARK: - Members

    private func name(of id: UInt64, in status: ClusterStatus) throws -> String {
        guard let member = status.members.first(where: { $0.id.rawValue == id }) else {
            throw EtcdFailure.memberNotFound
        }
        return member.name
    }

    private func change(_ change: (ClusterStatus) throws -> MemberChange) async throws -> ClusterStatus {
        let body = await call(.changeMembers([try change(try await status())]))
        guard case .membersChanged = body else { throw EtcdFailure(body) ?? .unexpected }
        return try await status()
    }

    private func addMember(_ request: EtcdMemberAddRequest) async throws -> [UInt8] {
        guard let url = request.peerUrls.first, let new = NewMember(peerURL: url) else {
            throw EtcdFailure(
                .invalidArgument,
                "etcdserver: given member URLs are invalid: write https://HOST:PORT/?name=NAME&api=HOST:PORT, since a "
                    + "node's name stands in its certificate; or use esper node join")
        }
        guard request.isLearner else {
            throw EtcdFailure(
                .failedPrecondition,
                "etcdserver: a member begins as a learner and is promoted when it has caught up; add it as a learner")
        }
        let status = try await change { _ in .add(new) }
        return try EtcdMemberAddResponse.with { response in
            response.header = header(status)
            response.members = status.members.map(EtcdMember.init)
            response.member = response.members.first { $0.name == new.name } ?? EtcdMember()
        }.serializedBytes()
    }

    // MARK: - Maintenance

    private func answerStatus() async throws -> [UInt8] {
        let status = try await status()
        guard case .summary(let summary) = try await query(.summary, linearizable: false).result else {
            throw EtcdFailure.unexpected
        }
        return try EtcdStatusResponse.with {
            $0.header = header(status)
            $0.version = EtcdDoor.compatibleVersion
            $0.dbSize = Int64(summary.keyspaceBytes)
            $0.dbSizeInUse = Int64(summary.keyspaceBytes)
            $0.leader = status.members.first { $0.name == status.leader }?.id.rawValue ?? 0
            $0.raftIndex = status.commitIndex.rawValue
            $0.raftTerm = status.term.rawValue
            $0.raftAppliedIndex = status.appliedIndex.rawValue
            $0.isLearner = status.members.contains { $0.id.rawValue == node.nodeID.rawValue && !$0.isVoter }
            if status.leader == nil { $0.errors = ["etcdserver: no leader"] }
        }.serializedBytes()
    }

    /// No alarm is ever set or has to be taken back: a full disk refuses writes while it is full, and no longer.
    private func answerAlarm(_ request: EtcdAlarmRequest) async throws -> [UInt8] {
        guard request.action != .activate else {
            throw EtcdFailure(.unimplemented, "etcdserver: alarms are not set by hand")
        }
        let reply = try await query(.summary, linearizable: true)
        return try EtcdAlarmResponse.with { $0.header = header(reply.revision) }.serializedBytes()
    }

    /// A copy of the replicated state, which stays as it is.
    private func state() async throws -> StateMachine {
        let body = await call(.stateCopy(linearizable: true))
        guard case .stateCopy(let copy) = body else { throw EtcdFailure(body) ?? .unexpected }
        return copy.state
    }

    private func hash(at wanted: Revision) async throws -> (Revision, UInt32, compacted: Revision) {
        let state = try await state()
        let hash = try await NIOThreadPool.singleton.runIfActive {
            try state.keyspaceHash(at: wanted == .zero ? state.revision : wanted)
        }
        return (state.revision, UInt32(truncatingIfNeeded: hash), state.compactedRevision)
    }

    /// The state as a snapshot of this program's own format, padded to whole sectors, then its SHA-256, which is what
    /// etcd's tools look for at the end.
    func streamSnapshot(to answers: AdministrativeAnswers) async throws {
        let state = try await state()
        var stream = SnapshotStream(state)
        while !Task.isCancelled {
            let (next, chunk) = try await NIOThreadPool.singleton.runIfActive { [stream] in
                var stream = stream
                let chunk = stream.next()
                return (stream, chunk)
            }
            stream = next
            guard let chunk else { return }
            await answers.send(
                try EtcdSnapshotResponse.with {
                    $0.header = header(state.revision)
                    $0.remainingBytes = chunk.remaining
                    $0.blob = Data(chunk.bytes)
                }.serializedBytes())
        }
    }
}

extension EtcdMember {
    init(_ member: ClusterStatus.Member) {
        self.init()
        id = member.id.rawValue
        name = member.name
        peerUrls = ["https://" + member.address]
        clientUrls = ["https://" + member.apiAddress]
        isLearner = !member.isVoter
    }
}

extension NewMember {
    /// - Parameter url: `https://HOST:PORT/?name=NAME&api=HOST:PORT`, with `&zone=ZONE` if it has one.
    package init?(peerURL url: String) {
        guard url.hasPrefix("https://"), let question = url.firstIndex(of: "?") else { return nil }
        let address = url[url.index(url.startIndex, offsetBy: 8)..<question]
        var fields: [Substring: Substring] = [:]
        for field in url[url.index(after: question)...].split(separator: "&") {
            guard let equals = field.firstIndex(of: "=") else { return nil }
            fields[field[..<equals]] = field[field.index(after: equals)...]
        }
        guard let peer = HostPort(String(address.hasSuffix("/") ? address.dropLast() : address)),
            let name = fields["name"], let api = fields["api"].flatMap({ HostPort(String($0)) })
        else { return nil }
        self.init(name: String(name), peer: peer, api: api, zone: fields["zone"].map(String.init) ?? "")
    }
}
