import Coordination
import EsperTypes
import RaftCore
import RaftRuntime
import Synchronization
import Testing

/// The state that is worked out while the log is read.
@Suite(.timeLimit(.minutes(1)))
struct ReplayTests {
    private let configuration = Configuration(voters: [NodeID(1)])

    private func entries(_ terms: [UInt64], from first: UInt64 = 1) -> [Entry] {
        terms.enumerated().map { offset, term in
            Entry(
                id: EntryID(term: Term(term), index: LogIndex(first + UInt64(offset))), kind: .command,
                payload: Envelope(
                    time: 0, proposal: ProposalID(origin: NodeID(1), boot: 1, number: first + UInt64(offset)),
                    principal: "test",
                    command: .put(.init(key: Array("k\(first + UInt64(offset))".utf8), value: Array("\(term)".utf8)))
                ).encoded())
        }
    }

    private func replay(_ pieces: [Entry]...) -> StateReplay {
        var replay = StateReplay()
        for piece in pieces { replay.read(piece) }
        return replay
    }

    @Test func `a replay is the state that applying leads to`() {
        let log = entries([1, 1, 2, 2])
        let replay = replay(Array(log[..<3]), Array(log[3...]))
        var state = StateMachine()
        var output = ApplyOutput()
        for entry in log {
            state.apply(index: entry.index, term: entry.term, payload: entry.payload, into: &output)
        }
        #expect(replay.matches(RestoredState(configuration: configuration, entries: log)))
        #expect(replay.state.applied == log[3].id && replay.state.applyChain == state.applyChain)
    }

    @Test func `what a later leader replaced is not taken for the log`() {
        let (old, new) = (entries([1, 1, 1]), entries([2, 2], from: 2))
        let log = [old[0]] + new
        // The files hold what was replaced, and then what replaced it.
        #expect(!replay(old, new).matches(RestoredState(configuration: configuration, entries: log)))
        // Nothing came after it: the log ends before what was read.
        #expect(!replay(old).matches(RestoredState(configuration: configuration, entries: [old[0]])))
    }

    @Test func `a log that begins behind a snapshot, or is empty, is not replayed`() {
        let tail = entries([1, 1], from: 5)
        let compacted = EntryID(term: Term(1), index: LogIndex(4))
        #expect(
            !replay(tail).matches(
                RestoredState(configuration: configuration, compactedThrough: compacted, entries: tail)))
        #expect(!replay().matches(RestoredState(configuration: configuration)))
    }

    @Test func `entries before and after a snapshot that took the place of others are not taken for one log`() {
        // What the files hold: a tail that was never committed, and what came after the snapshot that replaced it.
        let (uncommitted, later) = (entries([1, 1, 1]), entries([2, 2], from: 4))
        let snapshot = SnapshotDescriptor(
            id: EntryID(term: Term(2), index: LogIndex(3)), configuration: configuration, sizeBytes: 1, checksum: 1)
        #expect(
            !replay(uncommitted, later).matches(
                RestoredState(configuration: configuration, snapshot: snapshot, entries: later)))
    }

    @Test func `a follower that starts takes the state over, and a whole cluster that starts serves on`() async throws {
        try await TestCluster.run(3) { cluster in
            let leader = try await cluster.leader()
            let session = try await cluster.session(ttl: .seconds(30), on: leader)
            for number in 0..<50 { try await cluster.put("k\(number)", "\(number)", on: leader) }
            let follower = try await cluster.follower()
            await cluster.stop(follower)
            try await cluster.start(follower)
            #expect(try await cluster.get("k49", on: follower) == "49")
            #expect(tookStateOver(follower, of: cluster))
            try await cluster.put("k50", "50", on: follower)

            for name in cluster.names { await cluster.stop(name) }
            for name in cluster.names { try await cluster.start(name) }
            for name in cluster.names {
                for number in [0, 25, 50] { #expect(try await cluster.get("k\(number)", on: name) == "\(number)") }
            }
            let next = try await cluster.leader()
            #expect(try await cluster.keepAlive(session, on: next) > .seconds(20))
            try await cluster.put("k51", "51", on: next)
        }
    }

    /// Whoever looks names up is told that any may be another: entries that are applied tell which.
    private func tookStateOver(_ name: String, of cluster: TestCluster) -> Bool {
        cluster.observer(of: name).changedNames.withLock { $0.contains { $0 == nil } }
    }
}
