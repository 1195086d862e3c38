public import EsperTypes
public import RaftCore

/// Everything one node says to another once their link stands.
public enum PeerFrame: Hashable, Sendable {
    /// Consensus. May be lost: the core repeats what matters.
    case raft(Message)
    /// Commands on their way to the leader of this term, and to be refused in any other: so their sender knows in
    /// which term alone they can be appended. Either every one of them is handed over or the sender is told.
    case forward(Term, [ForwardedProposal])
    /// The receiver of a forward could not append these (tokens); nothing of them is in its log.
    case forwardRefused([UInt64], RefusalReason)
    /// A question of the runtime's, opaque here; the token comes back in the answer. At most ``maximumQuestionBytes``.
    case ask(UInt64, [UInt8])
    case answer(UInt64, [UInt8])

    public static let maximumQuestionBytes = 48 << 10
}

/// A command that entered the cluster at another node.
public struct ForwardedProposal: Hashable, Sendable {
    /// The origin's own number for it; comes back in a refusal.
    public var token: UInt64
    /// The encoded envelope, at most ``Limits/entryPayloadBytes``; this target never looks inside.
    public var envelope: [UInt8]

    public init(token: UInt64, envelope: [UInt8]) {
        self.token = token
        self.envelope = envelope
    }
}

/// What became of a frame handed to ``PeerTransport/send(_:to:)``.
public enum SendOutcome: Hashable, Sendable {
    /// It leaves with the next flush, unless the link goes down first.
    case queued
    /// It was dropped and counted, and never will arrive.
    case dropped(DropReason)
}

/// Why a frame was not sent.
public enum DropReason: String, Hashable, Sendable, CaseIterable {
    /// There is no member of that name, or no link to it stands.
    case linkDown = "link_down"
    /// The bytes waiting for this link have reached their bound.
    case queueFull = "queue_full"
    /// The frame is above ``Limits/peerFrameBytes``, or a part of it above the limit of its kind.
    case tooLarge = "too_large"
    /// Fault injection: ``PeerTransport/isolate(_:)`` or ``PeerTransport/block(_:)``.
    case partitioned
}
