import RaftRuntime
import Synchronization

/// Keeps what each turn of the core loop delivered.
final class TurnSink: ReplySink {
    private let turns = Mutex<[[ServiceReply]]>([])

    func deliver(_ replies: [ServiceReply]) { turns.withLock { $0.append(replies) } }

    /// Turns that delivered something, and all they did.
    var delivered: (turns: Int, replies: [ServiceReply]) { turns.withLock { ($0.count, $0.flatMap(\.self)) } }

    /// The turn that answered this, and the answer.
    func answer(to token: UInt64) -> (turn: Int, body: ServiceReply.Body)? {
        turns.withLock { turns in
            for (turn, replies) in turns.enumerated() {
                if let reply = replies.first(where: { $0.token == token }) { return (turn, reply.body) }
            }
            return nil
        }
    }
}
