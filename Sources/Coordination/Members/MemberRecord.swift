public import EsperTypes

/// One line of the cluster's address book: who a node is and where it is reached.
///
/// Whether it votes or listens is not here but in the configuration of consensus, which alone decides that.
public struct MemberRecord: Hashable, Sendable {
    public var id: NodeID
    /// The name in its certificate, unique among the members.
    public var name: String
    /// Where its peers reach it.
    public var peer: HostPort
    /// Where clients reach it.
    public var api: HostPort
    /// The failure domain; may be empty.
    public var zone: String
    /// Whether a committed configuration has held it. One that has and is in the configuration no more has been removed,
    /// and only waits to be forgotten.
    public var isEnrolled: Bool
    /// The life of its disk that is the member: the first that was seen. Another one is not the same node.
    public var incarnation: Incarnation?

    public init(
        id: NodeID, name: String, peer: HostPort, api: HostPort, zone: String = "", isEnrolled: Bool = false,
        incarnation: Incarnation? = nil
    ) {
        self.id = id
        self.name = name
        self.peer = peer
        self.api = api
        self.zone = zone
        self.isEnrolled = isEnrolled
        self.incarnation = incarnation
    }
}

/// What a node says of itself when it is to become a member; the cluster gives it its ID.
public struct NewMember: Hashable, Sendable {
    public var name: String
    public var peer: HostPort
    public var api: HostPort
    public var zone: String

    public init(name: String, peer: HostPort, api: HostPort, zone: String = "") {
        self.name = name
        self.peer = peer
        self.api = api
        self.zone = zone
    }

    /// Refuses what no member may be called or reached at.
    public func validate() throws(InvalidCommand) {
        let count = name.utf8.count
        guard (1...CoordinationLimits.memberNameBytes).contains(count) else { throw .memberName }
        for address in [peer, api] {
            guard (1...CoordinationLimits.memberHostBytes).contains(address.host.utf8.count),
                (1...65_535).contains(address.port)
            else { throw .memberAddress }
        }
        guard zone.utf8.count <= CoordinationLimits.memberNameBytes else { throw .memberZone }
    }
}

extension MemberRecord {
    /// Without what only the cluster knows.
    public var described: NewMember { NewMember(name: name, peer: peer, api: api, zone: zone) }

    package func encode(into writer: inout ByteWriter) {
        writer.write(id)
        described.encode(into: &writer)
        writer.write(isEnrolled)
        writer.write(optional: incarnation) { $0.write($1) }
    }

    package init(from reader: inout ByteReader) throws(DecodingError) {
        let id = try reader.read(NodeID.self)
        let new = try NewMember(from: &reader)
        self.init(
            id: id, name: new.name, peer: new.peer, api: new.api, zone: new.zone, isEnrolled: try reader.readBool(),
            incarnation: try reader.readOptional { reader throws(DecodingError) in try reader.read(Incarnation.self) })
    }
}

extension NewMember {
    package func encode(into writer: inout ByteWriter) {
        writer.write(name)
        for address in [peer, api] {
            writer.write(address.host)
            writer.write(UInt16(clamping: address.port))
        }
        writer.write(zone)
    }

    package init(from reader: inout ByteReader) throws(DecodingError) {
        let name = try reader.readString(atMost: CoordinationLimits.memberNameBytes)
        let peer = try HostPort(from: &reader)
        let api = try HostPort(from: &reader)
        self.init(
            name: name, peer: peer, api: api,
            zone: try reader.readString(atMost: CoordinationLimits.memberNameBytes))
    }
}

extension HostPort {
    fileprivate init(from reader: inout ByteReader) throws(DecodingError) {
        let host = try reader.readString(atMost: CoordinationLimits.memberHostBytes)
        self.init(host: host, port: Int(try reader.read(UInt16.self)))
    }
}
