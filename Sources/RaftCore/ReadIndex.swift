import DequeModule
package import EsperTypes

/// Linearizable reads without the log (dissertation §6.4), at the leader.
///
/// Rounds are numbered within the leader's term. Any answer of a follower that echoes round n or a later one proves
/// that it had not moved past the term when round n began; a quorum of such answers confirms every read of the rounds up to n.
/// The number is the leader's own, so a repeated request or a late answer can never confirm a read that began later.
struct ReadIndex: Sendable {
    enum Waiter: Sendable {
        case local([UInt64])
        case remote(NodeID, number: UInt64)
    }

    /// The last round begun.
    private(set) var sequence = ReadSequence.zero
    /// Reads that join the next round.
    private(set) var waiting: [Waiter] = []
    private(set) var waitingCount = 0
    /// The round that is out, with the commit index and the moment of its beginning.
    private(set) var round: (index: LogIndex, since: Instant, waiters: [Waiter])?

    mutating func wait(_ tokens: [UInt64]) {
        guard !tokens.isEmpty else { return }
        waiting.append(.local(tokens))
        waitingCount += tokens.count
    }

    mutating func wait(for node: NodeID, number: UInt64) {
        waiting.append(.remote(node, number: number))
        waitingCount += 1
    }

    /// Begins a round for all that wait, unless one is out; for nobody, when the leader itself has to know.
    mutating func begin(with commit: LogIndex, at now: Instant, isForced: Bool = false) {
        guard round == nil, !waiting.isEmpty || isForced else { return }
        sequence = sequence.next
        round = (commit, now, waiting)
        waiting = []
    }

    /// Everything that waits, also for the round that is out. Its answers confirm nothing any more.
    mutating func takeAll() -> [Waiter] {
        defer { (round, waiting, waitingCount) = (nil, [], 0) }
        return (round?.waiters ?? []) + waiting
    }

    /// Everything that waits; a round that is out goes on for nobody.
    mutating func takeWaiters() -> [Waiter] {
        let all = (round?.waiters ?? []) + waiting
        round?.waiters = []
        (waiting, waitingCount) = ([], 0)
        return all
    }

    /// Ends the round when `confirmed` reaches it.
    mutating func finish(confirmed: ReadSequence) -> (index: LogIndex, since: Instant, waiters: [Waiter])? {
        guard confirmed >= sequence, let finished = round else { return nil }
        round = nil
        for waiter in finished.waiters { waitingCount -= waiter.count }
        return finished
    }

}

extension ReadIndex.Waiter {
    var count: Int {
        switch self {
        case .local(let tokens): tokens.count
        case .remote: 1
        }
    }
}

/// Reads of a node that does not lead, on their way to whoever does.
///
/// A batch is repeated, under its number, until it is answered or too old; an answer is valid whenever it comes,
/// because its index was confirmed after the batch was made. What comes while a batch is out makes the next one, as at the leader,
/// so that many reads cost few messages; a batch that is not answered soon holds nobody up.
struct ForwardedReads: Sendable {
    struct Batch: Sendable {
        let number: UInt64
        let tokens: [UInt64]
        let since: Instant
        /// When it was last sent to the present leader.
        var sentAt: Instant?
    }

    private(set) var batches: Deque<Batch> = []
    private(set) var count = 0
    /// In no batch so far.
    private var collected: [UInt64] = []
    private var collectedSince = Instant.zero
    private var nextNumber: UInt64

    init(firstNumber: UInt64) { nextNumber = firstNumber }

    mutating func add(_ tokens: [UInt64], at now: Instant) {
        if collected.isEmpty { collectedSince = now }
        collected.append(contentsOf: tokens)
        count += tokens.count
    }

    mutating func leaderChanged() {
        for position in batches.indices { batches[position].sentAt = nil }
    }

    /// Until when the reads in no batch wait for the answer of the last one.
    private func heldUntil(_ patience: Duration) -> Instant? { batches.last?.sentAt.map { $0 + patience } }

