import Coordination
import EsperTypes
import EtcdProtocol
import GRPCTransport
import RaftRuntime
import SwiftProtobuf

// Calls that are one question to the node: translated, asked, and answered when the reply comes.
extension EtcdLane {
    /// Begins a call, whatever its kind.
    func answerOrAsk(_ call: EtcdCall, _ now: Instant) throws {
        let deadline = call.deadline ?? now + Self.defaultTimeout
        var lease: Int64 = 0
        let operation: ServiceRequest.Operation
        switch call.method {
        case .range:
            let question = try RangeQuestion(WireFields(call.message))
            if question.isSerializable, let reply = node.answer(.range(question.request), to: call.principal) {
                return answer(call.caller, .range, lease, .query(reply))
            }
            operation = question.operation
        case .put: operation = .command(.put(try Command.Put(WireFields(call.message))), nil)
        case .deleteRange: operation = .command(.delete(try Command.Delete(WireFields(call.message))), nil)
        case .txn: operation = try TransactionRequest(WireFields(call.message)).operation
        case .compact:
            let request = try EtcdCompactionRequest(serializedBytes: call.message)
            operation = .command(.compact(through: Revision(wire: request.revision)), nil)
        case .leaseGrant:
            operation = .command(try LeaseTerms(EtcdLeaseGrantRequest(serializedBytes: call.message)).command, nil)
        case .leaseRevoke:
            lease = try EtcdLeaseRevokeRequest(serializedBytes: call.message).id
            operation = .command(.revokeSession(try SessionID(existing: lease)), nil)
        case .leaseTimeToLive:
            let request = try EtcdLeaseTimeToLiveRequest(serializedBytes: call.message)
            lease = request.id
            operation = .timeToLive(try SessionID(existing: lease), withKeys: request.keys)
        case .leaseLeases: return listLeases(call, deadline)
        case .watch: return WatchStream.begin(call, in: self)
        case .leaseKeepAlive: return KeepAliveStream.begin(call, in: self)
        case .lock, .campaign: return try QueueWait.begin(call, deadline: call.deadline, in: self)
        case .observe: return try Observation.begin(call, in: self)
        case .unlock, .proclaim, .leader, .resign: return try answerRecipe(call, deadline)
        default: return AdministrativeCall.begin(call, deadline, in: self)
        }
        ask(operation, call.principal, deadline: deadline, .unary(call.caller, call.method, lease: lease))
    }

    /// What a unary call is answered with.
    ///
    /// - Throws: what it ends with instead.
    func message(_ method: EtcdMethod, _ lease: Int64, _ body: ServiceReply.Body) throws -> [UInt8] {
        switch body {
        case .command(let reply): return try message(reply)
        case .query(let reply): return try message(reply)
        case .timeToLive(let told):
            return try EtcdLeaseTimeToLiveResponse.with {
                $0.header = header()
                $0.id = lease
                $0.ttl = told.remaining.wholeSeconds
                $0.grantedTtl = told.granted.wholeSeconds
                $0.keys = told.keys.map { .init($0) }
            }.serializedBytes()
        case .failed(let failure) where method == .leaseTimeToLive && failure.code == .sessionNotFound:
            return try EtcdLeaseTimeToLiveResponse.with {
                $0.header = header()
                $0.id = lease
                $0.ttl = -1
            }.serializedBytes()
        default: throw EtcdFailure(body) ?? .unexpected
        }
    }

    private func message(_ reply: CommandReply) throws -> [UInt8] {
        let header = header(reply.revision)
        switch reply.result {
        case .refused(let refusal): throw refusal
        case .put(let put): return EtcdAnswer.bytes(header) { $0.put(put) }
        case .deleted(let delete): return EtcdAnswer.bytes(header) { $0.delete(delete) }
        case .transaction(let transaction): return EtcdAnswer.transaction(transaction, header)
        case .compacted: return EtcdAnswer.bytes(header)
        case .sessionGranted(let session, let ttl):
            return try EtcdLeaseGrantResponse.with {
                $0.header = header
                $0.id = session.lease
                $0.ttl = ttl.wholeSeconds
            }.serializedBytes()
        case .sessionEnded: return EtcdAnswer.bytes(header)
        default: throw EtcdFailure.unexpected
        }
    }

    private func message(_ reply: QueryReply) throws -> [UInt8] {
        let header = header(reply.revision)
        switch reply.result {
        case .refused(let refusal): throw refusal
        case .range(let range): return EtcdAnswer.range(range, header)
        case .transaction(let transaction): return EtcdAnswer.transaction(transaction, header)
        default: throw EtcdFailure.unexpected
        }
    }
}

/// A lease as it is asked for.
struct LeaseTerms {
    /// Who asks for less gets this: what an election may take must not end a lease.
    private static let shortest: Int64 = 1

    var command: Command

    init(_ request: EtcdLeaseGrantRequest) throws(EtcdFailure) {
        guard request.id >= 0 else { throw .leaseNotFound }
        guard request.ttl <= CoordinationLimits.maximumChosenTTL.wholeSeconds else { throw .leaseTooLong }
        var random = SystemRandomNumberGenerator()
        // Sixteen hexadecimal digits, like etcd's own: recipes write them into keys.
        let id = request.id != 0 ? UInt64(request.id) : UInt64.random(in: 1 << 60..<1 << 63, using: &random)
        command = .grantSession(id: SessionID(id), ttl: .seconds(max(request.ttl, Self.shortest)))
    }
}

extension SessionID {
    /// - Throws: ``EtcdFailure/leaseNotFound`` for the number that no lease has.
    init(existing lease: Int64) throws(EtcdFailure) {
        guard let session = SessionID(lease: lease) else { throw .leaseNotFound }
        self = session
    }
}

extension Duration {
    /// Rounded up, so that what is left of a lease is not taken for nothing.
    var wholeSeconds: Int64 {
        let (seconds, attoseconds) = components
        return attoseconds > 0 ? seconds + 1 : seconds
    }
}
