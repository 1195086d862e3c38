package import EsperTypes
package import NIOCore

/// What a connection between two nodes carries.
package enum LinkKind: UInt8, Hashable, Sendable, CaseIterable {
    /// Consensus and forwarded commands: small, and never behind anything large.
    case main = 1
    /// Snapshot chunks.
    case bulk = 2
}

/// The versions of the frames that this program speaks.
package enum PeerProtocol {
    package static let magic: UInt32 = 0x5250_5345  // "ESPR" on the wire
    package static let lowest: UInt16 = 2
    package static let highest: UInt16 = 2
    /// Until the handshake is over no frame is larger: both greetings stay below 200 bytes.
    package static let handshakeBytes = 1 << 10
    package static let versionBytes = 64
}

/// The dialling end's first and only frame before it is answered.
package struct Hello: Hashable, Sendable {
    package var lowest: UInt16
    package var highest: UInt16
    package var cluster: ClusterID
    package var node: NodeID
    /// Whom the dialler believes to reach: a wrong table or a reused address is found out here.
    package var addressee: NodeID
    package var incarnation: Incarnation
    package var link: LinkKind
    package var version: String

    package init(
        lowest: UInt16 = PeerProtocol.lowest, highest: UInt16 = PeerProtocol.highest, cluster: ClusterID, node: NodeID,
        addressee: NodeID, incarnation: Incarnation, link: LinkKind, version: String
    ) {
        self.lowest = lowest
        self.highest = highest
        self.cluster = cluster
        self.node = node
        self.addressee = addressee
        self.incarnation = incarnation
        self.link = link
        self.version = version
    }

    /// The newest version both ends speak.
    package var agreedVersion: UInt16? {
        let newest = min(highest, PeerProtocol.highest)
        return newest >= max(lowest, PeerProtocol.lowest) ? newest : nil
    }

    package func append(to buffer: inout ByteBuffer) {
        let start = buffer.writerIndex
        buffer.writeInteger(0 as UInt64)
        buffer.writeKind(.hello)
        buffer.writeInteger(PeerProtocol.magic, endianness: .little)
        buffer.writeInteger(lowest, endianness: .little)
        buffer.writeInteger(highest, endianness: .little)
        buffer.write(cluster)
        buffer.write(node)
        buffer.write(addressee)
        buffer.write(incarnation)
        buffer.writeInteger(link.rawValue)
        buffer.writeArray([UInt8](version.utf8))
        _ = FrameEncoder.seal(from: start, in: &buffer)
    }
}

extension Hello {
    init(from reader: inout WireReader) throws(DecodingError) {
        try reader.magic()
        lowest = try reader.integer()
        highest = try reader.integer()
        cluster = try reader.identifier()
        node = try reader.identifier()
        addressee = try reader.identifier()
        incarnation = try reader.identifier()
        let tag = try reader.integer(UInt8.self)
        guard let link = LinkKind(rawValue: tag) else { throw .unknownTag(UInt64(tag)) }
        self.link = link
        version = try reader.string(atMost: PeerProtocol.versionBytes)
    }
}

/// The accepting end's answer: the link stands.
package struct Welcome: Hashable, Sendable {
    package var agreed: UInt16
    package var cluster: ClusterID
    package var node: NodeID
    package var incarnation: Incarnation
    package var version: String

    package init(agreed: UInt16, cluster: ClusterID, node: NodeID, incarnation: Incarnation, version: String) {
        self.agreed = agreed
        self.cluster = cluster
        self.node = node
        self.incarnation = incarnation
        self.version = version
    }

    package func append(to buffer: inout ByteBuffer) {
        let start = buffer.writerIndex
        buffer.writeInteger(0 as UInt64)
        buffer.writeKind(.welcome)
        buffer.writeInteger(PeerProtocol.magic, endianness: .little)
        buffer.writeInteger(agreed, endianness: .little)
        buffer.write(cluster)
        buffer.write(node)
        buffer.write(incarnation)
        buffer.writeArray([UInt8](version.utf8))
        _ = FrameEncoder.seal(from: start, in: &buffer)
    }
}

extension Welcome {
    init(from reader: inout WireReader) throws(DecodingError) {
        try reader.magic()
        agreed = try reader.integer()
        cluster = try reader.identifier()
        node = try reader.identifier()
        incarnation = try reader.identifier()
        version = try reader.string(atMost: PeerProtocol.versionBytes)
    }
}

/// The accepting end's other answer, so that the operator of the dialling end reads the reason there too.
package enum HandshakeRefusal: UInt8, Hashable, Sendable, CaseIterable, CustomStringConvertible {
    case version = 1
    case cluster = 2
    case notANode = 3
    case unknownName = 4
    case wrongNode = 5
    case misaddressed = 6
    case incarnation = 7
    case direction = 8
    case removed = 9

    package var description: String {
        switch self {
        case .version: "no protocol version in common"
        case .cluster: "another cluster"
        case .notANode: "the certificate is not a node's"
        case .unknownName: "the certificate's name is no member"
        case .wrongNode: "the certificate's name belongs to another node id"
        case .misaddressed: "meant for another node"
        case .incarnation:
            "another life of the node's disk is the member; remove the node and add it again under a new identity: "
                + "esper cluster remove NAME, then esper cluster add NAME …"
        case .direction: "the lower node id dials"
        case .removed:
            "the node was removed from the cluster; to rejoin it needs a new identity: esper cluster add NAME …, and an "
                + "empty data directory"
        }
    }

    package func append(to buffer: inout ByteBuffer) {
        let start = buffer.writerIndex
        buffer.writeInteger(0 as UInt64)
        buffer.writeKind(.refusal)
        buffer.writeInteger(PeerProtocol.magic, endianness: .little)
        buffer.writeInteger(rawValue)
        _ = FrameEncoder.seal(from: start, in: &buffer)
    }

    /// The frame by itself: the last of a connection.
    var farewell: ByteBuffer {
        var buffer = ByteBuffer()
        append(to: &buffer)
        return buffer
    }

    /// What it means for the refused node's place in the cluster, if anything.
    var exclusion: Exclusion? {
        switch self {
        case .removed: .removed
        case .incarnation: .otherDisk
        case .version, .cluster, .notANode, .unknownName, .wrongNode, .misaddressed, .direction: nil
        }
    }

    init(from reader: inout WireReader) throws(DecodingError) {
        try reader.magic()
        let code = try reader.integer(UInt8.self)
        guard let known = HandshakeRefusal(rawValue: code) else { throw .unknownTag(UInt64(code)) }
        self = known
    }
}

extension WireReader {
    fileprivate mutating func magic() throws(DecodingError) {
        let word = try integer(UInt32.self)
        guard word == PeerProtocol.magic else { throw .unknownTag(UInt64(word)) }
    }
}
