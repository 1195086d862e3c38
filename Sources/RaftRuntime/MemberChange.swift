public import Coordination
public import EsperTypes

/// One wish of an operator about who is a member, by name. Several are carried out at once or not at all.
public enum MemberChange: Hashable, Sendable {
    /// Give the node an ID and send it the log, without a vote.
    case add(NewMember)
    /// Give this learner a vote.
    case promote(String)
    /// Take this voter's vote and go on sending it the log.
    case demote(String)
    /// Take the node out.
    case remove(String)
    /// Give the vote of one, which leaves, to the other, a learner.
    case replace(String, with: String)

    /// Members that it is about and that must be there.
    var names: [String] {
        switch self {
        case .add: []
        case .promote(let name), .demote(let name), .remove(let name): [name]
        case .replace(let old, let new): [old, new]
        }
    }

    /// For the audit trail.
    var word: String {
        switch self {
        case .add: "learner_added"
        case .promote: "voter_added"
        case .demote: "voter_demoted"
        case .remove: "removed"
        case .replace: "replaced"
        }
    }
}

/// What became of the changes: they are committed.
public struct MembershipReply: Hashable, Sendable {
    /// The log index of the configuration that holds them.
    public var index: LogIndex
    /// The members they were about, in the order in which they were asked for.
    public var members: [NodeID]

    public init(index: LogIndex, members: [NodeID]) {
        self.index = index
        self.members = members
    }
}

/// Changes on their way to the leader.
struct MembershipOrder: Hashable, Sendable {
    var changes: [MemberChange]
    /// Who was meant: a name may be forgotten, or another node's, by the time a second leader is asked.
    var known: [String: NodeID] = [:]
    /// A leader that leads no more may have begun it: that is waited for, and until it is found out nobody is told that nothing was
    /// changed.
    var isRepeat = false
    var principal: String
    /// How long the caller waits from now on.
    var patience: Duration

    static let maximumChanges = 16
}

extension MembershipOrder {
    func encode(into writer: inout ByteWriter) {
        writer.write(array: changes) { $1.encode(into: &$0) }
        writer.write(array: known.sorted { $0.key < $1.key }) {
            $0.write($1.key)
            $0.write($1.value)
        }
        writer.write(isRepeat)
        writer.write(principal)
        writer.write(patience.nanoseconds)
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        changes = try reader.readArray(atMost: Self.maximumChanges) { reader throws(DecodingError) in
            try MemberChange(from: &reader)
        }
        let known = try reader.readArray(atMost: 2 * Self.maximumChanges) { reader throws(DecodingError) in
            (try reader.readString(atMost: CoordinationLimits.memberNameBytes), try reader.read(NodeID.self))
        }
        self.known = Dictionary(known, uniquingKeysWith: { first, _ in first })
        isRepeat = try reader.readBool()
        principal = try reader.readString(atMost: CoordinationLimits.principalBytes * 3)
        patience = .nanoseconds(try reader.read(Int64.self))
    }
}

extension MemberChange {
    fileprivate func encode(into writer: inout ByteWriter) {
        switch self {
        case .add(let new):
            writer.write(UInt8(1))
            new.encode(into: &writer)
        case .promote(let name): writer.write(2, name)
        case .demote(let name): writer.write(3, name)
        case .remove(let name): writer.write(4, name)
        case .replace(let old, let new):
            writer.write(5, old)
            writer.write(new)
        }
    }

    fileprivate init(from reader: inout ByteReader) throws(DecodingError) {
        func name(_ reader: inout ByteReader) throws(DecodingError) -> String {
            try reader.readString(atMost: CoordinationLimits.memberNameBytes)
        }
        switch try reader.read(UInt8.self) {
        case 1: self = .add(try NewMember(from: &reader))
        case 2: self = .promote(try name(&reader))
        case 3: self = .demote(try name(&reader))
        case 4: self = .remove(try name(&reader))
        case 5: self = .replace(try name(&reader), with: try name(&reader))
        case let tag: throw .unknownTag(UInt64(tag))
        }
    }
}

extension ByteWriter {
    fileprivate mutating func write(_ tag: UInt8, _ name: String) {
        write(tag)
        write(name)
    }
}
