import Coordination
import EsperTypes
import PeerTransport
import RaftRuntime
import TestSupport
import Testing

@Suite(.serialized, .timeLimit(.minutes(2)))
struct MembershipTests {
    /// Adds a node and starts it, and gives it a vote when the cluster finds that it has caught up.
    private func grow(_ cluster: TestCluster, by name: String, on asked: String) async throws {
        try await cluster.change([.add(cluster.newMember(name))], on: asked)
        try await cluster.start(name)
        try await promote(name, on: asked, in: cluster)
    }

    private func promote(_ name: String, on asked: String, in cluster: TestCluster) async throws {
        try await until("a vote for \(name)") {
            do {
                try await cluster.change([.promote(name)], on: asked)
                return true
            } catch let failure as ServiceFailure
                where [.notHeard, .notCaughtUp, .changePending].contains(failure.code)
            {
                return false
            }
        }
    }

    private func voters(seenBy name: String, _ cluster: TestCluster) async throws -> [String] {
        try await cluster.status(of: name).members.filter(\.isVoter).map(\.name)
    }

    @Test func `a node that comes back finds the others when all whom its settings list have gone`() async throws {
        try await TestCluster.run(3, spares: 2) { cluster in
            for name in cluster.spareNames { try await grow(cluster, by: name, on: "n1") }
            try await until("its own view") { try await voters(seenBy: "n1", cluster).count == 5 }
            await cluster.stop("n1")
            for name in ["n2", "n3"] {
                try await until("the end of \(name)") {
                    do {
                        try await cluster.change([.remove(name)], on: "n4")
                        return true
                    } catch let failure as ServiceFailure {
                        return failure.code == .unknownMember
                    }
                }
                await cluster.stop(name)
            }
            try await until("a leader among the rest") { (try? await cluster.put("key", "value", on: "n4")) != nil }
            // It has the lowest ID: it dials, nobody dials it.
            try await cluster.start("n1")
            try await until("the log") { try await cluster.get("key", on: "n1", linearizable: false) == "value" }
        }
    }

