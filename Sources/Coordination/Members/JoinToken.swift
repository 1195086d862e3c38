public import EsperTypes

/// A token as it is handed in: by its ID and a digest, never with its secret.
public struct NewJoinToken: Hashable, Sendable {
    public var id: JoinTokenID
    /// SHA-256 of the secret.
    public var secretDigest: [UInt8]
    /// The one node that may join by it; empty: any.
    public var nodeName: String
    /// How many nodes may join by it.
    public var uses: Int
    /// Counted from the entry that creates it.
    public var ttl: Duration

    public init(id: JoinTokenID, secretDigest: [UInt8], nodeName: String = "", uses: Int, ttl: Duration) {
        self.id = id
        self.secretDigest = secretDigest
        self.nodeName = nodeName
        self.uses = uses
        self.ttl = ttl
    }

    /// Refuses terms that no token has.
    public func validate() throws(InvalidCommand) {
        guard secretDigest.count == CoordinationLimits.digestBytes else { throw .digestLength(secretDigest.count) }
        guard nodeName.utf8.count <= CoordinationLimits.memberNameBytes else { throw .memberName }
        guard (1...CoordinationLimits.joinTokenUses).contains(uses), ttl >= CoordinationLimits.minimumJoinTokenTTL,
            ttl <= CoordinationLimits.maximumJoinTokenTTL
        else { throw .joinTokenTerms }
    }
}

/// A node's wish to become a member by a token, made by a node that can sign certificates once it knows the secret.
public struct JoinTokenRedemption: Hashable, Sendable {
    public var token: JoinTokenID
    /// SHA-256 of the secret that was presented.
    public var secretDigest: [UInt8]
    /// SHA-256 of the public key that the node's certificate will be for: who asks again is known by it.
    public var keyDigest: [UInt8]
    public var member: NewMember

    public init(token: JoinTokenID, secretDigest: [UInt8], keyDigest: [UInt8], member: NewMember) {
        self.token = token
        self.secretDigest = secretDigest
        self.keyDigest = keyDigest
        self.member = member
    }

    func validate() throws(InvalidCommand) {
        for digest in [secretDigest, keyDigest] where digest.count != CoordinationLimits.digestBytes {
            throw .digestLength(digest.count)
        }
        try member.validate()
    }
}

/// What the cluster keeps of a join token.
public struct JoinTokenRecord: Hashable, Sendable {
    /// One node that joined by the token.
    public struct Use: Hashable, Sendable {
        public var name: String
        public var node: NodeID
    }

    public let id: JoinTokenID
    package let secretDigest: [UInt8]
    /// The one node that may join by it; empty: any.
    public let nodeName: String
    public let uses: Int
    /// On the replicated clock, in nanoseconds since 1970.
    public let expires: UInt64
    /// The principal that made it.
    public let creator: String
    public package(set) var isRevoked = false
    /// The nodes that have joined by it, in order; never more than ``uses``.
    public package(set) var used: [Use] = []

    init(_ new: NewJoinToken, expires: UInt64, creator: String) {
        id = new.id
        secretDigest = new.secretDigest
        nodeName = new.nodeName
        uses = new.uses
        self.expires = expires
        self.creator = creator
    }

    /// Compares in a time that does not depend on where the digests differ.
    func isSecret(_ digest: [UInt8]) -> Bool {
        digest.count == secretDigest.count && zip(digest, secretDigest).reduce(0) { $0 | ($1.0 ^ $1.1) } == 0
    }
}

/// Every join token that the cluster knows, bounded: those that have expired make room; and by which key each member is known
/// that joined by one.
public struct JoinTokenTable: Hashable, Sendable {
    /// Whoever has this key is that member.
    public struct MemberKey: Hashable, Sendable {
        public var node: NodeID
        /// SHA-256 of the public key.
        public var digest: [UInt8]
    }

    /// In the order in which they were made.
    public package(set) var records: [JoinTokenRecord] = []

    /// Of members that joined by a token, in that order.
    public package(set) var keys: [MemberKey] = []

    init() {}

    public func record(_ id: JoinTokenID) -> JoinTokenRecord? { records.first { $0.id == id } }

    func isKey(_ digest: [UInt8], of node: NodeID) -> Bool {
        keys.contains { $0.node == node && $0.digest == digest }
    }

    mutating func dropExpired(at time: UInt64) { records.removeAll { $0.expires <= time } }

    mutating func revoke(_ id: JoinTokenID) -> JoinTokenRecord? {
        guard let position = records.firstIndex(where: { $0.id == id }) else { return nil }
        records[position].isRevoked = true
        return records[position]
    }

    mutating func use(_ id: JoinTokenID, by member: MemberRecord, keyDigest: [UInt8]) {
        guard let position = records.firstIndex(where: { $0.id == id }) else { return }
        records[position].used.append(.init(name: member.name, node: member.id))
        keys.append(MemberKey(node: member.id, digest: keyDigest))
    }

    /// The member is no more, and its key nobody's.
    mutating func forget(_ node: NodeID) { keys.removeAll { $0.node == node } }
}

extension NewJoinToken {
    func encode(into writer: inout ByteWriter) {
        writer.write(id)
        writer.write(secretDigest)
        writer.write(nodeName)
        writer.write(UInt32(clamping: uses))
        writer.write(ttl.nanoseconds)
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        self.init(
            id: try reader.read(), secretDigest: try reader.readDigest(),
            nodeName: try reader.readString(atMost: CoordinationLimits.memberNameBytes),
            uses: Int(try reader.read(UInt32.self)), ttl: try Duration(from: &reader))
    }
}

extension JoinTokenRedemption {
    func encode(into writer: inout ByteWriter) {
        writer.write(token)
        writer.write(secretDigest)
        writer.write(keyDigest)
        member.encode(into: &writer)
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        self.init(
            token: try reader.read(), secretDigest: try reader.readDigest(), keyDigest: try reader.readDigest(),
            member: try NewMember(from: &reader))
    }
}

extension JoinTokenRecord {
    func encode(into writer: inout ByteWriter) {
        writer.write(id)
        writer.write(secretDigest)
        writer.write(nodeName)
        writer.write(UInt32(uses))
        writer.write(expires)
        writer.write(creator)
        writer.write(isRevoked)
        writer.write(array: used) {
            $0.write($1.name)
            $0.write($1.node)
        }
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        id = try reader.read()
        secretDigest = try reader.readDigest()
        nodeName = try reader.readString(atMost: CoordinationLimits.memberNameBytes)
        uses = Int(try reader.read(UInt32.self))
        expires = try reader.read()
        creator = try reader.readString(atMost: CoordinationLimits.principalBytes * 3)
        isRevoked = try reader.readBool()
        used = try reader.readArray(atMost: CoordinationLimits.joinTokenUses) { reader throws(DecodingError) in
            Use(
                name: try reader.readString(atMost: CoordinationLimits.memberNameBytes), node: try reader.read())
        }
    }
}

extension JoinTokenTable.MemberKey {
    func encode(into writer: inout ByteWriter) {
        writer.write(node)
        writer.write(digest)
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        self.init(node: try reader.read(), digest: try reader.readDigest())
    }
}

extension ByteReader {
    fileprivate mutating func readDigest() throws(DecodingError) -> [UInt8] {
        try readBytes(atMost: CoordinationLimits.digestBytes)
    }
}
