public import EsperTypes

/// One line of the table that says which certificate may speak for which node, and where that node listens.
public struct PeerMember: Hashable, Sendable {
    public var id: NodeID
    /// The name in its certificate: `spiffe://<trust-domain>/node/<name>`.
    public var name: String
    /// A DNS name or an IP address.
    public var host: String
    public var port: Int
    /// The life of its disk that is a member; nil when unknown, and then the first one to connect is kept to.
    public var incarnation: Incarnation?

    public init(id: NodeID, name: String, host: String, port: Int, incarnation: Incarnation? = nil) {
        self.id = id
        self.name = name
        self.host = host
        self.port = port
        self.incarnation = incarnation
    }
}

/// What this node says of itself in every handshake.
public struct LocalPeer: Hashable, Sendable {
    public var cluster: ClusterID
    public var id: NodeID
    public var incarnation: Incarnation
    /// The program's version, for operators; at most 64 bytes of it are sent.
    public var version: String

    public init(cluster: ClusterID, id: NodeID, incarnation: Incarnation, version: String) {
        self.cluster = cluster
        self.id = id
        self.incarnation = incarnation
        self.version = version
    }
}

/// How one peer looks from here, for status and tests.
public struct PeerStatus: Hashable, Sendable {
    public var id: NodeID
    public var name: String
    /// Whether the main link stands.
    public var isUp: Bool
    /// Whether the bulk link stands.
    public var isBulkUp: Bool
    /// Bytes accepted by ``PeerTransport/send(_:to:)`` that have not reached the kernel, over both links.
    public var queuedBytes: Int
    /// What the peer said in its last handshake.
    public var incarnation: Incarnation?
    public var version: String?
}
