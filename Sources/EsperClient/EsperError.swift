public import EsperTypes

internal import EsperProtocol
internal import GRPCTransport
internal import NIOCore
internal import SwiftProtobuf

/// Why an operation did not do what it was asked, and what became of it.
public struct EsperError: Error, Hashable, Sendable, CustomStringConvertible {
    /// A stable word: the cluster's own (`session_not_found`, `compacted`, …), or one of ``Code``.
    public let code: String
    /// For people.
    public let message: String
    /// For an operation that changes something: certainly without effect, or unknown. Reads are never unknown.
    public let outcome: Outcome
    /// The same operation may succeed later without anybody changing it.
    public let isRetryable: Bool
    /// With code `compacted`: the oldest revision that can still be read.
    public let oldestRevision: UInt64

    /// Words that this library says itself.
    public enum Code {
        /// No endpoint could be reached.
        public static let unavailable = "unavailable"
        /// No answer within the time allowed.
        public static let timedOut = "timed_out"
        /// The task was cancelled.
        public static let cancelled = "cancelled"
        /// The answer cannot be read.
        public static let malformedAnswer = "malformed_answer"
        /// The client was closed.
        public static let closed = "closed"
        /// The settings file or its certificates are no good.
        public static let settings = "settings"
        /// The session ended under the work that depended on it.
        public static let sessionEnded = "session_ended"
        /// The lock was given back under the work that depended on it.
        public static let lockLost = "lock_lost"
        /// The leadership was given up under the work that depended on it.
        public static let leadershipLost = "leadership_lost"
        /// A file of this host cannot be read or written.
        public static let file = "file"
        /// Bytes came that are not what their digest says.
        public static let wrongDigest = "wrong_digest"
        /// The lock was held by others all the time.
        public static let notGranted = "not_granted"
    }

    public init(
        code: String, message: String, outcome: Outcome, isRetryable: Bool = false, oldestRevision: UInt64 = 0
    ) {
        self.code = code
        self.message = message
        self.outcome = outcome
        self.isRetryable = isRetryable
        self.oldestRevision = oldestRevision
    }

    public var description: String { "\(code): \(message) (\(outcome.rawValue))" }
}

extension EsperError {
    /// With another outcome: that of an operation as a whole instead of its last attempt.
    func with(_ outcome: Outcome) -> EsperError {
        EsperError(
            code: code, message: message, outcome: outcome, isRetryable: isRetryable, oldestRevision: oldestRevision)
    }
}

/// A failed call, read for what its caller must know.
struct FailureReading {
    let error: EsperError
    let leaderEndpoint: String?
    let retryAfterMilliseconds: UInt64
    /// The server itself judged the call; false: the call or its answer was lost on the way.
    let isJudged: Bool

    /// The refusal may pass, but is part of the replicated state: a request id is answered for ever as it was first, so that the
    /// next attempt needs another one.
    var isRemembered: Bool { Self.rememberedRefusals.contains(error.code) }

    /// The refusal that an operation remembers after this failure: the newest, but for a last attempt that had too little time for an
    /// answer of its own.
    func refusal(after earlier: EsperError?, timeLeft: TimeAmount) -> EsperError? {
        if isJudged, error.code != EsperError.Code.timedOut { return error }
        return timeLeft < Self.littleTime ? earlier : nil
    }

    private static let littleTime = TimeAmount.milliseconds(100)

    private static let rememberedRefusals: Set = ["lock_held", "outbox_full", "stale_term"]

    init(_ failure: CallFailure, isMutating: Bool) {
        let unjudged: Outcome = isMutating && failure.mayHaveArrived ? .unknown : .notCommitted
        guard let bytes = failure.metadata.bytes("esper-error-bin"),
            let detail = try? ProtoErrorDetail(serializedBytes: bytes)
        else {
            isJudged = Self.isRefusal(failure.status.code)
            leaderEndpoint = nil
            retryAfterMilliseconds = 0
            error = EsperError(
                code: Self.word(failure.status.code), message: failure.status.message,
                outcome: isJudged ? .notCommitted : unjudged, isRetryable: failure.status.code == .unavailable)
            return
        }
        isJudged = true
        leaderEndpoint = detail.leaderEndpoint.isEmpty ? nil : detail.leaderEndpoint
        retryAfterMilliseconds = detail.retryAfterMs
        error = EsperError(
            code: detail.code, message: detail.message, outcome: Self.outcome(detail.outcome, or: unjudged),
            isRetryable: detail.retryable, oldestRevision: detail.oldestRevision)
    }

    private static func outcome(_ outcome: ProtoOutcome, or unjudged: Outcome) -> Outcome {
        switch outcome {
        case .committed: .committed
        case .notCommitted: .notCommitted
        case .unknown: .unknown
        case .unspecified, .UNRECOGNIZED: unjudged
        }
    }

    /// Codes by which a transport refuses a call before any service has seen it.
    private static func isRefusal(_ code: GRPCCode) -> Bool {
        switch code {
        case .unimplemented, .invalidArgument, .permissionDenied, .unauthenticated: true
        case .ok, .cancelled, .unknown, .deadlineExceeded, .notFound, .alreadyExists, .resourceExhausted,
            .failedPrecondition, .aborted, .outOfRange, .internal, .unavailable, .dataLoss:
            false
        }
    }

    private static func word(_ code: GRPCCode) -> String {
        switch code {
        case .cancelled: EsperError.Code.cancelled
        case .deadlineExceeded: EsperError.Code.timedOut
        case .unavailable: EsperError.Code.unavailable
        case .ok: "ok"
        case .unknown: "unknown"
        case .invalidArgument: "invalid_argument"
        case .notFound: "not_found"
        case .alreadyExists: "already_exists"
        case .permissionDenied: "permission_denied"
        case .resourceExhausted: "resource_exhausted"
        case .failedPrecondition: "failed_precondition"
        case .aborted: "aborted"
        case .outOfRange: "out_of_range"
        case .unimplemented: "unimplemented"
        case .internal: "internal"
        case .dataLoss: "data_loss"
        case .unauthenticated: "unauthenticated"
        }
    }
}
