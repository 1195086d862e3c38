import EsperTypes
import RaftCore

/// What nodes say to each other beside consensus and forwarded commands; carried in `ask` and `answer` frames.
enum PeerQuestion: Equatable {
    case keepAlive(SessionID)
    case transferLeadership(to: NodeID?)
    /// Not a question: what a node says of itself now and then. Never answered.
    case report(NodeReport)
}

enum PeerAnswer: Equatable {
    case keptAlive(ttl: Duration)
    case sessionNotFound
    case notLeader
    case done
    case transferFailed(TransferFailure)
}

/// One node's own words about itself, for the status of the cluster.
struct NodeReport: Equatable {
    var role: Role
    var isLearner: Bool
    var term: Term
    var applied: LogIndex
    var durable: LogIndex
    var version: String
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
                    role: role, isLearner: try reader.readBool(), term: try reader.read(), applied: try reader.read(),
                    durable: try reader.read(), version: try reader.readString(atMost: 64)))
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
        default: throw .unknownTag(UInt64(tag))
        }
        try reader.finish()
    }
}
