public import CacheCore

/// Why a tier has not done what it was asked.
public struct TierFailure: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Code: String, Hashable, Sendable, CaseIterable {
        /// No connection, or the tier says that it cannot serve now.
        case unavailable
        /// The breaker is open: the tier was not asked.
        case suspended
        /// The deadline passed. What was asked may have happened.
        case timedOut = "timed_out"
        /// More is asked than the bounds of this node allow; the tier was not asked.
        case overloaded
        /// The tier does not let us: wrong password, missing permission, no such bucket.
        case refused
        /// The tier has no room.
        case full
        /// The tier answers what makes no sense.
        case nonsense
        /// The tier is being shut down.
        case stopped
        /// The caller's task was cancelled.
        case cancelled
        /// What was asked can never be done: a blob that is too large, for example.
        case invalid
    }

    public var tier: CacheTier
    public var code: Code
    /// In words for an operator, without secrets.
    public var message: String

    public init(_ tier: CacheTier, _ code: Code, _ message: String) {
        self.tier = tier
        self.code = code
        self.message = message
    }

    /// Whether the same call may succeed later.
    public var isRetryable: Bool {
        switch code {
        case .unavailable, .suspended, .timedOut, .overloaded, .full, .nonsense: true
        case .refused, .stopped, .cancelled, .invalid: false
        }
    }

    /// Whether it speaks against the tier as a whole, rather than against this call.
    var countsAgainstTier: Bool {
        switch code {
        case .unavailable, .timedOut, .refused, .nonsense: true
        case .suspended, .overloaded, .full, .stopped, .cancelled, .invalid: false
        }
    }

    public var description: String { "\(tier.name): \(message)" }
}
