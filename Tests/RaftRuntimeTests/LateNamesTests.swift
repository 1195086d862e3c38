import CacheCore
import Coordination
import EsperTypes
import RaftCore
import RaftRuntime
import RaftStorage
import Synchronization
import TestSupport
import Testing

/// A node that has a long way to go does not show the names of each turn; but nobody whom it answers sees less of them than his answer knew of.
@Suite(.timeLimit(.minutes(2)))
struct LateNamesTests {
    enum Question: CaseIterable { case linearizable, local, command }

    /// Entries of so many names come first, and take several turns; then entries of one name, more than a node may be behind that shows
    /// the names of each turn.
    private static let (firstEntries, namesPerEntry, laterEntries, longWay) = (
        200, CacheLimits.changesPerCommand, 8000, 4096
    )
    private static let firstNames = firstEntries * namesPerEntry

    private static func bind(_ names: Range<Int>) -> Command {
        .cache(
            .bind(
                names.map { number in
                    CacheBind(
                        name: Array("n/\(number)".utf8), kind: .alias,
                        manifest: Digest(words: UInt64(number), 0, 0, 0), size: 1, mode: .memory,
                        tiers: TierSet(.memory))
                }))
    }

    private func bind(_ ranges: [Range<Int>], _ cluster: TestCluster, on node: String) async throws {
        let sink = TurnSink()
        let deadline = NodeClock.now() + .seconds(60)
        cluster[node].submit(
            ranges.enumerated().map { token, names in
                ServiceRequest(
                    token: UInt64(token), deadline: deadline, principal: "client/test",
                    operation: .command(Self.bind(names), nil))
            }, from: sink)
        try await until("\(ranges.count) answers", within: .seconds(60)) {
            sink.delivered.replies.count == ranges.count
        }
        for reply in sink.delivered.replies {
            guard case .command = reply.body else { throw TestCluster.Unexpected(body: "\(reply.body)") }
        }
    }

    @Test(arguments: Question.allCases)
    func `whoever is answered sees the names that his answer knew of, however far behind the node is`(
        question: Question
    ) async throws {
        var options = RuntimeOptions()
        // The leader keeps its place, whatever the machine is doing, and while its disk hangs.
        (options.raft.heartbeatInterval, options.raft.electionTimeout) = (.milliseconds(100), .seconds(3))
        options.raft.storageStallLimit = .seconds(60)
        let storage = StorageOptions(segmentBytes: 64 << 20)
        try await TestCluster.run(3, options: options, storage: storage) { cluster in
            let late = try await cluster.leader()
            let other = try await cluster.follower()
            try await cluster.waitUntilQuiet(late)
            let disk = cluster.disk(of: late)
            disk.stall()
            defer { disk.resume() }
            // The others commit all this; here it is applied once the disk has it.
            try await bind(
                (0..<Self.firstEntries).map { $0 * Self.namesPerEntry..<($0 + 1) * Self.namesPerEntry }, cluster,
                on: other)
            let asker = Asker(cluster[late], question, names: Self.firstNames)
            asker.ask()
            // Answered behind the question, which is therefore on its way with what was committed until now.
            #expect(try await cluster.status(of: late).appliedIndex < cluster.status(of: other).appliedIndex)
            let own = question == .command ? 1 : 0
            let total = Self.firstNames + own + Self.laterEntries
            try await bind((Self.firstNames + own..<total).map { $0..<$0 + 1 }, cluster, on: other)
            disk.resume()
            try await until("all names", within: .seconds(60)) { cluster[late].cacheTable.summary.live == total }
            let sights = asker.sights
            for sight in sights {
                #expect(sight.shown >= sight.told, "\(sight.told) names were told of and \(sight.shown) shown")
            }
            #expect(
                sights.contains { $0.told >= Self.firstNames / 2 && $0.shown + Self.longWay < total },
                "nobody was answered while the node was far behind: \(sights)")
        }
    }

    /// Looks at the names in the moment in which it is answered: on the node's loop, which applies nothing meanwhile.
    private final class Asker: ReplySink {
        struct Sight {
            /// Names that the answer knew of.
            var told: Int
            var shown: Int
        }

        private let node: NodeHandle
        private let operation: ServiceRequest.Operation
        private let names: Int
        private let isRepeated: Bool
        private let seen = Mutex<[Sight]>([])

        init(_ node: NodeHandle, _ question: Question, names: Int) {
            self.node = node
            self.names = names
            isRepeated = question == .local
            operation =
                switch question {
                case .linearizable: .query(.cacheSummary, linearizable: true)
                case .local: .query(.cacheSummary, linearizable: false)
                case .command: .command(LateNamesTests.bind(names..<names + 1), nil)
                }
        }

        var sights: [Sight] { seen.withLock { $0 } }

        func ask() {
            node.submit(
                [
                    ServiceRequest(
                        token: 1, deadline: NodeClock.now() + .seconds(60), principal: "client/test",
                        operation: operation)
                ], from: self)
        }

        func deliver(_ replies: [ServiceReply]) {
            for reply in replies {
                switch reply.body {
                case .query(let answer):
                    guard case .cacheSummary(let summary) = answer.result else { continue }
                    note(told: summary.live)
                    // As long as there may be something to see.
                    if isRepeated, summary.live < names + 1 { ask() }
                case .command: note(told: names + 1)
                default: Issue.record("\(reply.body)")
                }
            }
        }

        private func note(told: Int) {
            let sight = Sight(told: told, shown: node.cacheTable.summary.live)
            seen.withLock { $0.append(sight) }
        }
    }
}
