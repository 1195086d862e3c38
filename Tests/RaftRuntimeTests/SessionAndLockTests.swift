import Coordination
import EsperTypes
import RaftCore
import RaftRuntime
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(2)))
struct SessionAndLockTests {
    private func acquire(
        _ name: String, _ session: SessionID, on node: String, of cluster: TestCluster, wait: Duration = .seconds(15)
    ) async -> ServiceReply.Body {
        let command = Command.acquireLock(LockRequest(name: name, session: session, waits: wait > .zero))
        return await cluster[node].call(
            .claim(command, nil, until: NodeClock.now() + wait), principal: "client/test", timeout: .seconds(20))
    }

    /// Sessions in the queue of a lock, the holder first.
    private func queue(of name: String, _ cluster: TestCluster) async throws -> [SessionID] {
        let body = await cluster["n1"].call(
            .query(.lock(name: name, claims: 8), linearizable: true), principal: "t", timeout: .seconds(20))
        guard case .query(let reply) = body, case .lock(let lock) = reply.result else {
            throw TestCluster.Unexpected(body: "\(body)")
        }
        return lock?.claims.map(\.session) ?? []
    }

    private func token(_ body: ServiceReply.Body) throws -> FencingToken {
        guard case .command(let reply) = body, case .lock(let lock) = reply.result, lock.isHeld else {
            throw TestCluster.Unexpected(body: "\(body)")
        }
        return lock.token
    }

    @Test func `a lock passes to the next in the queue on another node, with a higher token`() async throws {
        try await TestCluster.run(3) { cluster in
            let first = try await cluster.session(ttl: .seconds(60), on: "n1")
            let second = try await cluster.session(ttl: .seconds(60), on: "n2")
            let held = try token(await acquire("train", first, on: "n1", of: cluster))
            async let waiting = acquire("train", second, on: "n2", of: cluster)
            _ = try await eventually("the second claim in the queue") {
                let body = await cluster["n1"].call(
                    .query(.lock(name: "train", claims: 8), linearizable: true), principal: "t", timeout: .seconds(5))
                guard case .query(let reply) = body, case .lock(let lock?) = reply.result, lock.count == 2 else {
                    return nil as Bool?
                }
                return true
            }
            try await cluster.command(.releaseLock(name: "train", session: first), on: "n3")
            let next = try token(await waiting)
            #expect(next > held)
        }
    }

    @Test func `a claim that is sent again after its grant is answered with the grant`() async throws {
        try await TestCluster.run(3) { cluster in
            let first = try await cluster.session(ttl: .seconds(60), on: "n1")
            let second = try await cluster.session(ttl: .seconds(60), on: "n1")
            guard case .clientRegistered(let client) = try await cluster.command(.registerClient, on: "n1").result
            else {
                Issue.record("no client")
                return
            }
            let held = try token(await acquire("train", first, on: "n1", of: cluster))
            // Enters the queue under a request id, and its caller is forgotten: a plain command is answered when queued.
            let request = RequestID(client: client, sequence: 1)
            let claim = Command.acquireLock(LockRequest(name: "train", session: second))
            try await cluster.command(claim, on: "n2", request: request)
            try await cluster.command(.releaseLock(name: "train", session: first), on: "n1")
            let again = await cluster["n3"].call(
                .claim(claim, request, until: NodeClock.now() + .seconds(15)), principal: "client/test",
                timeout: .seconds(20))
            #expect(try token(again) > held)
            // Once it was withdrawn, the same request stands in the queue again.
            try await cluster.command(.releaseLock(name: "train", session: second), on: "n1")
            let third = await cluster["n1"].call(
                .claim(claim, request, until: NodeClock.now() + .seconds(15)), principal: "client/test",
                timeout: .seconds(20))
            #expect(try token(third) > token(again))
        }
    }

