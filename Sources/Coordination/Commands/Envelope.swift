public import EsperTypes

/// Names one proposal of one life of one node, so that this node recognises its own when it applies them.
public struct ProposalID: Hashable, Sendable {
    /// The node whose caller waits for the answer.
    public var origin: NodeID
    /// Drawn when the node's process starts: numbers of an earlier life are not mistaken for this one's.
    public var boot: UInt64
    /// Counts the proposals of this life.
    public var number: UInt64

    public init(origin: NodeID, boot: UInt64, number: UInt64) {
        self.origin = origin
        self.boot = boot
        self.number = number
    }
}

/// Names one request of a registered client: executed at most once, however often it is proposed.
public struct RequestID: Hashable, Sendable {
    public var client: ClientID
    /// Unique among the client's requests; must be above ``acknowledgedThrough``.
    public var sequence: UInt64
    /// The client has every answer up to this one, and will not ask for them again.
    public var acknowledgedThrough: UInt64

    public init(client: ClientID, sequence: UInt64, acknowledgedThrough: UInt64 = 0) {
        self.client = client
        self.sequence = sequence
        self.acknowledgedThrough = acknowledgedThrough
    }
}

/// A command on its way through the log: who asks, who waits for the answer, and the leader's clock.
public struct Envelope: Hashable, Sendable {
    /// The leader's wall clock in nanoseconds since 1970, stamped when it takes the proposal; made monotone when applied.
    public var time: UInt64
    public var proposal: ProposalID
    public var request: RequestID?
    /// Who asks, as proved by the certificate, for example `client/alice` or `node/n1`.
    public var principal: String
    public var command: Command

    public init(
        time: UInt64 = 0, proposal: ProposalID, request: RequestID? = nil, principal: String, command: Command
    ) {
        self.time = time
        self.proposal = proposal
        self.request = request
        self.principal = principal
        self.command = command
    }
}