    /// The numbers to send now.
    mutating func due(at now: Instant, _ options: RaftOptions) -> [UInt64] {
        let isHeld = heldUntil(options.readRoundPatience).map { now < $0 } ?? false
        if !collected.isEmpty, !isHeld {
            batches.append(Batch(number: nextNumber, tokens: collected, since: collectedSince))
            nextNumber &+= 1
            collected = []
        }
        var numbers: [UInt64] = []
        for position in batches.indices {
            if let sentAt = batches[position].sentAt, now - sentAt < options.readRetryInterval { continue }
            batches[position].sentAt = now
            numbers.append(batches[position].number)
        }
        return numbers
    }

    mutating func take(_ number: UInt64) -> [UInt64]? {
        guard let position = batches.firstIndex(where: { $0.number == number }) else { return nil }
        let batch = batches.remove(at: position)
        count -= batch.tokens.count
        return batch.tokens
    }

    mutating func takeAll() -> [[UInt64]] {
        let all = batches.map(\.tokens) + (collected.isEmpty ? [] : [collected])
        batches.removeAll()
        collected = []
        count = 0
        return all
    }

    mutating func takeExpired(before limit: Instant) -> [UInt64] {
        var tokens: [UInt64] = []
        while let batch = batches.first, batch.since <= limit {
            tokens += batch.tokens
            batches.removeFirst()
        }
        if !collected.isEmpty, collectedSince <= limit {
            tokens += collected
            collected = []
        }
        count -= tokens.count
        return tokens
    }

    func nextDeadline(_ options: RaftOptions) -> Instant {
        var deadline = Instant.distantFuture
        if let oldest = batches.first { deadline = oldest.since + options.readTimeout }
        if !collected.isEmpty {
            deadline = min(deadline, collectedSince + options.readTimeout)
            if let end = heldUntil(options.readRoundPatience) { deadline = min(deadline, end) }
        }
        for batch in batches {
            if let sentAt = batch.sentAt { deadline = min(deadline, sentAt + options.readRetryInterval) }
        }
        return deadline
    }
}

extension RaftOptions {
    /// A forwarded read is repeated after this: the request or its answer may be lost.
    var readRetryInterval: Duration { electionTimeout / 2 }
    /// A read that no leader has answered for this long is refused: longer than an election usually takes.
    var readTimeout: Duration { electionTimeout * 4 }
}

extension RaftNode {
    mutating func read(_ tokens: [UInt64], at now: Instant, into effects: inout [Effect]) {
        guard reads.waitingCount + forwardedReads.count + tokens.count <= options.maximumWaitingReads else {
            effects.append(.readRefused(tokens, .overloaded))
            return
        }
        guard role == .leader || !isOutside else {
            // Nobody sends it the log: the index would never be reached.
            effects.append(.readRefused(tokens, .notLeader(hint: leader)))
            return
        }
        if role == .leader { reads.wait(tokens) } else { forwardedReads.add(tokens, at: now) }
    }

    /// Confirms what the answers of this turn allow, then begins the next round.
    ///
    /// A new leader knows which entries are committed only after one of its own term is (dissertation §6.4 step 1).
    mutating func advanceReads(at now: Instant, into effects: inout [Effect]) {
        guard commit >= termStart else { return }
        if reads.waitingCount > 0 { renewLease(at: now) }
        if holdsLease(at: now) {
            guard options.holderLease > .zero else {
                answer(reads.takeAll(), at: commit, into: &effects)
                return
            }
            answer(reads.takeWaiters(), at: commit, into: &effects)
        }
        finishReads(into: &effects)
        reads.begin(with: commit, at: now, isForced: isConfirmationDue(at: now))
        // Alone, a leader is its own quorum.
        finishReads(into: &effects)
    }

    /// The last round of reads that this leader began.
    package var readRound: ReadSequence { reads.sequence }