    @Test func `a wait that ends leaves the queue`() async throws {
        try await TestCluster.run(1) { cluster in
            let first = try await cluster.session(ttl: .seconds(60), on: "n1")
            let second = try await cluster.session(ttl: .seconds(60), on: "n1")
            let third = try await cluster.session(ttl: .seconds(60), on: "n1")
            _ = try token(await acquire("train", first, on: "n1", of: cluster))
            let given = await acquire("train", second, on: "n1", of: cluster, wait: .milliseconds(100))
            guard case .failed(let failure) = given else {
                Issue.record("granted while held: \(given)")
                return
            }
            #expect(failure.code == .notGranted)
            #expect(failure.outcome == .notCommitted)
            #expect(failure.holder?.session == first)
            // The answer came when the claim was out of the queue, not before.
            #expect(try await queue(of: "train", cluster) == [first])
            try await cluster.command(.releaseLock(name: "train", session: first), on: "n1")
            _ = try token(await acquire("train", third, on: "n1", of: cluster))
        }
    }

    @Test func `no time to wait means one try, for locks and for elections`() async throws {
        try await TestCluster.run(3) { cluster in
            let follower = try await cluster.follower()
            let first = try await cluster.session(ttl: .seconds(60), on: follower)
            let second = try await cluster.session(ttl: .seconds(60), on: follower)
            _ = try token(await acquire("train", first, on: follower, of: cluster, wait: .zero))
            guard case .failed(let failure) = await acquire("train", second, on: follower, of: cluster, wait: .zero)
            else {
                Issue.record("granted while held")
                return
            }
            #expect(failure.code == .notGranted && failure.holder?.session == first)
            #expect(try await queue(of: "train", cluster) == [first])
            func campaign(_ session: SessionID) async -> ServiceReply.Body {
                await cluster[follower].call(
                    .claim(.campaign(election: "e", session: session, value: [1]), nil, until: NodeClock.now()),
                    principal: "t", timeout: .seconds(20))
            }
            guard case .command(let won) = await campaign(first), case .election(let election) = won.result,
                election.isElected, case .failed(let lost) = await campaign(second)
            else {
                Issue.record("one of two must be elected")
                return
            }
            #expect(lost.code == .notGranted && lost.holder?.token == election.token)
            let refused = await cluster[follower].call(
                .command(.resign(election: "e", session: second), nil), principal: "t", timeout: .seconds(20))
            guard case .command(let reply) = refused else {
                Issue.record("it was not even proposed: \(refused)")
                return
            }
            #expect(reply.result == .refused(.candidateNotFound))
        }
    }

    @Test func `a grant that meets the end of the wait is told, never lost`() async throws {
        try await TestCluster.run(3) { cluster in
            let follower = try await cluster.follower()
            let first = try await cluster.session(ttl: .seconds(60), on: follower)
            let second = try await cluster.session(ttl: .seconds(60), on: follower)
            var granted = 0
            for round in 0..<60 {
                _ = try token(await acquire("train", first, on: follower, of: cluster))
                async let waiting = acquire(
                    "train", second, on: follower, of: cluster, wait: .microseconds(500 + round * 100))
                // Somewhere around the end of the wait.
                _ = try await queue(of: "train", cluster)
                try await cluster.command(.releaseLock(name: "train", session: first), on: "n1")
                switch await waiting {
                case .command(let reply):
                    guard case .lock(let lock) = reply.result, lock.isHeld else {
                        Issue.record("neither granted nor refused: \(reply)")
                        return
                    }
                    granted += 1
                    #expect(try await queue(of: "train", cluster) == [second])
                    try await cluster.command(.releaseLock(name: "train", session: second), on: "n1")
                case .failed(let failure):
                    #expect(failure.code == .notGranted)
                    #expect(try await queue(of: "train", cluster) == [])
                case let other: Issue.record("\(other)")
                }
            }
            print("granted at the end of the wait: \(granted) of 60")
        }
    }

