import Coordination
import EsperTypes

/// Where a list goes on: what the last page ended with, in a form that clients hand back as it is.
enum PageToken {
    /// Elements of one page: with the longest names, labels and queues about 2 MiB, which every gRPC client takes.
    static let maximumLimit = 1000

    static let refusal = "page_token is not one that a list has answered"

    /// 0 and what is above the bound mean the bound.
    static func limit(_ asked: Int) -> Int { asked == 0 ? maximumLimit : min(asked, maximumLimit) }

    /// The session to go on behind, nil at the start; nothing when the token is none of ours.
    static func session(_ token: String) -> SessionID?? {
        if token.isEmpty { return .some(nil) }
        return SessionID(token).map { .some($0) }
    }

    /// The lock to go on behind, nil at the start. A token is a name, and every name has its place in the order.
    static func lock(_ token: String) -> String? { token.isEmpty ? nil : token }

    static func next(behind sessions: [SessionInfo], more: Bool) -> String {
        more ? sessions.last?.id.description ?? "" : ""
    }

    static func next(behind locks: [LockState], more: Bool) -> String { more ? locks.last?.name ?? "" : "" }
}