    @Test func `a node joins, catches up, votes, and the cluster lives on it`() async throws {
        try await TestCluster.run(3, spares: 1) { cluster in
            let leader = try await cluster.leader()
            let follower = try await cluster.follower()
            for number in 0..<50 { try await cluster.put("k\(number)", "v", on: leader) }
            let reply = try await cluster.change([.add(cluster.newMember("n4"))], on: follower)
            #expect(reply.members == [NodeID(4)])
            // Again: the same, whether it has been taken in by now or not.
            #expect(try await cluster.change([.add(cluster.newMember("n4"))], on: leader).members == [NodeID(4)])
            try await until("a learner in the status") {
                try await cluster.status(of: leader).members.contains { $0.name == "n4" && $0.role == "learner" }
            }
            let refused = await #expect(throws: ServiceFailure.self) {
                try await cluster.change([.promote("n4")], on: follower)
            }
            #expect(refused?.code == .notHeard)
            #expect(refused?.outcome == .notCommitted)
            #expect(refused?.message.contains("n4") == true)
            try await cluster.start("n4")
            try await promote("n4", on: follower, in: cluster)
            try await until("the log") { try await cluster.get("k49", on: "n4", linearizable: false) == "v" }
            try await until("its own view") { try await voters(seenBy: "n4", cluster) == ["n1", "n2", "n3", "n4"] }
            try await until("readiness") { try await cluster.readiness(of: "n4") == .ready }
            // Two of the old ones gone: no quorum of three could be had without counting it.
            let other = try #require(cluster.names.first { $0 != leader && $0 != follower })
            await cluster.stop(other)
            try await cluster.put("after", "x", on: "n4")
        }
    }

    @Test func `the leader removes itself, and what is removed learns of it`() async throws {
        try await TestCluster.run(3) { cluster in
            let leader = try await cluster.leader()
            let follower = try await cluster.follower()
            // Both others have to be there for it: the last of the three may still be on its way.
            try await until("the removal") {
                do {
                    try await cluster.change([.remove(leader)], on: leader)
                    return true
                } catch let failure as ServiceFailure where failure.code == .quorumNotHeard {
                    return false
                }
            }
            let next = try await cluster.leader(otherThan: leader)
            #expect(next != leader)
            try await until("the others' view") {
                try await voters(seenBy: follower, cluster) == cluster.names.filter { $0 != leader }
            }
            try await until("the reason") { try await cluster.readiness(of: leader) == .excluded(.removed) }
            try await cluster.put("key", "value", on: follower)
            let unknown = await #expect(throws: ServiceFailure.self) {
                try await cluster.change([.promote("n9")], on: follower)
            }
            #expect(unknown?.code == .unknownMember)
            #expect(unknown?.message.contains(follower) == true)
        }
    }

    /// Its peers dial it while it is a member, and it dials none of them.
    @Test func `the node with the highest id that was removed while it was away learns of it`() async throws {
        try await TestCluster.run(3) { cluster in
            _ = try await cluster.leader()
            await cluster.stop("n3")
            try await until("the removal") {
                do {
                    try await cluster.change([.remove("n3")], on: "n1")
                    return true
                } catch let failure as ServiceFailure where failure.code == .quorumNotHeard {
                    return false
                }
            }
            try await until("the table") {
                guard case .members(let table) = try await cluster.read(.members, on: "n1") else { return false }
                return table.hasForgotten(NodeID(3))
            }
            try await cluster.start("n3")
            try await until("the reason") { try await cluster.readiness(of: "n3") == .excluded(.removed) }
        }
    }

    @Test func `a dead node is replaced by a new one`() async throws {
        try await TestCluster.run(3, spares: 1) { cluster in
            let leader = try await cluster.leader()
            let dead = try await cluster.follower()
            await cluster.stop(dead)
            try await cluster.change([.add(cluster.newMember("n4"))], on: leader)
            try await cluster.start("n4")
            try await until("the exchange") {
                do {
                    try await cluster.change([.replace(dead, with: "n4")], on: leader)
                    return true
                } catch let failure as ServiceFailure where [.notHeard, .notCaughtUp].contains(failure.code) {
                    return false
                }
            }
            try await cluster.put("key", "value", on: "n4")
            #expect(try await voters(seenBy: leader, cluster) == (cluster.names + ["n4"]).filter { $0 != dead })
            // Forgotten, so that the name may be used again, under another ID.
            try await until("its place") {
                do {
                    let again = cluster.newMember(dead)
                    return try await cluster.change([.add(again)], on: leader).members == [NodeID(5)]
                } catch let failure as ServiceFailure where failure.code == .memberExists {
                    return false
                }
            }
        }
    }

    @Test func `a voter with a wiped disk is refused, and says how to come back`() async throws {
        try await TestCluster.run(3) { cluster in
            let leader = try await cluster.leader()
            let victim = try await cluster.follower()
            try await until("the disks on record") {
                guard case .members(let table) = try await cluster.read(.members, on: leader) else { return false }
                return table.records.count == 3 && table.records.allSatisfy { $0.incarnation != nil }
            }
            await cluster.stop(victim)
            try cluster.wipe(victim)
            try await cluster.start(victim)
            try await until("the refusal") { try await cluster.readiness(of: victim) == .excluded(.otherDisk) }
            let reason = try #require(Readiness.excluded(.otherDisk).reason)
            #expect(reason.contains("esper cluster remove") && reason.contains("esper cluster add"))
            try await cluster.put("key", "value", on: leader)
            #expect(try await cluster.get("key", on: victim, linearizable: false) == nil)
        }
    }

    @Test func `several changes are made at once or not at all`() async throws {
        try await TestCluster.run(3, spares: 2) { cluster in
            let leader = try await cluster.leader()
            let follower = try await cluster.follower()
            try await cluster.change(
                [.add(cluster.newMember("n4")), .add(cluster.newMember("n5"))], on: follower)
            try await cluster.start("n4")
            let refused = await #expect(throws: ServiceFailure.self) {
                try await cluster.change([.promote("n5"), .demote(follower)], on: leader)
            }
            #expect(refused?.outcome == .notCommitted)
            try await cluster.start("n5")
            try await until("both votes") {
                do {
                    try await cluster.change([.promote("n4"), .promote("n5"), .demote(follower)], on: leader)
                    return true
                } catch let failure as ServiceFailure where [.notHeard, .notCaughtUp].contains(failure.code) {
                    return false
                }
            }
            let expected = (cluster.names + ["n4", "n5"]).filter { $0 != follower }
            #expect(try await voters(seenBy: leader, cluster) == expected)
            try await cluster.put("key", "value", on: follower)
        }
    }

    @Test func `a drained node leads no more and is not ready until that is undone`() async throws {
        try await TestCluster.run(3) { cluster in
            let leader = try await cluster.leader()
            let follower = try await cluster.follower()
            func drain(_ name: String, _ isSetAside: Bool, on asked: String) async throws {
                switch await cluster[asked].call(
                    .setAside(member: name, isSetAside), principal: "client/operator", timeout: .seconds(10))
                {
                case .done, .transferred: return
                case let other: throw TestCluster.Unexpected(body: "\(other)")
                }
            }
            // Leadership goes to whoever is connected and near.
            try await until("a successor") { try await cluster.readiness(of: follower) == .ready }
            try await drain(leader, true, on: follower)
            _ = try await cluster.leader(otherThan: leader)
            #expect(try await cluster.readiness(of: leader) == .setAside)
            try await cluster.put("key", "value", on: leader)
            try await drain(leader, false, on: leader)
            try await until("readiness") { try await cluster.readiness(of: leader) == .ready }
        }
    }

    @Test func `a change that the next leader may make is not called undone`() async throws {
        try await TestCluster.run(3, spares: 1) { cluster in
            let leader = try await cluster.leader()
            let others = cluster.names.filter { $0 != leader }
            func isLearner(seenBy name: String) async throws -> Bool {
                let status = try await cluster.status(of: name)
                return status.members.contains { $0.name == "n4" && $0.role == "learner" }
            }
            try await cluster.change([.add(cluster.newMember("n4"))], on: leader)
            for name in cluster.names {
                try await until("the new node, for certain") {
                    let status = try await cluster.status(of: name)
                    return status.pendingChange == nil && status.members.contains { $0.role == "learner" }
                }
            }
            // They have the change and not on disk, so that the leader cannot know of a majority.
            for name in others { cluster.disk(of: name).stall() }
            defer { for name in others { cluster.disk(of: name).resume() } }
            async let answer = cluster[leader].call(
                .changeMembers([.remove("n4")]), principal: "client/operator", timeout: .seconds(2))
            for name in others {
                try await until("the change at \(name)") { try await cluster.status(of: name).pendingChange != nil }
            }
            try await cluster.isolate(leader)
            for name in others { cluster.disk(of: name).resume() }
            guard case .failed(let failure) = await answer else {
                throw TestCluster.Unexpected(body: "\(await answer)")
            }
            #expect(failure.outcome == .unknown, "\(failure)")
            try await cluster.heal(leader)
            for name in cluster.names {
                try await until("the change that was asked for") { try await !isLearner(seenBy: name) }
            }
        }
    }

    @Test func `a change that is asked for as a leader begins is made once, and answered with what came of it`()
        async throws
    {
        // Its admission is applied together with the first entries of the term, or soon after.
        for _ in 0..<5 {
            try await TestCluster.run(1, spares: 1) { cluster in
                let reply = try await cluster.change([.add(cluster.newMember("n2"))], on: "n1")
                #expect(reply.members == [NodeID(2)])
            }
        }
    }
}