    /// A wait that would last longer than the test may; it ends only if something ends it.
    private func waitOn(
        _ node: String, _ command: Command, of cluster: TestCluster
    ) async -> ServiceReply.Body {
        await cluster[node].call(
            .claim(command, nil, until: NodeClock.now() + .seconds(600)), principal: "client/test",
            timeout: .seconds(660))
    }

    @Test func `a wait ends when another node takes the session out of the queue, and says why`() async throws {
        try await TestCluster.run(3) { cluster in
            let first = try await cluster.session(ttl: .seconds(60), on: "n1")
            let second = try await cluster.session(ttl: .seconds(60), on: "n1")
            _ = try token(await acquire("train", first, on: "n1", of: cluster))
            let claim = Command.acquireLock(LockRequest(name: "train", session: second))
            for (withdrawal, code) in [
                (Command.cancelLockWait(name: "train", session: second), ServiceFailure.Code.withdrawn),
                (.releaseLock(name: "train", session: second), .notGranted),
            ] {
                async let waiting = waitOn("n2", claim, of: cluster)
                try await until("the claim in the queue") { try await queue(of: "train", cluster) == [first, second] }
                try await cluster.command(withdrawal, on: "n3")
                guard case .failed(let failure) = await waiting else {
                    Issue.record("granted while held")
                    return
                }
                #expect(failure.code == code && failure.outcome == .notCommitted)
                #expect(failure.isRetryable == (code == .withdrawn))
            }
            // Whoever asks again stands in the queue again.
            async let waiting = waitOn("n2", claim, of: cluster)
            try await until("the claim in the queue") { try await queue(of: "train", cluster) == [first, second] }
            try await cluster.command(.releaseLock(name: "train", session: first), on: "n3")
            _ = try token(await waiting)
        }
    }

    @Test func `a second wait of a session on one node takes the place of the first, which cannot know the end`()
        async throws
    {
        try await TestCluster.run(3) { cluster in
            let first = try await cluster.session(ttl: .seconds(60), on: "n1")
            let second = try await cluster.session(ttl: .seconds(60), on: "n1")
            _ = try token(await acquire("train", first, on: "n1", of: cluster))
            let claim = Command.acquireLock(LockRequest(name: "train", session: second))
            async let waiting = waitOn("n2", claim, of: cluster)
            try await until("the claim in the queue") { try await queue(of: "train", cluster) == [first, second] }
            async let again = waitOn("n2", claim, of: cluster)
            guard case .failed(let failure) = await waiting else {
                Issue.record("granted while held")
                return
            }
            #expect(failure.code == .superseded && failure.outcome == .unknown && !failure.isRetryable)
            #expect(try await queue(of: "train", cluster) == [first, second])
            try await cluster.command(.releaseLock(name: "train", session: first), on: "n3")
            _ = try token(await again)
        }
    }

    @Test func `a campaign ends when another node takes the session out of the election`() async throws {
        try await TestCluster.run(3) { cluster in
            let first = try await cluster.session(ttl: .seconds(60), on: "n1")
            let second = try await cluster.session(ttl: .seconds(60), on: "n1")
            func candidates() async throws -> Int {
                let found = try await cluster.read(.election(name: "e", claims: 8), on: "n1")
                guard case .election(let election) = found else { throw TestCluster.Unexpected(body: "\(found)") }
                return election?.count ?? 0
            }
            try await cluster.command(.campaign(election: "e", session: first, value: [1]), on: "n1")
            for (withdrawal, code) in [
                (Command.cancelCandidacy(election: "e", session: second), ServiceFailure.Code.withdrawn),
                (.resign(election: "e", session: second), .notGranted),
            ] {
                async let waiting = waitOn("n2", .campaign(election: "e", session: second, value: [2]), of: cluster)
                try await until("the second candidate") { try await candidates() == 2 }
                try await cluster.command(withdrawal, on: "n3")
                guard case .failed(let failure) = await waiting else {
                    Issue.record("elected beside another")
                    return
                }
                #expect(failure.code == code && failure.outcome == .notCommitted)
            }
        }
    }

