public import CacheCore
public import EsperTypes

/// Why a call of the cache has no result, with what is known about its effect.
public struct CacheFailure: Error, Hashable, Sendable {
    public enum Code: String, Hashable, Sendable, CaseIterable {
        /// The request makes no sense as it stands.
        case invalid
        case oversized
        /// The name has another version than the one expected; the failure carries what it has.
        case conflict
        /// A blob of the manifest is held by too few tiers for the mode asked.
        case closureIncomplete = "closure_incomplete"
        /// A tier that the mode needs does not answer.
        case tierUnavailable = "tier_unavailable"
        /// No tier has the bytes; the name, if there was one, is quarantined now.
        case bytesLost = "bytes_lost"
        /// The catalog is so far behind that nothing durable is taken.
        case outboxFull = "outbox_full"
        case overloaded
        case storageFull = "storage_full"
        case noLeader = "no_leader"
        /// Without a lease or a quorum no name can be told for certain.
        case unconfirmed
        case timedOut = "timed_out"
        case permissionDenied = "permission_denied"
        case draining
        /// The request's client has not registered, or too long ago; the same under a new id may be done a second time.
        case clientUnknown = "client_unknown"
        /// Whoever made it last reported an error that comes again; the message is his.
        case makeFailed = "make_failed"
        /// This node serves no cache; its settings say so.
        case disabled
    }

    public var code: Code
    public var message: String
    public var outcome: Outcome
    /// With ``Code/conflict``: what the name stands for.
    public var current: Binding?

    public init(_ code: Code, _ message: String, outcome: Outcome = .notCommitted, current: Binding? = nil) {
        self.code = code
        self.message = message
        self.outcome = outcome
        self.current = current
    }

    static let tooManyLoads = CacheFailure(
        .overloaded, "this node loads as much as it may at once, or too many wait for the same; try again")

    /// Whether the question was not confirmed by a quorum in time, so that whoever allows it is told what this node knows. A refusal because there
    /// is too much to do is none: asked again, it finds its answer.
    public var isUnconfirmed: Bool { code == .noLeader || code == .unconfirmed || code == .timedOut }

    public var isRetryable: Bool {
        switch code {
        case .tierUnavailable, .outboxFull, .overloaded, .storageFull, .noLeader, .unconfirmed, .timedOut, .draining:
            true
        case .invalid, .oversized, .conflict, .closureIncomplete, .bytesLost, .permissionDenied, .clientUnknown,
            .makeFailed,
            .disabled:
            false
        }
    }
}
