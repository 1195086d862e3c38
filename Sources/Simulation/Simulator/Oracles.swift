import EsperTypes
import RaftCore

/// The rules of Raft, judged from outside after every turn (figure 3 of the paper, and what durability adds).
///
/// Everything is incremental: a turn costs as much as what it changed.
struct Oracles {
    /// An entry that was committed: it must never become another.
    private struct Committed {
        var id: EntryID
        var digest: UInt64
        /// In which it was committed: at least the entry's own.
        var term: Term
        /// The machine's chain after it; nil until some node has applied it.
        var chain: UInt64?
    }

    private struct Written {
        var digest: UInt64
        var previous: EntryID?
    }

    private var leaders: [Term: Int] = [:]
    private var written: [EntryID: Written] = [:]
    private var committed: [Committed] = []
    private(set) var elections = 0
    private(set) var configurations: ConfigurationOracle
    var candidacies: CandidacyOracle
    private let founders: Configuration
    var requests = RequestOracle()
    var sessions: SessionOracle
    var watches = WatchOracle()

    init(founders: Configuration, nodes: Int, maximumDrift: Int) {
        sessions = SessionOracle(maximumDrift: maximumDrift)
        self.founders = founders
        configurations = ConfigurationOracle(founders: founders)
        candidacies = CandidacyOracle(nodes: nodes)
    }

    var committedThrough: LogIndex { LogIndex(UInt64(committed.count)) }

    var committedTerm: Term { committed.last?.id.term ?? .zero }

    static func digest(_ entry: Entry) -> UInt64 {
        UInt64(CRC32C.checksum(entry.payload)) << 8 | UInt64(entry.kind.rawValue)
    }

    /// Log matching by induction: an entry has one content and one predecessor, wherever it is written.
    ///
    /// - Parameter last: the entry before the batch's first; nil when a snapshot covers it.
    mutating func wrote(_ batch: WriteBatch, after last: EntryID?, by node: Int) throws(SimulationFailure) {
        var previous = last
        for entry in batch.entries {
            let digest = Self.digest(entry)
            if let known = written[entry.id] {
                guard known.digest == digest, known.previous == nil || previous == nil || known.previous == previous
                else {
                    throw SimulationFailure(
                        .logMatching,
                        "n\(node + 1) wrote \(entry.id) after \(previous, default: "a snapshot"); "
                            + "elsewhere it follows \(known.previous, default: "a snapshot")"
                            + (known.digest == digest ? "" : " with another content"))
                }
            } else {
                written[entry.id] = Written(digest: digest, previous: previous)
            }
            previous = entry.id
        }
    }

    /// Looks at a node after a turn: roles, terms, and what became committed.
    mutating func check(
        _ node: SimulatedNode, among nodes: [SimulatedNode]
    ) throws(SimulationFailure) {
        let term = node.seen.term
        guard term >= node.lastTerm else {
            throw SimulationFailure(.monotonicTerm, "n\(node.index + 1) went from term \(node.lastTerm) to \(term)")
        }
        node.lastTerm = term
        if node.seen.role == .leader { try leads(node, in: term, among: nodes) }
        let commit = node.seen.commit
        guard commit >= node.lastCommit else {
            throw SimulationFailure(
                .monotonicCommit, "n\(node.index + 1) went from commit \(node.lastCommit) to \(commit)")
        }
        let known = committedThrough
        while node.lastCommit < commit {
            try commits(node, node.lastCommit.next, among: nodes)
            node.lastCommit = node.lastCommit.next
        }
        if commit > known, let entry = node.raft.find(commit), entry.term != term {
            throw SimulationFailure(.commitsOwnTerm, "n\(node.index + 1) commits \(entry.id) in term \(term)")
        }
        try configurations.check(node, founders: founders)
    }

