import Coordination
import EsperTypes
import EtcdProtocol
import FoundationEssentials
import GRPCTransport
import NIOPosix
import RaftRuntime
import SwiftProtobuf

/// One call of the cluster, maintenance or auth service, from request to answer.
struct EtcdAdministration: Sendable {
    let node: NodeHandle
    let principal: String
    let deadline: Instant

    /// - Throws: whatever ``EtcdFailure/init(_:)-(any_Error)`` takes.
    func answer(_ method: EtcdMethod, _ message: [UInt8]) async throws -> [UInt8] {
        switch method {
        case .memberList, .memberAdd, .memberRemove, .memberPromote, .memberUpdate:
            return try await answerMembers(method, message)
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
            $0.errors += alarms(status).map {
                "memberID:\($0.memberID) alarm:\($0.alarm == .corrupt ? "CORRUPT" : "NOSPACE") "
            }
        }.serializedBytes()
    }

    /// An alarm is no switch here but a fact: a member whose disk has no room takes no entries, whether it leads or not,
    /// until there is room again; one whose state differs is not to be trusted. So nobody sets one, and what somebody takes back is there again as long as it is true.
    private func answerAlarm(_ request: EtcdAlarmRequest) async throws -> [UInt8] {
        guard request.action != .activate else {
            throw EtcdFailure(.unimplemented, "etcdserver: alarms are not set by hand")
        }
        let reply = try await query(.summary, linearizable: true)
        let alarms = alarms(try await status())
        return try EtcdAlarmResponse.with {
            $0.header = header(reply.revision)
            $0.alarms = alarms.filter { alarm in
                request.action == .get
                    ? request.alarm == .none || request.alarm == alarm.alarm
                    : request.alarm == alarm.alarm && request.memberID == alarm.memberID
            }
        }.serializedBytes()
    }

    /// As far as this node knows: of itself, and of the members that it hears.
    private func alarms(_ status: ClusterStatus) -> [EtcdAlarmMember] {
        func alarm(_ kind: EtcdAlarmType) -> (ClusterStatus.Member) -> EtcdAlarmMember {
            { member in
                .with {
                    $0.memberID = member.id.rawValue
                    $0.alarm = kind
                }
            }
        }
        return status.members.filter(\.isStorageFull).map(alarm(.nospace))
            + status.members.filter(\.isStateDifferent).map(alarm(.corrupt))
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
