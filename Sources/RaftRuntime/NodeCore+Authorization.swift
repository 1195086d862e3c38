import Coordination
import EsperTypes

extension StateMachine {
    /// What must be permitted before the operation begins. Commands are judged when they are applied, queries and the keys of
    /// a session when they are answered: by the state that the answer comes from.
    static func need(of operation: ServiceRequest.Operation) -> AuthNeed? {
        switch operation {
        case .watch(let request): .read(request.range)
        case .timeToLive: .user
        case .stateCopy, .transferLeadership, .changeMembers, .setAside, .isolate, .heal: .root
        case .command, .claim, .query, .keepAlive, .watchCredit, .watchProgress, .cancel, .status: nil
        }
    }
}

extension NodeCore {
    /// Answers the caller unless this is permitted.
    func isAuthorized(_ need: AuthNeed, _ caller: Caller) -> Bool {
        do throws(Refusal) {
            try state.authorize(need, by: caller.principal)
            return true
        } catch {
            let isNobody = error == .auth(.userUnknown)
            fail(caller, isNobody ? .userUnknown : .permissionDenied, error.message, .notCommitted)
            return false
        }
    }
}
