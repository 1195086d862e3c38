package import Coordination
package import RaftRuntime

/// What the node and its state machine refuse, in the cache's terms.
extension CacheFailure {
    package init(_ failure: ServiceFailure) {
        let code: Code =
            switch failure.code {
            case .noLeader: .noLeader
            case .timedOut: .timedOut
            case .overloaded: .overloaded
            case .storageFull: .storageFull
            case .draining: .draining
            case .leadershipChanged, .unconfirmed: .unconfirmed
            case .permissionDenied, .userUnknown: .permissionDenied
            case .oversized: .oversized
            default: .invalid
            }
        self.init(code, failure.message, outcome: failure.outcome)
    }

    package init(_ refusal: Refusal) {
        let code: Code =
            switch refusal {
            case .outboxFull: .outboxFull
            case .permissionDenied, .auth: .permissionDenied
            case .clientUnknown: .clientUnknown
            default: .invalid
            }
        self.init(code, refusal.message, outcome: refusal.outcome)
    }
}
