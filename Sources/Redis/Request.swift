internal import NIOCore

/// Commands that go to one server together, with who waits for their answers. Confined to its server's event loop.
final class Request {
    typealias Answer = Result<[RedisReply], RedisError>

    let id: UInt64
    let commands: [RedisCommand]
    let byteCount: Int
    let deadline: NIODeadline
    private var caller: CheckedContinuation<Answer, Never>?
    /// Ends the request at its deadline.
    var timer: Scheduled<Void>?
    /// Where it is in flight, and since when.
    private(set) var flight: (connection: ServerConnection, since: NIODeadline)?
    private var replies: [RedisReply] = []
    private var missing: Int

    init(
        _ id: UInt64, _ commands: [RedisCommand], deadline: NIODeadline, caller: CheckedContinuation<Answer, Never>
    ) {
        self.id = id
        self.commands = commands
        self.deadline = deadline
        self.caller = caller
        byteCount = commands.reduce(0) { $0 + $1.byteCount }
        missing = commands.count
    }

    /// Whether the server has answered all of it.
    var isAnswered: Bool { missing == 0 }

    func sent(on connection: ServerConnection, at time: NIODeadline) { flight = (connection, time) }

    /// Takes the answer to its next command; kept only while somebody waits.
    func answered(_ reply: RedisReply) {
        missing -= 1
        if caller != nil { replies.append(reply) }
    }

    var answer: Answer { .success(replies) }

    /// Resumes the caller; the first outcome counts.
    func finish(_ answer: Answer) {
        timer?.cancel()
        timer = nil
        caller?.resume(returning: answer)
        caller = nil
        replies = []
    }
}
