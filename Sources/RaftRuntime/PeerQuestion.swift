import Coordination
import EsperTypes
import RaftCore

/// What nodes say to each other beside consensus and forwarded commands; carried in `ask` and `answer` frames.
enum PeerQuestion: Equatable {
    case keepAlive(SessionID)
    /// The leader tells the time alone; the keys are read where they were asked for.
    case timeToLive(SessionID, withKeys: Bool)
    case transferLeadership(to: NodeID?)
    /// Not a question: what a node says of itself now and then. Never answered.
    case report(NodeReport)
    /// Not a question either: the newest table of members that a node knows.
    case members(MemberTable)
    case changeMembers(MembershipOrder)
    /// To lead nothing and serve nobody, or to do so again.
    case setAside(Bool)
    /// Not a question either: an operator has set the node that says so aside, or no more.
    case standsAside(Bool)
    /// Not a question either: what a node's state was at some indexes, by which rule.
    case marks(format: UInt16, [StateMark])
    /// To certify the key of the node that asks for longer.
    case certify(CertificationRequest)

    /// Whether it matters to the caller that nobody was asked: then nothing was changed.
    var changesMembers: Bool {
        switch self {
        case .changeMembers, .setAside: true
        case .keepAlive, .timeToLive, .transferLeadership, .report, .members, .standsAside, .marks, .certify: false
        }
    }
}

enum PeerAnswer: Equatable {
    case keptAlive(ttl: Duration)
    case timeToLive(granted: Duration, remaining: Duration)
    case sessionNotFound
    case notLeader
    case done
    case transferFailed(TransferFailure)
    case membersChanged(MembershipReply)
    /// Nothing was done, and why.
    case refused(ServiceFailure.Code, String)
    /// As PEM.
    case certified(String)
    /// A stable word, and why.
    case notCertified(String, String)

    /// The longest reason that is sent.
    static let messageBytes = 2048
}

/// One node's own words about itself, for the status of the cluster.
struct NodeReport: Equatable {
    var role: Role
    var isLearner: Bool
    var term: Term
    var applied: LogIndex
    var durable: LogIndex
    var version: String
    /// Its disk has no room: it takes no more entries.
    var isStorageFull = false
}

extension PeerQuestion {
    func encoded() -> [UInt8] {
        var writer = ByteWriter(capacity: 48)
        switch self {
        case .keepAlive(let session):
            writer.write(UInt8(1))
            writer.write(session)
        case .transferLeadership(let target):
            writer.write(UInt8(2))
            writer.write(optional: target) { $0.write($1) }
        case .report(let report):
            writer.write(UInt8(3))
            writer.write(report.role.rawValue)
            writer.write(report.isLearner)
            writer.write(report.term)
            writer.write(report.applied)
            writer.write(report.durable)
            writer.write(report.version)
            writer.write(report.isStorageFull)
        case .members(let table):
            writer.write(UInt8(4))
            table.encode(into: &writer)
        case .changeMembers(let order):
            writer.write(UInt8(5))
            order.encode(into: &writer)
        case .setAside(let isSetAside):
            writer.write(UInt8(6))
            writer.write(isSetAside)
        case .standsAside(let isSetAside):
            writer.write(UInt8(8))
            writer.write(isSetAside)
        case .marks(let format, let marks):
            writer.write(UInt8(7))
            writer.write(format)
            writer.write(array: marks) {
                $0.write($1.index)
                $0.write($1.hash)
            }
        case .timeToLive(let session, let withKeys):
            writer.write(UInt8(9))
            writer.write(session)
            writer.write(withKeys)
        case .certify(let request):
            writer.write(UInt8(10))
            writer.write(request.certificateRequest)
            writer.write(request.certificatePEM)
        }
        return writer.bytes
    }

