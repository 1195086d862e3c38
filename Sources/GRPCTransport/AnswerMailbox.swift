internal import NIOCore
internal import Synchronization

/// Answers on their way to the connections of one event loop: many answers, one wake-up.
///
/// Bounded by the calls that are open (one answer each) and, for streams, by their senders' credit.
final class AnswerMailbox: Sendable {
    private let eventLoop: any EventLoop
    private let waiting = Mutex<[Answer]>([])

    init(eventLoop: any EventLoop) { self.eventLoop = eventLoop }

    func post(_ answers: some Sequence<Answer>) {
        let wasEmpty = waiting.withLock { waiting in
            defer { waiting.append(contentsOf: answers) }
            return waiting.isEmpty
        }
        guard wasEmpty else { return }
        eventLoop.execute { self.empty() }
    }

    private func empty() {
        let answers = waiting.withLock { waiting in
            let answers = waiting
            waiting = []
            waiting.reserveCapacity(min(answers.count, 4096))
            return answers
        }
        ServerConnection.perform(answers)
    }
}
