import Coordination
import GRPCTransport
import RaftRuntime

/// Answers of many megabytes, of which each connection is sent one at a time.
///
/// One that waits costs little: its keys and values are the state's own bytes, and become a message when the answer before
/// has left. So a client may ask for everything there is, and one that does not read what it asked for holds up itself alone.
/// Confined to its lane's loop.
final class LargeAnswers {
    /// Smaller answers are encoded and queued at once.
    static let thresholdBytes = 1 << 20
    private static let maximumWaiting = 64
    /// Of messages on their way, for one loop: beyond it, and one message more, further ones are refused.
    private static let maximumBytes = 256 << 20
    /// What the length of a message may be in most programs.
    private static let largestMessage = Int(Int32.max)

    private unowned let lane: EtcdLane
    /// By connection; the first of each is on its way.
    private var queues: [UInt64: [LargeAnswer]] = [:]
    private var bytes = 0

    init(_ lane: EtcdLane) { self.lane = lane }

    /// - Parameter message: makes the answer, when its turn has come.
    func add(_ caller: Caller, _ message: @escaping () throws -> [UInt8]) {
        guard (queues[caller.connection]?.count ?? 0) < Self.maximumWaiting else {
            return lane.finish(caller, EtcdFailure.tooManyRequests.status)
        }
        let answer = LargeAnswer(caller, message, self)
        lane.keep(answer, for: caller)
        queues[caller.connection, default: []].append(answer)
        if queues[caller.connection]?.count == 1 { begin(answer) }
    }

    private func begin(_ answer: LargeAnswer) {
        do {
            guard bytes < Self.maximumBytes else { throw EtcdFailure.tooManyRequests }
            let message = try answer.message()
            guard message.count <= Self.largestMessage else {
                throw EtcdFailure(
                    .resourceExhausted, "etcdserver: the answer has \(message.count) bytes; ask for fewer keys at once")
            }
            answer.bytes = message.count
            bytes += message.count
            lane.touch(answer.caller)
            if answer.caller.send(message) { left(answer) }
        } catch {
            lane.finish(answer.caller, EtcdFailure(error).status)
            remove(answer)
        }
    }

    /// The reader has taken all of it, but for what its credit allows.
    fileprivate func left(_ answer: LargeAnswer) {
        lane.finish(answer.caller, .ok)
        remove(answer)
    }

    fileprivate func remove(_ answer: LargeAnswer) {
        let connection = answer.caller.connection
        guard var queue = queues[connection], let place = queue.firstIndex(where: { $0 === answer }) else { return }
        bytes -= answer.bytes
        queue.remove(at: place)
        queues[connection] = queue.isEmpty ? nil : queue
        if place == 0, let next = queue.first { begin(next) }
    }
}

/// One of them.
private final class LargeAnswer: OpenCall {
    let caller: Caller
    let message: () throws -> [UInt8]
    /// Of the message, once there is one.
    var bytes = 0
    private unowned let answers: LargeAnswers

    init(_ caller: Caller, _ message: @escaping () throws -> [UInt8], _ answers: LargeAnswers) {
        self.caller = caller
        self.message = message
        self.answers = answers
    }

    func writable() { answers.left(self) }

    func ended() { answers.remove(self) }
}

extension ServiceReply.Body {
    /// Whether what was read, or deleted, is more than ``LargeAnswers/thresholdBytes``. What other commands answer is bounded
    /// already.
    var isLarge: Bool {
        var room = LargeAnswers.thresholdBytes
        switch self {
        case .query(let reply):
            switch reply.result {
            case .range(let range): return !range.keyValues.fit(&room)
            case .transaction(let transaction): return !transaction.fits(&room)
            default: return false
            }
        case .command(let reply):
            guard case .deleted(let deleted) = reply.result else { return false }
            return !deleted.previous.fit(&room)
        default: return false
        }
    }
}

extension [KeyValue] {
    fileprivate func fit(_ room: inout Int) -> Bool {
        for keyValue in self {
            room -= keyValue.key.count + keyValue.value.count
            if room < 0 { return false }
        }
        return true
    }
}

extension TransactionReply {
    fileprivate func fits(_ room: inout Int) -> Bool {
        for reply in replies {
            switch reply {
            case .range(let range): if !range.keyValues.fit(&room) { return false }
            case .transaction(let inner): if !inner.fits(&room) { return false }
            case .put, .delete: continue
            }
        }
        return true
    }
}
