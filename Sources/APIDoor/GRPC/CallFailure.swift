import Coordination
import EsperProtocol
import EsperTypes
import GRPCTransport
import RaftRuntime
import SwiftProtobuf

/// A failed call: the gRPC status and the typed detail in its trailer.
struct CallFailure: Error {
    var code: GRPCCode
    var detail: ProtoErrorDetail

    var status: GRPCStatus { GRPCStatus(code, detail.message) }

    var trailers: Metadata {
        var metadata = Metadata()
        // A detail that cannot be encoded is left out: the status still tells what happened.
        if let bytes: [UInt8] = try? detail.serializedBytes() { metadata.add("esper-error-bin", bytes: bytes) }
        return metadata
    }

    init(_ code: GRPCCode, word: String, _ message: String, outcome: Outcome, isRetryable: Bool) {
        self.code = code
        detail = ProtoErrorDetail()
        detail.code = word
        detail.message = message
        detail.outcome = ProtoOutcome(outcome)
        detail.retryable = isRetryable
    }

    static func invalid(_ message: String) -> CallFailure {
        CallFailure(.invalidArgument, word: "invalid_argument", message, outcome: .notCommitted, isRetryable: false)
    }

    /// Whatever a call can end with.
    init(_ error: any Error) {
        switch error {
        case let failure as CallFailure: self = failure
        case let failure as ServiceFailure:
            self.init(
                failure.code.grpcCode, word: failure.code.rawValue, failure.message, outcome: failure.outcome,
                isRetryable: failure.isRetryable)
            detail.leaderName = failure.leader ?? ""
            detail.leaderEndpoint = failure.leaderAPIAddress ?? ""
        case let refusal as Refusal:
            self.init(
                refusal.grpcCode, word: refusal.code, refusal.message, outcome: refusal.outcome,
                isRetryable: refusal.isRetryable)
            if case .compacted(let revision) = refusal { detail.oldestRevision = revision.rawValue }
        case is BinaryDecodingError, is SwiftProtobufError:
            self = .invalid("the request is not a valid message: \(error)")
        default:
            self.init(.`internal`, word: "internal", "\(error)", outcome: .unknown, isRetryable: false)
        }
    }

    init(_ body: ServiceReply.Body) {
        if case .failed(let failure) = body {
            self.init(failure)
        } else {
            self.init(
                .`internal`, word: "internal", "the node gave an answer of another kind", outcome: .unknown,
                isRetryable: false)
        }
    }
}

extension ServiceFailure.Code {
    var grpcCode: GRPCCode {
        switch self {
        case .noLeader, .draining, .leadershipChanged, .unconfirmed: .unavailable
        case .timedOut: .deadlineExceeded
        case .overloaded, .storageFull, .tooManyWatches: .resourceExhausted
        case .oversized, .unknownMember: .invalidArgument
        case .withdrawn, .superseded: .aborted
        case .sessionNotFound: .notFound
        case .permissionDenied: .permissionDenied
        case .userUnknown: .unauthenticated
        case .transferFailed, .notGranted, .notCaughtUp, .notHeard, .quorumNotHeard, .changePending, .changeRefused:
            .failedPrecondition
        case .memberExists: .alreadyExists
        case .compacted: .outOfRange
        }
    }
}

extension Refusal {
    var grpcCode: GRPCCode {
        switch self {
        case .malformed, .invalid: .invalidArgument
        case .compacted, .futureRevision: .outOfRange
        case .keyNotFound, .sessionNotFound, .lockNotFound, .candidateNotFound: .notFound
        case .reservedKey: .permissionDenied
        case .lockHeld, .notElected, .clientUnknown, .requestExpired: .failedPrecondition
        case .staleTerm: .aborted
        case .outboxFull: .resourceExhausted
        case .replyTooLarge: .outOfRange
        case .memberNotFound: .notFound
        case .memberNameTaken, .memberAddressTaken, .membersFounded: .alreadyExists
        case .tooManyMembers, .joinTokenExpired, .joinTokenRevoked, .joinTokenUsedUp: .failedPrecondition
        case .joinTokenUnknown: .notFound
        case .joinTokenOfAnother: .permissionDenied
        case .joinTokenExists, .sessionExists: .alreadyExists
        case .tooManyJoinTokens: .resourceExhausted
        case .permissionDenied: .permissionDenied
        case .auth(let refusal): refusal.grpcCode
        }
    }
}

extension AuthRefusal {
    var grpcCode: GRPCCode {
        switch self {
        case .userExists, .roleExists: .alreadyExists
        case .userNotFound, .roleNotFound: .notFound
        case .roleNotGranted, .permissionNotGranted, .rootUserMissing, .rootRoleMissing, .rootNeeded:
            .failedPrecondition
        case .userUnknown: .unauthenticated
        case .tableFull: .resourceExhausted
        }
    }
}

extension ProtoOutcome {
    init(_ outcome: Outcome) {
        switch outcome {
        case .committed: self = .committed
        case .notCommitted: self = .notCommitted
        case .unknown: self = .unknown
        }
    }
}