    /// Whether the follower is to be told of the round that is out by a message of its own.
    ///
    /// First as many voters are asked as make a quorum with this node: those that answered the newest round, so that
    /// one that stopped answering is soon left out. When they take too long, everyone is asked.
    /// Appends carry the round to all others for nothing.
    func isReadRoundDue(_ position: Int, at now: Instant) -> Bool {
        guard let round = reads.round, peers[position].readSent < reads.sequence else { return false }
        if quorum.outgoing.size > 0 || now - round.since >= options.readRoundPatience { return true }
        guard quorum.incoming.voters.contains(peers[position].id) else { return false }
        var needed = quorum.incoming.size
        for node in quorum.incoming.voters {
            if node == id {
                needed -= 1
            } else if let other = peerIndex(node), other != position, isAskedBefore(position, other) {
                needed -= 1
            }
        }
        return needed > 0
    }

    private func isAskedBefore(_ position: Int, _ other: Int) -> Bool {
        if peers[other].isLinkDown != peers[position].isLinkDown { return peers[position].isLinkDown }
        if peers[other].readAcknowledged != peers[position].readAcknowledged {
            return peers[other].readAcknowledged > peers[position].readAcknowledged
        }
        return other < position
    }

    private mutating func finishReads(into effects: inout [Effect]) {
        guard reads.round != nil else { return }
        let confirmed = quorum.reached { [id, peers, own = reads.sequence] node in
            node == id ? own : peers.first { $0.id == node }?.readAcknowledged ?? .zero
        }
        guard let finished = reads.finish(confirmed: confirmed ?? .zero) else { return }
        if options.holderLease > .zero { roster.confirmed(at: finished.since, length: options.holderLease) }
        answer(finished.waiters, at: finished.index, into: &effects)
    }

    private mutating func answer(_ waiters: [ReadIndex.Waiter], at index: LogIndex, into effects: inout [Effect]) {
        var tokens: [UInt64] = []
        for waiter in waiters {
            switch waiter {
            case .local(let some): tokens += some
            case .remote(let node, let number):
                let response = ReadIndexResponse(term: hardState.term, number: number, index: index)
                effects.append(.send(.readIndexResponse(response), to: node, after: nil))
            }
        }
        confirm(tokens, at: index)
    }

    /// Queues confirmed reads until the state machine reaches their index.
    private mutating func confirm(_ tokens: [UInt64], at index: LogIndex) {
        guard !tokens.isEmpty else { return }
        var place = confirmedReads.endIndex
        while place > 0, confirmedReads[place - 1].index > index { place -= 1 }
        confirmedReads.insert((index, tokens), at: place)
    }

    // MARK: From other nodes

    mutating func forwardReads(at now: Instant, into effects: inout [Effect]) {
        guard let leader, forwardedReads.count > 0 else { return }
        for number in forwardedReads.due(at: now, options) {
            let request = ReadIndexRequest(term: hardState.term, number: number)
            effects.append(.send(.readIndexRequest(request), to: leader, after: nil))
        }
    }

    mutating func readIndexRequested(
        _ request: ReadIndexRequest, by node: NodeID, at now: Instant, into effects: inout [Effect]
    ) {
        if request.term > hardState.term {
            follow(nil, term: request.term, reason: .newerTerm, at: now, into: &effects)
        }
        guard role == .leader, reads.waitingCount < options.maximumWaitingReads else {
            let refusal = ReadIndexResponse(term: hardState.term, number: request.number, index: nil)
            effects.append(.send(.readIndexResponse(refusal), to: node, after: nil))
            return
        }
        reads.wait(for: node, number: request.number)
    }

    mutating func readIndexAnswered(_ response: ReadIndexResponse, into effects: inout [Effect]) {
        // A refused batch stays: it is repeated to the same leader later, or to the next one at once.
        guard let index = response.index, let tokens = forwardedReads.take(response.number) else { return }
        confirm(tokens, at: index)
    }

    mutating func expireReads(at now: Instant, into effects: inout [Effect]) {
        guard forwardedReads.count > 0, now.nanoseconds >= UInt64(options.readTimeout.nanoseconds) else { return }
        let expired = forwardedReads.takeExpired(before: now - options.readTimeout)
        if !expired.isEmpty {
            effects.append(.readRefused(expired, leader == nil ? .notLeader(hint: nil) : .unconfirmed))
        }
    }
}