    @Test func `a caller that goes before its claim is applied leaves nothing in the queue`() async throws {
        try await TestCluster.run(3) { cluster in
            let follower = try await cluster.follower()
            let first = try await cluster.session(ttl: .seconds(60), on: follower)
            let second = try await cluster.session(ttl: .seconds(60), on: follower)
            _ = try token(await acquire("train", first, on: follower, of: cluster))
            for _ in 0..<20 {
                let call = Task { await acquire("train", second, on: follower, of: cluster) }
                await Task.yield()
                call.cancel()
                _ = await call.value
            }
            try await until("the queue to be the holder's alone") { try await queue(of: "train", cluster) == [first] }
        }
    }

    @Test func `a session that is kept alive through a follower lives, and its lock goes when it is not`() async throws
    {
        try await TestCluster.run(3) { cluster in
            let follower = try await cluster.follower()
            let session = try await cluster.session(ttl: .seconds(1), on: follower)
            let other = try await cluster.session(ttl: .seconds(60), on: follower)
            _ = try token(await acquire("train", session, on: follower, of: cluster))
            // Others of the same time to live, granted later and left alone, end while this one lives.
            for _ in 0..<2 {
                let neglected = try await cluster.session(ttl: .seconds(1), on: follower)
                try await until("the end of a neglected session") {
                    #expect(try await cluster.keepAlive(session, on: follower) > .zero)
                    return try await cluster.read(.session(neglected, withKeys: false), on: follower) == .session(nil)
                }
            }
            #expect(try await queue(of: "train", cluster) == [session])
            // Nobody keeps it alive from here on: the waiting session gets the lock.
            _ = try token(await acquire("train", other, on: follower, of: cluster))
            do {
                _ = try await cluster.keepAlive(session, on: follower)
                Issue.record("an expired session was kept alive")
            } catch let failure as ServiceFailure {
                #expect(failure.code == .sessionNotFound)
            }
        }
    }

    @Test func `a new leader gives every session its full time`() async throws {
        try await TestCluster.run(3) { cluster in
            let leader = try await cluster.leader()
            let session = try await cluster.session(ttl: .seconds(5), on: leader)
            await cluster.stop(leader)
            let other = cluster.names.first { $0 != leader }!
            #expect(try await cluster.keepAlive(session, on: other) > .seconds(4))
        }
    }

    @Test
    func `a place that is given up while nothing reaches the leader is given up once something does`() async throws {
        var options = RuntimeOptions()
        options.raft.electionTimeout = .seconds(1)
        try await TestCluster.run(3, options: options) { cluster in
            let (leader, follower) = (try await cluster.leader(), try await cluster.follower())
            let first = try await cluster.session(ttl: .seconds(60), on: follower)
            let second = try await cluster.session(ttl: .seconds(60), on: follower)
            _ = try token(await acquire("train", first, on: follower, of: cluster))
            let sink = TurnSink()
            func submit(_ operation: ServiceRequest.Operation) {
                let request = ServiceRequest(
                    token: 1, deadline: NodeClock.now() + .seconds(60), principal: "client/test", operation: operation)
                cluster[follower].submit([request], from: sink)
            }
            submit(.claim(.acquireLock(.init(name: "train", session: second)), nil, until: .distantFuture))
            try await until("the claim in the queue") {
                try await cluster.queue(of: "train", on: leader) == [first, second]
            }
            // Frames vanish while the link stands: shorter than it takes to elect another leader.
            try await cluster.isolate(leader)
            submit(.cancel)
            _ = try await cluster.status(of: follower)
            try await cluster.heal(leader)
            try await until("the queue without it", within: .seconds(10)) {
                try await cluster.queue(of: "train", on: leader) == [first]
            }
        }
    }
}
