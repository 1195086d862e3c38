import EsperTypes
import RaftCore

/// One node under the microscope: events in, effects out, nothing else moves.
struct LoneNode {
    var node: RaftNode
    var now = Instant(nanoseconds: 1_000_000_000)
    /// The last write handed over.
    private(set) var lastWrite = WriteSequence.zero

    static let me = NodeID(1)
    static let ada = NodeID(2)
    static let bob = NodeID(3)

    init(
        voters: [NodeID] = [me, ada, bob], configuration: Configuration? = nil, hardState: HardState = HardState(),
        entries: [Entry] = [], snapshot: SnapshotDescriptor? = nil, options: RaftOptions = RaftOptions(),
        lostThrough: Term? = nil, receiving: PartialSnapshot? = nil
    ) {
        let restored = RestoredState(
            hardState: hardState, configuration: configuration ?? Configuration(voters: voters), snapshot: snapshot,
            entries: entries, lostThrough: lostThrough, receiving: receiving)
        node = RaftNode(options: options, id: Self.me, restored: restored, seed: 1, at: now)
    }

    /// One turn with these events.
    mutating func turn(_ events: Event...) -> [Effect] {
        var effects: [Effect] = []
        for event in events {
            node.step(event, at: now, into: &effects)
            node.checkInvariants()
        }
        node.flush(at: now, into: &effects)
        node.checkInvariants()
        for case .persist(let batch) in effects { lastWrite = batch.sequence }
        return effects
    }

    mutating func receive(_ message: Message, from: NodeID = ada) -> [Effect] {
        turn(.received(message, from: from))
    }

    /// Everything handed over becomes durable.
    mutating func sync() -> [Effect] { turn(.persisted(through: lastWrite)) }

    mutating func wait(_ duration: Duration) -> [Effect] {
        now = now + duration
        return turn(.deadlineReached)
    }

    /// Lets the election timeout pass.
    mutating func loseLeader() -> [Effect] {
        now = max(now, node.nextDeadline)
        return turn(.deadlineReached)
    }

    /// Runs this node through pre-vote and vote to leadership.
    mutating func becomeLeader(votes: [NodeID] = [ada, bob], holderWait: Duration = .zero) -> [Effect] {
        let asked = loseLeader()
        guard let request = asked.preVoteRequests.first else { preconditionFailure("no pre-vote in \(asked)") }
        for voter in votes where node.status.role == .preCandidate {
            _ = receive(
                .preVoteResponse(
                    PreVoteResponse(term: node.status.term, isGranted: true, round: request.round)), from: voter)
        }
        var effects = sync()
        for voter in votes where node.status.role == .candidate {
            effects += receive(
                .requestVoteResponse(
                    RequestVoteResponse(term: node.status.term, isGranted: true, holderWait: holderWait)), from: voter)
        }
        precondition(node.status.role == .leader, "not elected: \(node.status)")
        return effects
    }

    /// The follower says it has everything through `index`, on disk.
    mutating func acknowledge(
        _ index: LogIndex, from follower: NodeID, in effects: [Effect], read: ReadSequence? = nil,
        leaseWait: Duration = .zero
    ) -> [Effect] {
        guard let append = effects.appends(to: follower).last else {
            preconditionFailure("nothing sent to \(follower)")
        }
        return receive(
            .appendEntriesResponse(
                AppendEntriesResponse(
                    term: append.term, session: append.session, readSequence: read ?? append.readSequence,
                    leaseWait: leaseWait, outcome: .matched(durable: index, received: index))), from: follower)
    }
}

extension [Effect] {
    var sends: [(message: Message, to: NodeID, after: WriteSequence?)] {
        compactMap { if case .send(let message, let to, let after) = $0 { (message, to, after) } else { nil } }
    }

    var batches: [WriteBatch] { compactMap { if case .persist(let batch) = $0 { batch } else { nil } } }

    var applied: [Entry] {
        flatMap { effect -> [Entry] in if case .apply(let entries) = effect { entries } else { [] } }
    }

    var preVoteRequests: [PreVoteRequest] {
        sends.compactMap { if case .preVoteRequest(let request) = $0.message { request } else { nil } }
    }

    var preVoteResponses: [PreVoteResponse] {
        sends.compactMap { if case .preVoteResponse(let response) = $0.message { response } else { nil } }
    }

    var voteRequests: [(request: RequestVote, after: WriteSequence?)] {
        sends.compactMap { if case .requestVote(let request) = $0.message { (request, $0.after) } else { nil } }
    }

    var voteResponses: [(response: RequestVoteResponse, after: WriteSequence?)] {
        sends.compactMap {
            if case .requestVoteResponse(let response) = $0.message { (response, $0.after) } else { nil }
        }
    }

    func appends(to node: NodeID) -> [AppendEntries] {
        sends.compactMap {
            if case .appendEntries(let append) = $0.message, $0.to == node { append } else { nil }
        }
    }

    var appendResponses: [(response: AppendEntriesResponse, after: WriteSequence?)] {
        sends.compactMap {
            if case .appendEntriesResponse(let response) = $0.message { (response, $0.after) } else { nil }
        }
    }

    var readRequests: [ReadIndexRequest] {
        sends.compactMap { if case .readIndexRequest(let request) = $0.message { request } else { nil } }
    }

    var roles: [RoleChange] { compactMap { if case .roleChanged(let change) = $0 { change } else { nil } } }
}

func entry(_ term: UInt64, _ index: UInt64, _ payload: [UInt8] = [1]) -> Entry {
    Entry(id: EntryID(term: Term(term), index: LogIndex(index)), kind: .command, payload: payload)
}

func id(_ term: UInt64, _ index: UInt64) -> EntryID { EntryID(term: Term(term), index: LogIndex(index)) }

func append(
    term: UInt64, previous: EntryID = .zero, _ entries: [Entry] = [], commit: UInt64 = 0, session: UInt64 = 1,
    read: UInt64 = 0
) -> Message {
    .appendEntries(
        AppendEntries(
            term: Term(term), session: SessionNonce(session), readSequence: ReadSequence(read), previous: previous,
            commit: LogIndex(commit), entries: entries))
}