    private mutating func leads(
        _ node: SimulatedNode, in term: Term, among nodes: [SimulatedNode]
    ) throws(SimulationFailure) {
        if let known = leaders[term] {
            guard known == node.index else {
                throw SimulationFailure(.electionSafety, "n\(known + 1) and n\(node.index + 1) both lead term \(term)")
            }
            return
        }
        leaders[term] = node.index
        elections += 1
        try configurations.checkVotes(of: node, among: nodes)
        let status = node.raft.status
        // Whoever hears late of votes for an earlier term leads that one, without what later terms have committed (§5.4).
        let due = LogIndex(UInt64(committed.lastIndex { $0.term <= term }.map { $0 + 1 } ?? 0))
        guard status.last.index >= due else {
            throw SimulationFailure(
                .leaderCompleteness,
                "n\(node.index + 1) leads term \(term) with a log to \(status.last), committed is \(due)")
        }
        var index = status.first
        while index <= due {
            let expected = committed[Int(index.rawValue) - 1].id
            if let entry = node.raft.find(index), entry.id != expected {
                throw SimulationFailure(
                    .leaderCompleteness,
                    "n\(node.index + 1) leads term \(term) with \(entry.id) where \(expected) was committed")
            }
            index = index.next
        }
    }

    /// What a node says is durable is on its disk now, whatever it has had before damage. What it says late of an earlier term may
    /// have been cut off since.
    static func sent(_ message: Message, by node: SimulatedNode) throws(SimulationFailure) {
        guard case .appendEntriesResponse(let response) = message, response.term == node.raft.currentTerm,
            case .matched(let durable, _) = response.outcome, durable > node.disk.end
        else { return }
        throw SimulationFailure(
            .committedIsDurable,
            "n\(node.index + 1) says that it has everything to \(durable), and has it to \(node.disk.end)")
    }

    private mutating func commits(
        _ node: SimulatedNode, _ index: LogIndex, among nodes: [SimulatedNode]
    ) throws(SimulationFailure) {
        let entry = node.raft.find(index)
        if index <= committedThrough {
            let expected = committed[Int(index.rawValue) - 1]
            // Without the entry it came by a snapshot, whose content is judged when it is restored.
            if let entry, entry.id != expected.id || Self.digest(entry) != expected.digest {
                throw SimulationFailure(
                    .committedNeverChanges,
                    "n\(node.index + 1) commits \(entry.id) where \(expected.id) was committed")
            }
            return
        }
        guard let entry else {
            throw SimulationFailure(
                .committedNeverChanges, "n\(node.index + 1) commits \(index), which it does not have and nobody did")
        }
        // The leader is the first to commit; the configuration in force there decides.
        let configuration = node.raft.configuration
        let result = configuration.quorum.result { id in nodes.first { $0.id == id }?.disk.holds(entry.id) }
        guard result == .won else {
            let holders = nodes.filter { $0.disk.holds(entry.id) }.map { "n\($0.index + 1)" }
            throw SimulationFailure(
                .committedIsDurable,
                "n\(node.index + 1) commits \(entry.id), durable on \(holders.joined(separator: " ")) of "
                    + "\(configuration)")
        }
        try configurations.commits(entry, by: node.index)
        committed.append(Committed(id: entry.id, digest: Self.digest(entry), term: node.seen.term))
    }

    /// A node applied an entry, and its machine's chain is now `chain`.
    ///
    /// - Returns: whether it is the first.
    mutating func applied(_ entry: Entry, chain: UInt64, by node: Int) throws(SimulationFailure) -> Bool {
        guard entry.index <= committedThrough else {
            throw SimulationFailure(.stateMachineSafety, "n\(node + 1) applied \(entry.id) before it was committed")
        }
        let place = Int(entry.index.rawValue) - 1
        guard committed[place].id == entry.id, committed[place].digest == Self.digest(entry) else {
            throw SimulationFailure(
                .stateMachineSafety, "n\(node + 1) applied \(entry.id), others \(committed[place].id)")
        }
        let isFirst = committed[place].chain == nil
        try state(at: entry.index, chain: chain, of: node)
        return isFirst
    }

    /// A node's machine is at `index` by whatever way.
    mutating func state(at index: LogIndex, chain: UInt64, of node: Int) throws(SimulationFailure) {
        guard index > .zero else { return }
        guard index <= committedThrough else {
            throw SimulationFailure(
                .stateMachineSafety, "n\(node + 1) is at \(index), committed is \(committedThrough)")
        }
        let place = Int(index.rawValue) - 1
        if let known = committed[place].chain, known != chain {
            throw SimulationFailure(.stateHash, "n\(node + 1) differs from others at index \(index)")
        }
        committed[place].chain = chain
    }
}
