import EsperTypes
import RaftCore

/// The story of a run in lines that people read.
final class Transcript {
    private let print: (String) -> Void

    /// - Parameter print: takes one line at a time.
    init(_ print: @escaping (String) -> Void) { self.print = print }

    func add(_ line: String, at time: UInt64) {
        let micros = time / 1000
        let fraction = String(micros % 1000)
        let padded = String(repeating: "0", count: 3 - fraction.count) + fraction
        let whole = String(micros / 1000)
        print(String(repeating: " ", count: max(0, 5 - whole.count)) + whole + "." + padded + " ms  " + line)
    }
}

extension Message {
    /// The message in a few words.
    var summary: String {
        switch self {
        case .preVoteRequest(let request): "pre-vote? t\(request.term) log \(request.last)"
        case .preVoteResponse(let response): "pre-vote \(response.isGranted ? "yes" : "no") t\(response.term)"
        case .requestVote(let request):
            "vote? t\(request.term) log \(request.last)\(request.isTransfer ? " transfer" : "")"
        case .requestVoteResponse(let response): "vote \(response.isGranted ? "yes" : "no") t\(response.term)"
        case .appendEntries(let append):
            "append t\(append.term) s\(append.session) after \(append.previous) +\(append.entries.count) "
                + "commit \(append.commit) round \(append.readSequence)"
        case .appendEntriesResponse(let response):
            "append t\(response.term) s\(response.session) round \(response.readSequence) "
                + response.outcome.summary
        case .installSnapshot(let chunk):
            "snapshot t\(chunk.term) \(chunk.descriptor.id) at \(chunk.offset) +\(chunk.bytes.count)"
                + (chunk.isLast ? " last" : "")
        case .installSnapshotResponse(let response):
            switch response.outcome {
            case .received(let id, let nextOffset): "snapshot t\(response.term) \(id) has \(nextOffset)"
            case .installed(let through): "snapshot t\(response.term) installed through \(through)"
            case .staleTerm: "snapshot refused t\(response.term)"
            }
        case .timeoutNow(let order): "campaign now t\(order.term) log \(order.last)"
        case .readIndexRequest(let request): "read index? t\(request.term) #\(request.number)"
        case .readIndexResponse(let response):
            "read index t\(response.term) #\(response.number) \(response.index.map { "\($0)" } ?? "no")"
        }
    }
}

extension AppendEntriesResponse.Outcome {
    var summary: String {
        switch self {
        case .matched(let durable, let received): "has \(durable) durable, \(received) received"
        case .conflict(let previous, let hint): "misses \(previous), agrees at most to \(hint)"
        case .staleTerm: "stale term"
        }
    }
}

extension WriteBatch {
    var summary: String {
        var text = "\(sequence):"
        if let hardState {
            text += " term \(hardState.term) vote \(hardState.vote.map { "n\($0.rawValue)" } ?? "none")"
        }
        if let truncateFrom { text += " cut from \(truncateFrom)" }
        if let installedSnapshot { text += " install \(installedSnapshot.id)" }
        if let first = entries.first, let last = entries.last { text += " entries \(first.id)...\(last.id)" }
        if let compaction { text += " forget through \(compaction.through)" }
        return text
    }
}