    init(decoding bytes: [UInt8]) throws(DecodingError) {
        var reader = ByteReader(bytes)
        let tag = try reader.read(UInt8.self)
        switch tag {
        case 1: self = .keepAlive(try reader.read())
        case 2:
            self = .transferLeadership(
                to: try reader.readOptional { (reader) throws(DecodingError) in try reader.read(NodeID.self) })
        case 3:
            let written = try reader.read(UInt8.self)
            guard let role = Role(rawValue: written) else { throw .unknownTag(UInt64(written)) }
            self = .report(
                NodeReport(
                    role: role, isLearner: try reader.readBool(), term: try reader.readReachable(),
                    applied: try reader.readReachable(), durable: try reader.readReachable(),
                    version: try reader.readString(atMost: 64),
                    isStorageFull: try reader.readBool()))
        case 4: self = .members(try MemberTable(from: &reader))
        case 5: self = .changeMembers(try MembershipOrder(from: &reader))
        case 6: self = .setAside(try reader.readBool())
        case 7:
            let format = try reader.read(UInt16.self)
            let marks = try reader.readArray(atMost: StateAgreement.maximumSent) { reader throws(DecodingError) in
                StateMark(index: try reader.readReachable(), hash: try reader.read())
            }
            self = .marks(format: format, marks)
        case 8: self = .standsAside(try reader.readBool())
        case 9: self = .timeToLive(try reader.read(), withKeys: try reader.readBool())
        case 10:
            self = .certify(
                CertificationRequest(
                    certificateRequest: try reader.readBytes(atMost: CertificationRequest.maximumBytes),
                    certificatePEM: try reader.readString(atMost: CertificationRequest.maximumBytes)))
        default: throw .unknownTag(UInt64(tag))
        }
        try reader.finish()
    }
}

extension PeerAnswer {
    func encoded() -> [UInt8] {
        var writer = ByteWriter(capacity: 16)
        switch self {
        case .keptAlive(let ttl):
            writer.write(UInt8(1))
            writer.write(ttl.nanoseconds)
        case .sessionNotFound: writer.write(UInt8(2))
        case .notLeader: writer.write(UInt8(3))
        case .done: writer.write(UInt8(4))
        case .transferFailed(let failure):
            writer.write(UInt8(5))
            writer.write(failure.rawValue)
        case .membersChanged(let done):
            writer.write(UInt8(6))
            writer.write(done.index)
            writer.write(array: done.members) { $0.write($1) }
        case .refused(let code, let message):
            writer.write(UInt8(7))
            writer.write(code.rawValue)
            writer.write(String(decoding: message.utf8.prefix(Self.messageBytes), as: UTF8.self))
        case .timeToLive(let granted, let remaining):
            writer.write(UInt8(8))
            writer.write(granted.nanoseconds)
            writer.write(remaining.nanoseconds)
        case .certified(let pem):
            writer.write(UInt8(9))
            writer.write(pem)
        case .notCertified(let code, let message):
            writer.write(UInt8(10))
            writer.write(code)
            writer.write(String(decoding: message.utf8.prefix(Self.messageBytes), as: UTF8.self))
        }
        return writer.bytes
    }

    init(decoding bytes: [UInt8]) throws(DecodingError) {
        var reader = ByteReader(bytes)
        let tag = try reader.read(UInt8.self)
        switch tag {
        case 1: self = .keptAlive(ttl: .nanoseconds(try reader.read(Int64.self)))
        case 2: self = .sessionNotFound
        case 3: self = .notLeader
        case 4: self = .done
        case 5:
            let word = try reader.readString(atMost: 64)
            self = .transferFailed(TransferFailure(rawValue: word) ?? .timedOut)
        case 6:
            let index = try reader.readReachable(LogIndex.self)
            let members = try reader.readArray(atMost: MembershipOrder.maximumChanges) {
                reader throws(DecodingError) in try reader.read(NodeID.self)
            }
            self = .membersChanged(MembershipReply(index: index, members: members))
        case 7:
            let word = try reader.readString(atMost: 64)
            // A cut character is repaired with three bytes.
            let message = try reader.readString(atMost: Self.messageBytes + 8)
            self = .refused(ServiceFailure.Code(rawValue: word) ?? .changeRefused, message)
        case 8:
            self = .timeToLive(
                granted: .nanoseconds(try reader.read(Int64.self)), remaining: .nanoseconds(try reader.read(Int64.self))
            )
        case 9: self = .certified(try reader.readString(atMost: CertificationRequest.maximumBytes))
        case 10:
            self = .notCertified(
                try reader.readString(atMost: 64), try reader.readString(atMost: Self.messageBytes + 8))
        default: throw .unknownTag(UInt64(tag))
        }
        try reader.finish()
    }
}
