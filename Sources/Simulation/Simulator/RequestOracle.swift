import Coordination
import EsperTypes

/// A request is executed once, however often it is proposed, and every attempt gets the answer of that once.
struct RequestOracle {
    private struct Request: Hashable {
        var client: ClientID
        var sequence: UInt64
    }

    private struct Execution {
        var index: LogIndex
        var result: CommandResult
    }

    private var executions: [Request: Execution] = [:]

    /// The answer that the first node to apply an entry came to.
    mutating func answered(
        _ payload: [UInt8], at index: LogIndex, _ reply: CommandReply, isDuplicate: Bool
    ) throws(SimulationFailure) {
        guard let id = (try? Envelope(decoding: payload))?.request else { return }
        if case .refused(let refusal) = reply.result, refusal.outcome == .unknown { return }
        let request = Request(client: id.client, sequence: id.sequence)
        guard let known = executions[request] else {
            guard !isDuplicate else {
                throw SimulationFailure(.exactlyOnce, "\(id) is answered again at \(index), and was never executed")
            }
            executions[request] = Execution(index: index, result: reply.result)
            return
        }
        guard isDuplicate, known.index == reply.index, known.result == reply.result else {
            throw SimulationFailure(
                .exactlyOnce, "\(id) was executed at \(known.index), and is answered by \(reply.index) at \(index)")
        }
    }
}
