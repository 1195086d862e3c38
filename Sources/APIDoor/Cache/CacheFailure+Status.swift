internal import CacheCore
internal import EsperTypes
internal import GRPCTransport
internal import KernelCache

extension CallFailure {
    init(_ failure: CacheFailure) {
        self.init(
            failure.code.grpcCode, word: failure.code.rawValue, failure.described, outcome: failure.outcome,
            isRetryable: failure.isRetryable)
    }
}

extension CacheFailure {
    /// The message, with what the name stands for.
    var described: String {
        guard let current else { return message }
        let state: String =
            switch current.state {
            case .live: "version \(current.version.rawValue)"
            case .tombstone: "nothing since version \(current.version.rawValue)"
            case .quarantined: "version \(current.version.rawValue), whose bytes are lost"
            }
        return "\(message); the name has \(state)"
    }
}

extension CacheFailure.Code {
    var grpcCode: GRPCCode {
        switch self {
        case .invalid, .oversized: .invalidArgument
        case .conflict: .aborted
        case .closureIncomplete, .clientUnknown, .makeFailed: .failedPrecondition
        case .tierUnavailable, .noLeader, .unconfirmed, .draining: .unavailable
        case .bytesLost: .dataLoss
        case .outboxFull, .overloaded, .storageFull: .resourceExhausted
        case .timedOut: .deadlineExceeded
        case .permissionDenied: .permissionDenied
        case .disabled: .unimplemented
        }
    }

    /// Of the answer over HTTP.
    var httpStatus: Int {
        switch self {
        case .invalid: 400
        case .oversized: 413
        case .conflict: 412
        case .closureIncomplete, .clientUnknown, .makeFailed: 409
        case .tierUnavailable, .noLeader, .unconfirmed, .draining, .outboxFull, .overloaded: 503
        case .bytesLost: 410
        case .storageFull: 507
        case .timedOut: 504
        case .permissionDenied: 403
        case .disabled: 501
        }
    }
}
