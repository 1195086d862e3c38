import Coordination
import EsperTypes
import EtcdProtocol
import FoundationEssentials
import RaftRuntime
import SwiftProtobuf

// The calls of the lock and election services that do not wait.
extension EtcdLane {
    func answerRecipe(_ call: EtcdCall, _ deadline: Instant) throws {
        switch call.method {
        case .unlock:
            let key = [UInt8](try EtcdUnlockRequest(serializedBytes: call.message).key)
            guard !key.isEmpty else { throw EtcdFailure.emptyKey }
            answer(call, deadline, .command(.delete(Command.Delete(.key(key))), nil)) { lane, body in
                guard case .command(let reply) = body, case .deleted = reply.result else { throw Self.failure(body) }
                return EtcdAnswer.bytes(lane.header(reply.revision))
            }
        case .proclaim:
            let request = try EtcdProclaimRequest(serializedBytes: call.message)
            guard request.hasLeader else { throw EtcdFailure.electionLeaderMissing }
            let put = Command.Put(
                key: [UInt8](request.leader.key), value: [UInt8](request.value),
                session: SessionID(lease: request.leader.lease))
            answer(call, deadline, .command(.transaction(asLeader(request.leader, .put(put))), nil)) { lane, body in
                EtcdAnswer.bytes(lane.header(try Self.leaderDid(body)))
            }
        case .resign:
            let request = try EtcdResignRequest(serializedBytes: call.message)
            guard request.hasLeader else { throw EtcdFailure.electionLeaderMissing }
            let delete = Command.Delete(.key([UInt8](request.leader.key)))
            answer(call, deadline, .command(.transaction(asLeader(request.leader, .delete(delete))), nil)) {
                lane, body in
                guard case .command(let reply) = body, case .transaction = reply.result else {
                    throw Self.failure(body)
                }
                // Who does not lead has nothing to resign from.
                return EtcdAnswer.bytes(lane.header(reply.revision))
            }
        default:
            let name = [UInt8](try EtcdLeaderRequest(serializedBytes: call.message).name)
            answer(call, deadline, .query(.range(EtcdQueue(name).firstClaim), linearizable: true)) { lane, body in
                guard case .query(let reply) = body, case .range(let range) = reply.result else {
                    throw Self.failure(body)
                }
                guard let leader = range.keyValues.first else { throw EtcdFailure.electionNoLeader }
                return EtcdAnswer.keyValue(leader, lane.header(reply.revision))
            }
        }
    }

    /// Asks once, and answers with what `response` makes of the reply.
    private func answer(
        _ call: EtcdCall, _ deadline: Instant, _ operation: ServiceRequest.Operation,
        _ response: @escaping (EtcdLane, ServiceReply.Body) throws -> [UInt8]
    ) {
        let caller = call.caller
        ask(
            operation, call.principal, deadline: deadline,
            .then { [unowned self] body in
                do {
                    reply(caller, try response(self, body))
                } catch {
                    finish(caller, EtcdFailure(error).status)
                }
            })
    }

    private func asLeader(_ leader: EtcdLeaderKey, _ operation: Transaction.Operation) -> Transaction {
        Transaction(
            compares: [
                Compare(.key([UInt8](leader.key)), .equal, .createRevision(Revision(wire: leader.rev)))
            ], success: [operation])
    }

    private static func leaderDid(_ body: ServiceReply.Body) throws -> Revision {
        guard case .command(let reply) = body, case .transaction(let done) = reply.result else { throw failure(body) }
        guard done.succeeded else { throw EtcdFailure.electionNotLeader }
        return reply.revision
    }

    private static func failure(_ body: ServiceReply.Body) -> EtcdFailure { EtcdFailure(body) ?? .unexpected }
}
