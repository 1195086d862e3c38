import Coordination
import EsperTypes
import RaftCore
import RaftRuntime
import Synchronization
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(2)))
struct RuntimeTests {
    @Test func `what is put on any node is read on every node`() async throws {
        try await TestCluster.run(3) { cluster in
            for name in cluster.names { try await cluster.put("from-\(name)", name, on: name) }
            for reader in cluster.names {
                for writer in cluster.names {
                    #expect(try await cluster.get("from-\(writer)", on: reader) == writer)
                }
            }
        }
    }

    @Test func `a single node serves alone and keeps everything over a restart`() async throws {
        try await TestCluster.run(1) { cluster in
            for number in 0..<50 { try await cluster.put("k\(number)", "v\(number)", on: "n1") }
            await cluster.stop("n1")
            try await cluster.start("n1")
            for number in 0..<50 { #expect(try await cluster.get("k\(number)", on: "n1") == "v\(number)") }
        }
    }

    @Test func `writes and reads go on when the leader is gone, and it catches up when it is back`() async throws {
        try await TestCluster.run(3) { cluster in
            let leader = try await cluster.leader()
            try await cluster.put("before", "1", on: leader)
            await cluster.stop(leader)
            let other = cluster.names.first { $0 != leader }!
            try await cluster.put("during", "2", on: other)
            #expect(try await cluster.get("before", on: other) == "1")
            try await cluster.start(leader)
            #expect(try await cluster.get("during", on: leader) == "2")
        }
    }

    @Test func `commands sent to a leader that dies are answered once, by the next leader`() async throws {
        try await TestCluster.run(3) { cluster in
            let leader = try await cluster.leader()
            let follower = try await cluster.follower()
            let counter = Array("counter".utf8)
            try await cluster.put("counter", "", on: follower)
            async let replies = withThrowingTaskGroup(of: CommandReply.self, returning: [CommandReply].self) { group in
                for number in 0..<200 {
                    group.addTask {
                        try await cluster.command(.put(.init(key: counter, value: [UInt8(number)])), on: follower)
                    }
                }
                var all: [CommandReply] = []
                for try await reply in group { all.append(reply) }
                return all
            }
            await cluster.stop(leader)
            let revisions = try await replies.map(\.revision)
            #expect(Set(revisions).count == 200)
            let query = Query.range(RangeRequest(.key(counter)))
            let body = await cluster[follower].call(
                .query(query, linearizable: true), principal: "t", timeout: .seconds(20))
            guard case .query(let reply) = body, case .range(let range) = reply.result else {
                Issue.record("no answer: \(body)")
                return
            }
            // One version for each command and one for the first put: nothing was applied twice.
            #expect(range.keyValues.first?.version == 201)
        }
    }

    @Test func `without a quorum writes are not committed or unknown and reads are refused, until a node is back`()
        async throws
    {
        try await TestCluster.run(3) { cluster in
            let leader = try await cluster.leader()
            try await cluster.put("key", "old", on: leader)
            let others = cluster.names.filter { $0 != leader }
            for name in others { await cluster.stop(name) }
            let put = Command.put(.init(key: Array("key".utf8), value: Array("new".utf8)))
            do {
                let reply = try await cluster.command(put, on: leader, timeout: .milliseconds(600))
                Issue.record("committed without a quorum: \(reply)")
            } catch let failure as ServiceFailure {
                #expect(failure.outcome != .committed)
            }
            let read = await cluster[leader].call(
                .query(.range(RangeRequest(.key(Array("key".utf8)))), linearizable: true), principal: "t",
                timeout: .milliseconds(600))
            guard case .failed = read else {
                Issue.record("a read was answered without a quorum: \(read)")
                return
            }
            #expect(try await cluster.get("key", on: leader, linearizable: false) == "old")
            try await cluster.start(others[0])
            try await cluster.put("key", "after", on: leader)
            #expect(try await cluster.get("key", on: others[0]) == "after")
        }
    }

    @Test func `without a quorum no more than a budget of commands is held, the others are refused`() async throws {
        var options = RuntimeOptions()
        options.maximumPendingBytes = 1 << 20
        try await TestCluster.run(3, options: options) { cluster in
            let leader = try await cluster.leader()
            try await cluster.put("key", "old", on: leader)
            let others = cluster.names.filter { $0 != leader }
            for name in others { await cluster.stop(name) }
            let value = [UInt8](repeating: 7, count: 50 << 10)
            let failures = try await withThrowingTaskGroup(of: ServiceFailure.self, returning: [ServiceFailure].self) {
                group in
                for number in 0..<100 {
                    group.addTask {
                        do {
                            let put = Command.put(.init(key: [UInt8(number)], value: value))
                            try await cluster.command(put, on: leader, timeout: .seconds(2))
                            throw TestCluster.Unexpected(body: "committed without a quorum")
                        } catch let failure as ServiceFailure {
                            return failure
                        }
                    }
                }
                var all: [ServiceFailure] = []
                for try await failure in group { all.append(failure) }
                return all
            }
            let refused = failures.filter { $0.code == .overloaded }
            // Twenty of 50 KiB and their envelopes fit into 1 MiB.
            #expect(refused.count >= 80)
            #expect(refused.allSatisfy { $0.outcome == .notCommitted && $0.isRetryable })
            #expect(refused.first?.message.contains("bytes of commands wait on this node") == true)
            try await cluster.start(others[0])
            // The budget is free again once what was sent is settled.
            try await cluster.put("key", "new", on: others[0])
            let put = Command.put(.init(key: [1], value: value))
            _ = try await eventually("room") { try? await cluster.command(put, on: leader) }
        }
    }

    @Test func `a drain ends watches and waits at once, and lets the place in the queue stay`() async throws {
        try await TestCluster.run(3) { cluster in
            let leader = try await cluster.leader()
            let first = try await cluster.session(ttl: .seconds(30), on: leader)
            let second = try await cluster.session(ttl: .seconds(30), on: leader)
            try await cluster.command(.acquireLock(.init(name: "l", session: first)), on: leader)
            async let wait = cluster[leader].call(
                .claim(.acquireLock(.init(name: "l", session: second)), nil, until: .distantFuture), principal: "t",
                timeout: .seconds(60))
            _ = try await eventually("the wait") { () -> Bool? in
                guard case .lock(let lock)? = try? await cluster.read(.lock(name: "l", claims: 9), on: leader)
                else { return nil }
                return lock?.claims.count == 2 ? true : nil
            }
            await cluster[leader].drain(within: .seconds(10))
            guard case .failed(let failure) = await wait else {
                Issue.record("the wait was not ended")
                return
            }
            #expect(failure.code == .draining)
            #expect(failure.isRetryable)
            let other = try await cluster.leader(otherThan: leader)
            async let again = cluster[other].call(
                .claim(.acquireLock(.init(name: "l", session: second)), nil, until: .distantFuture), principal: "t",
                timeout: .seconds(60))
            try await cluster.command(.releaseLock(name: "l", session: first), on: other)
            guard case .command(let reply) = await again, case .lock(let lock) = reply.result else {
                Issue.record("not granted elsewhere")
                return
            }
            #expect(lock.isHeld)
        }
    }

    @Test func `a request that is sent again gets its first answer`() async throws {
        try await TestCluster.run(3) { cluster in
            let follower = try await cluster.follower()
            guard case .clientRegistered(let client) = try await cluster.command(.registerClient, on: follower).result
            else {
                Issue.record("no client")
                return
            }
            let request = RequestID(client: client, sequence: 1)
            let put = Command.put(.init(key: [1], value: [2]))
            let first = try await cluster.command(put, on: follower, request: request)
            let leader = try await cluster.leader()
            let second = try await cluster.command(put, on: leader, request: request)
            #expect(first == second)
        }
    }

    @Test func `a command that is larger than an entry is refused before it is proposed`() async throws {
        try await TestCluster.run(1) { cluster in
            let half = [UInt8](repeating: 0, count: Limits.entryPayloadBytes / 2)
            let whole = Command.transaction(
                .init(success: [.put(.init(key: [1], value: half)), .put(.init(key: [2], value: half))]))
            do {
                try await cluster.command(whole, on: "n1")
                Issue.record("accepted")
            } catch let failure as ServiceFailure {
                #expect(failure.code == .oversized)
                #expect(failure.outcome == .notCommitted)
            }
        }
    }

    @Test func `a command that breaks a limit is refused with the limit, and leaves nothing in the log`() async throws {
        try await TestCluster.run(1) { cluster in
            try await cluster.put("key", "value", on: "n1")
            func status() async throws -> ClusterStatus {
                guard
                    case .status(let status) = await cluster["n1"].call(
                        .status, principal: "test", timeout: .seconds(5))
                else { throw TestCluster.Unexpected(body: "no status") }
                return status
            }
            // The leader's own entries come first: nothing else may be on its way to the log.
            try await until("the member table complete") {
                guard case .members(let table) = try await cluster.read(.members, on: "n1") else { return false }
                return table.records.contains { $0.incarnation != nil }
            }
            let before = try await status().commitIndex
            let long = [UInt8](repeating: 0, count: Limits.valueBytes + 1)
            for (command, refusal) in [
                (Command.put(.init(key: [1], value: long)), InvalidCommand.valueTooLong(long.count)),
                (.grantSession(ttl: .milliseconds(99)), .ttlOutOfRange),
                (.releaseLock(name: "", session: SessionID(1)), .nameLength(0)),
            ] {
                let reply = try await cluster.command(command, on: "n1")
                #expect(reply.result == .refused(.invalid(refusal)))
            }
            #expect(try await status().commitIndex == before)
        }
    }

    @Test func `a draining leader hands over and refuses new requests`() async throws {
        try await TestCluster.run(3) { cluster in
            let leader = try await cluster.leader()
            await cluster[leader].drain(within: .seconds(10))
            let next = try await cluster.leader(otherThan: leader)
            #expect(next != leader)
            do {
                try await cluster.put("key", "value", on: leader)
                Issue.record("a draining node took a request")
            } catch let failure as ServiceFailure {
                #expect(failure.code == .draining)
                // The caller is told where to go.
                #expect(failure.leader == next)
                #expect(failure.leaderAPIAddress == "\(next).test:1")
            }
            try await cluster.put("key", "value", on: next)
        }
    }

    @Test func `a follower behind the compacted log catches up by a snapshot`() async throws {
        var options = RuntimeOptions()
        options.snapshotAfterBytes = 256 << 10
        try await TestCluster.run(3, options: options) { cluster in
            let leader = try await cluster.leader()
            let late = try await cluster.follower()
            await cluster.stop(late)
            let value = String(repeating: "x", count: 4000)
            for number in 0..<1200 { try await cluster.put("k\(number % 100)", value + "\(number)", on: leader) }
            try await cluster.start(late)
            for key in [0, 50, 99] {
                #expect(try await cluster.get("k\(key)", on: late) == value + "\(1100 + key)")
            }
        }
    }

    @Test func `history is compacted by itself, and the newest revisions stay`() async throws {
        var options = RuntimeOptions()
        options.historyRevisions = 100
        try await TestCluster.run(3, options: options) { cluster in
            let leader = try await cluster.leader()
            for number in 0..<300 { try await cluster.put("key", "\(number)", on: leader) }
            // The compaction of the last step may still be on its way.
            func range(at revision: Revision) async throws -> QueryResult {
                try await cluster.read(
                    .range(RangeRequest(.key(Array("key".utf8)), revision: revision)), on: leader)
            }
            guard case .range(let range200) = try await range(at: Revision(200)) else {
                Issue.record("revision 200 is gone")
                return
            }
            // The empty keyspace is revision 1, so that number n makes revision n + 2.
            #expect(range200.keyValues.map { String(decoding: $0.value, as: UTF8.self) } == ["198"])
            guard case .refused(.compacted(let lowest)) = try await range(at: Revision(1)) else {
                Issue.record("nothing was compacted")
                return
            }
            #expect((Revision(150)...Revision(200)).contains(lowest))
        }
    }

    @Test func `commands that a leader never got are sent to it again while it leads`() async throws {
        try await TestCluster.run(3) { cluster in
            let follower = try await cluster.follower()
            try await cluster.put("counter", "", on: follower)
            var sent = 1
            for _ in 0..<5 {
                let leader = try await cluster.leader()
                guard leader != follower else { continue }
                // Frames vanish while the link stands: shorter than it takes to elect another leader.
                _ = await cluster[leader].call(.isolate(fromPeers: []), principal: "t", timeout: .seconds(1))
                async let replies = withThrowingTaskGroup(of: Void.self) { group in
                    for _ in 0..<20 {
                        group.addTask { try await cluster.put("counter", "x", on: follower) }
                    }
                    try await group.waitForAll()
                }
                await pause(.milliseconds(30))
                _ = await cluster[leader].call(.heal, principal: "t", timeout: .seconds(1))
                let clock = ContinuousClock()
                let start = clock.now
                try await replies
                sent += 20
                // Not at the deadline of twenty seconds.
                #expect(clock.now - start < .seconds(10))
            }
            let query = Query.range(RangeRequest(.key(Array("counter".utf8))))
            let body = await cluster[follower].call(
                .query(query, linearizable: true), principal: "t", timeout: .seconds(20))
            guard case .query(let reply) = body, case .range(let range) = reply.result else {
                Issue.record("no answer: \(body)")
                return
            }
            // Without request ids, and still each exactly once.
            #expect(range.keyValues.first?.version == UInt64(sent))
        }
    }

    @Test func `a node is ready once it has what the leader has, and not while it leads nobody or stops`() async throws
    {
        try await TestCluster.run(3) { cluster in
            let leader = try await cluster.leader()
            for name in cluster.names {
                try await until("\(name) to be ready") { try await cluster.readiness(of: name) == .ready }
            }
            let others = cluster.names.filter { $0 != leader }
            for name in others { await cluster.stop(name) }
            try await until("the leader to miss its quorum") { try await cluster.readiness(of: leader) == .noLeader }
            #expect(cluster.observer(of: leader).readiness.withLock { $0.last } == .noLeader)
            for name in others { try await cluster.start(name) }
            try await until("everyone to be ready again") {
                for name in cluster.names where try await cluster.readiness(of: name) != .ready { return false }
                return true
            }
            let next = try await cluster.leader()
            await cluster[next].drain(within: .seconds(10))
            #expect(try await cluster.readiness(of: next) == .draining)
            #expect(cluster.observer(of: next).readiness.withLock { $0.last } == .draining)
        }
    }

    @Test func `a command is not sent again once its caller was told that what became of it is unknown`()
        async throws
    {
        var options = RuntimeOptions()
        options.raft.electionTimeout = .seconds(1)
        try await TestCluster.run(3, options: options) { cluster in
            let (leader, follower) = (try await cluster.leader(), try await cluster.follower())
            // The follower knows its leader.
            try await cluster.put("before", "0", on: follower)
            try await cluster.isolate(leader)
            let put = Command.put(.init(key: Array("lost".utf8), value: [1]))
            let failure = await #expect(throws: ServiceFailure.self) {
                try await cluster.command(put, on: follower, timeout: .milliseconds(200))
            }
            #expect(failure?.outcome == .unknown)
            try await until("another leader") {
                let known = try await cluster.status(of: follower).leader
                return known != nil && known != leader
            }
            // With the first the node has applied something of the new term: what it sends again is before the second.
            try await cluster.put("first", "1", on: follower)
            try await cluster.put("second", "2", on: follower)
            #expect(try await cluster.get("lost", on: follower) == nil)
        }
    }

    @Test func `many deadlines that lie close together are looked after together`() async throws {
        try await TestCluster.run(3) { cluster in
            let leader = try await cluster.leader()
            for name in cluster.names where name != leader { await cluster.stop(name) }
            try await until("it to lead no more") { try await cluster.status(of: leader).leader == nil }
            let (sink, start, count) = (TurnSink(), NodeClock.now() + .milliseconds(300), 3000)
            let requests = (0..<count).map { number in
                ServiceRequest(
                    token: UInt64(number), deadline: start + .microseconds(200 * number), principal: "client/test",
                    operation: .command(.put(.init(key: [1], value: [])), nil))
            }
            cluster[leader].submit(requests, from: sink)
            try await until("all to be answered") { sink.delivered.replies.count == count }
            let (turns, replies) = sink.delivered
            #expect(
                replies.allSatisfy { reply in
                    if case .failed(let failure) = reply.body { failure.outcome == .notCommitted } else { false }
                })
            // 600 ms in steps of five, and both ends.
            #expect(turns <= 122)
        }
    }
}
