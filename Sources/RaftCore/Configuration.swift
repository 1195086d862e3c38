public import EsperTypes

/// Who votes and who listens: one majority, or two during joint consensus (§6, dissertation §4.3).
///
/// Member lists are sorted and free of duplicates. A configuration is in force from the moment its entry is
/// appended, on every node, whether or not it is committed yet.
///
/// Invariants (``isValid``):
/// - `incoming` has at least one voter.
/// - No learner is a voter of either half.
/// - `learnersNext` are voters of `outgoing` only: they step back to learner when the joint configuration is left.
/// - Outside joint consensus `outgoing` and `learnersNext` are empty and `autoLeave` is false.
public struct Configuration: Hashable, Sendable {
    /// The voters; during joint consensus those of the new configuration.
    public private(set) var incoming: [NodeID]
    /// The voters of the old configuration during joint consensus, else empty.
    public private(set) var outgoing: [NodeID]
    /// Members that receive the log and do not vote.
    public private(set) var learners: [NodeID]
    /// Voters of `outgoing` that become learners when the joint configuration is left.
    public private(set) var learnersNext: [NodeID]
    /// Whether the leader leaves the joint configuration by itself as soon as it is committed.
    public private(set) var autoLeave: Bool

    public init(
        voters incoming: [NodeID],
        outgoing: [NodeID] = [],
        learners: [NodeID] = [],
        learnersNext: [NodeID] = [],
        autoLeave: Bool = false
    ) {
        self.incoming = Self.normalized(incoming)
        self.outgoing = Self.normalized(outgoing)
        self.learners = Self.normalized(learners)
        self.learnersNext = Self.normalized(learnersNext)
        self.autoLeave = autoLeave
    }

    /// What a node that is to join knows: nobody. It waits for a leader to tell it more, and never campaigns.
    public static let none = Configuration(voters: [])

    /// Whether two majorities must agree.
    public var isJoint: Bool { !outgoing.isEmpty }

    /// Every voter of either half, sorted, each once.
    public var voters: [NodeID] { isJoint ? Self.normalized(incoming + outgoing) : incoming }

    /// Every member, sorted, each once.
    public var members: [NodeID] { Self.normalized(incoming + outgoing + learners + learnersNext) }

    public func isVoter(_ id: NodeID) -> Bool { incoming.contains(id) || outgoing.contains(id) }

    public func isLearner(_ id: NodeID) -> Bool { learners.contains(id) }

    public func contains(_ id: NodeID) -> Bool { isVoter(id) || isLearner(id) || learnersNext.contains(id) }

    /// The two majorities that decide.
    public var quorum: JointQuorum { JointQuorum(incoming: incoming, outgoing: outgoing) }

    /// Whether the invariants of the type hold; ``none`` is no configuration that a log could carry.
    public var isValid: Bool {
        guard !incoming.isEmpty, !learners.contains(where: isVoter) else { return false }
        guard isJoint else { return learnersNext.isEmpty && !autoLeave }
        return learnersNext.allSatisfy { outgoing.contains($0) && !incoming.contains($0) }
    }

    private static func normalized(_ members: [NodeID]) -> [NodeID] {
        var result: [NodeID] = []
        result.reserveCapacity(members.count)
        for member in members.sorted() where result.last != member { result.append(member) }
        return result
    }
}

extension Configuration {
    /// The most members one list of an encoded configuration may have.
    public static let maximumMembers = 64

    private static let formatVersion: UInt8 = 1

    /// The payload of a `.configuration` entry: a version byte, the four lists, the flag.
    public func encoded() -> [UInt8] {
        var writer = ByteWriter(capacity: 24 + members.count * 8)
        writer.write(Self.formatVersion)
        for list in [incoming, outgoing, learners, learnersNext] {
            writer.write(array: list) { $0.write($1) }
        }
        writer.write(autoLeave)
        return writer.bytes
    }

    /// Reads what ``encoded()`` wrote.
    ///
    /// - Throws: ``DecodingError`` for bytes that are neither a valid configuration nor ``none``.
    public init(decoding bytes: [UInt8]) throws(DecodingError) {
        var reader = ByteReader(bytes)
        let version = try reader.read(UInt8.self)
        guard version == Self.formatVersion else { throw .unknownTag(UInt64(version)) }
        let incoming = try Self.readList(&reader)
        let outgoing = try Self.readList(&reader)
        let learners = try Self.readList(&reader)
        let learnersNext = try Self.readList(&reader)
        let autoLeave = try reader.readBool()
        try reader.finish()
        self.init(
            voters: incoming, outgoing: outgoing, learners: learners, learnersNext: learnersNext, autoLeave: autoLeave)
        guard isValid || self == .none else { throw .unknownTag(UInt64(version)) }
    }

    private static func readList(_ reader: inout ByteReader) throws(DecodingError) -> [NodeID] {
        let list = try reader.readArray(atMost: maximumMembers) { (element: inout ByteReader) throws(DecodingError) in
            try element.read(NodeID.self)
        }
        // There is one way to write a configuration.
        for (one, next) in zip(list, list.dropFirst()) where one >= next { throw .unknownTag(next.rawValue) }
        return list
    }
}

extension Configuration: CustomStringConvertible {
    /// etcd's notation: `voters=(1 2 3)&&(3 4) learners=(5) learnersNext=(4) autoLeave`.
    public var description: String {
        func list(_ members: [NodeID]) -> String {
            "(" + members.map { String($0.rawValue, radix: 16) }.joined(separator: " ") + ")"
        }
        var text = "voters=" + list(incoming)
        if isJoint { text += "&&" + list(outgoing) }
        if !learners.isEmpty { text += " learners=" + list(learners) }
        if !learnersNext.isEmpty { text += " learnersNext=" + list(learnersNext) }
        if autoLeave { text += " autoLeave" }
        return text
    }
}
