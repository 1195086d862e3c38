import EsperTypes
import RaftCore
import Testing

/// Dissertation §6.4: linearizable reads without the log.
@Suite struct ReadIndexTests {
    let ada = LoneNode.ada
    let bob = LoneNode.bob

    @Test func `a read on the leader is ready after one round, without a write`() {
        let cluster = Cluster(3)
        let leader = cluster.elect()
        #expect(cluster.run { cluster.hasConverged })
        let batches = cluster[leader].batches.count
        let start = cluster.now
        let token = cluster.read(on: leader)
        #expect(cluster.run { cluster[leader].readable[token] != nil })
        #expect(cluster.now - start <= cluster.networkDelay * 2)
        #expect(cluster[leader].batches.count == batches)
        #expect(cluster[leader].readable[token] == cluster[leader].status.commit)
    }

    @Test func `a read on a follower is ready there, at an index the leader confirmed`() {
        let cluster = Cluster(3)
        let leader = cluster.elect()
        cluster.propose(10, on: leader)
        #expect(cluster.run { cluster[leader].appliedIndex == LogIndex(11) })
        let follower = cluster.followers(of: leader)[0]
        let token = cluster.read(on: follower)
        #expect(cluster.run { cluster[follower].readable[token] != nil })
        #expect(cluster[follower].readable[token]! >= LogIndex(11))
        #expect(cluster[follower].appliedIndex >= LogIndex(11))
    }

    @Test func `all reads that wait share one round`() {
        var lone = LoneNode()
        let elected = lone.becomeLeader()
        _ = lone.sync()
        let committed = lone.acknowledge(LogIndex(1), from: ada, in: elected)
        _ = committed
        let first = lone.turn(.read([1, 2]), .read([3]))
        #expect(first.appends(to: ada).map(\.readSequence) == [ReadSequence(1)])
        // Later ones wait for the round that is out.
        #expect(lone.turn(.read([4])).appends(to: ada).isEmpty)
        let done = lone.acknowledge(LogIndex(1), from: ada, in: first)
        #expect(done.contains(.readReady([1, 2, 3], index: LogIndex(1))))
        #expect(done.appends(to: ada).map(\.readSequence) == [ReadSequence(2)])
    }

    @Test func `reads of a follower share what goes to the leader while one request is out`() {
        var lone = LoneNode()
        _ = lone.receive(append(term: 1, [entry(1, 1)], commit: 1))
        _ = lone.sync()
        let first = lone.turn(.read([1])).readRequests
        #expect(first.count == 1)
        #expect(lone.turn(.read([2])).readRequests.isEmpty)
        #expect(lone.turn(.read([3])).readRequests.isEmpty)
        let answered = lone.receive(
            .readIndexResponse(ReadIndexResponse(term: Term(1), number: first[0].number, index: LogIndex(1))))
        #expect(answered.readRequests.count == 1)
        #expect(answered.contains(.readReady([1], index: LogIndex(1))))
        let done = lone.receive(
            .readIndexResponse(
                ReadIndexResponse(term: Term(1), number: answered.readRequests[0].number, index: LogIndex(1))))
        #expect(done.contains(.readReady([2, 3], index: LogIndex(1))))
    }

    @Test func `a request that is not answered soon holds no later read up`() {
        var lone = LoneNode()
        _ = lone.receive(append(term: 1, [entry(1, 1)], commit: 1))
        _ = lone.sync()
        #expect(lone.turn(.read([1])).readRequests.count == 1)
        #expect(lone.turn(.read([2])).readRequests.isEmpty)
        let patience = RaftOptions().readRoundPatience
        #expect(lone.node.nextDeadline <= lone.now + patience)
        #expect(lone.wait(patience).readRequests.count == 1)
    }

    @Test func `a round asks as many followers as a quorum needs, and all when those stay silent`() {
        var lone = LoneNode()
        let elected = lone.becomeLeader()
        _ = lone.sync()
        _ = lone.acknowledge(LogIndex(1), from: ada, in: elected)
        let first = lone.turn(.read([1]))
        #expect(first.appends(to: ada).map(\.readSequence) == [ReadSequence(1)])
        #expect(first.appends(to: bob).isEmpty)
        let patience = RaftOptions().readRoundPatience
        #expect(lone.node.nextDeadline <= lone.now + patience)
        let patient = lone.wait(patience)
        #expect(patient.appends(to: ada).isEmpty)
        #expect(patient.appends(to: bob).map(\.readSequence) == [ReadSequence(1)])
        #expect(lone.acknowledge(LogIndex(1), from: bob, in: patient).contains(.readReady([1], index: LogIndex(1))))

        // The one that answered last is asked next.
        let second = lone.turn(.read([2]))
        #expect(second.appends(to: ada).isEmpty)
        #expect(second.appends(to: bob).map(\.readSequence) == [ReadSequence(2)])
        // One whose link is down is not waited for.
        _ = lone.acknowledge(LogIndex(1), from: bob, in: second)
        let third = lone.turn(.linkDown(bob), .read([3]))
        #expect(third.appends(to: ada).map(\.readSequence) == [ReadSequence(3)])
        #expect(third.appends(to: bob).isEmpty)
    }

    @Test func `under write load the round rides on the entries`() {
        var lone = LoneNode()
        let elected = lone.becomeLeader()
        _ = lone.sync()
        _ = lone.acknowledge(LogIndex(1), from: ada, in: elected)
        let effects = lone.turn(.read([1]), .propose([Proposal(token: 2, payload: [])]))
        let appends = effects.appends(to: ada)
        #expect(appends.count == 1)
        #expect(appends[0].entries.count == 1 && appends[0].readSequence == ReadSequence(1))
    }

    @Test func `a follower answers a round at once, ahead of its disk`() {
        var lone = LoneNode()
        let effects = lone.receive(append(term: 1, [entry(1, 1)], read: 5))
        #expect(effects.appendResponses.count == 2)
        #expect(effects.appendResponses[0].after == nil)
        #expect(effects.appendResponses[0].response.readSequence == ReadSequence(5))
        // It vouches for nothing yet: neither entry nor term is on disk.
        #expect(
            effects.appendResponses[0].response.outcome == .matched(durable: .zero, received: LogIndex(1)))
        #expect(effects.appendResponses[1].after != nil)
    }

    @Test func `a new leader confirms no read before an entry of its term is committed (C12)`() {
        var lone = LoneNode(hardState: HardState(term: Term(1)), entries: [entry(1, 1)])
        let elected = lone.becomeLeader()
        let asked = lone.turn(.read([1]))
        #expect(asked.appends(to: ada).isEmpty)
        _ = lone.sync()
        let committed = lone.acknowledge(LogIndex(2), from: ada, in: elected)
        #expect(committed.appends(to: ada).contains { $0.readSequence == ReadSequence(1) })
        let done = lone.acknowledge(LogIndex(2), from: ada, in: committed)
        #expect(done.contains(.readReady([1], index: LogIndex(2))))
    }

    @Test func `a restarted single voter answers reads only at its full commit (C22)`() {
        let cluster = Cluster(1)
        let leader = cluster.elect()
        cluster.propose(5, on: leader)
        #expect(cluster.run { cluster.hasConverged })
        cluster.crash(leader)
        cluster.restart(leader)
        let token = cluster.read(on: leader)
        #expect(cluster.run { cluster[leader].readable[token] != nil })
        #expect(cluster[leader].readable[token]! >= LogIndex(6))
    }

    @Test func `late answers confirm no read that began after them (C21)`() {
        var lone = LoneNode()
        let elected = lone.becomeLeader()
        _ = lone.sync()
        _ = lone.acknowledge(LogIndex(1), from: ada, in: elected)
        let first = lone.turn(.read([1]))
        _ = lone.acknowledge(LogIndex(1), from: ada, in: first)
        let second = lone.turn(.read([1]))
        // Bob's answer to the first round, late and twice.
        for _ in 0..<2 {
            let late = lone.acknowledge(LogIndex(1), from: bob, in: elected, read: ReadSequence(1))
            #expect(!late.contains { if case .readReady = $0 { true } else { false } })
        }
        #expect(lone.acknowledge(LogIndex(1), from: ada, in: second).contains(.readReady([1], index: LogIndex(1))))
    }

    @Test func `an answer to a round that was never begun confirms nothing`() {
        var lone = LoneNode()
        let elected = lone.becomeLeader()
        _ = lone.sync()
        _ = lone.acknowledge(LogIndex(1), from: ada, in: elected, read: ReadSequence(99))
        let asked = lone.turn(.read([1]))
        #expect(!asked.contains { if case .readReady = $0 { true } else { false } })
    }

    @Test func `a leader that is cut off confirms no read`() {
        let cluster = Cluster(3)
        let old = cluster.elect()
        #expect(cluster.run { cluster.hasConverged })
        cluster.isolate(old)
        let token = cluster.read(on: old)
        let new = { cluster.members.first { $0.id != old && $0.status.role == .leader }?.id }
        #expect(cluster.run { new() != nil })
        cluster.propose(on: new()!)
        cluster.run(for: .seconds(2))
        #expect(cluster[old].readable[token] == nil)
        #expect(cluster[old].refused[token] != nil)
    }

    @Test func `a read survives the change of its leader`() {
        let cluster = Cluster(3)
        cluster.announcesLinks = true
        let leader = cluster.elect()
        #expect(cluster.run { cluster.hasConverged })
        let follower = cluster.followers(of: leader)[0]
        cluster.crash(leader)
        let token = cluster.read(on: follower)
        #expect(cluster.run(within: .milliseconds(400)) { cluster[follower].readable[token] != nil })
    }

    @Test func `a read without a leader is refused in the end`() {
        let cluster = Cluster(3)
        let leader = cluster.elect()
        let others = cluster.followers(of: leader)
        cluster.crash(leader)
        cluster.crash(others[1])
        let token = cluster.read(on: others[0])
        cluster.run(for: .seconds(1))
        #expect(cluster[others[0]].refused[token] == .notLeader(hint: nil))
        #expect(cluster[others[0]].status.waitingReads == 0)
    }

    @Test func `a lost request or answer is repeated`() {
        let cluster = Cluster(3)
        let leader = cluster.elect()
        #expect(cluster.run { cluster.hasConverged })
        let follower = cluster.followers(of: leader)[0]
        var lost = 0
        cluster.drops = { message, _, _ in
            switch message {
            case .readIndexRequest where lost == 0, .readIndexResponse where lost == 1:
                lost += 1
                return true
            default: return false
            }
        }
        let token = cluster.read(on: follower)
        #expect(cluster.run(within: .milliseconds(400)) { cluster[follower].readable[token] != nil })
        #expect(lost == 2)
    }

    @Test func `request numbers are not repeated in a node's next life (C21)`() {
        let cluster = Cluster(3)
        var numbers: [UInt64] = []
        cluster.tap = { message, _, _ in
            if case .readIndexRequest(let request) = message { numbers.append(request.number) }
        }
        let leader = cluster.elect()
        #expect(cluster.run { cluster.hasConverged })
        let follower = cluster.followers(of: leader)[0]
        for _ in 0..<2 {
            let token = cluster.read(on: follower)
            #expect(cluster.run { cluster[follower].readable[token] != nil })
            cluster.crash(follower)
            cluster.restart(follower)
            #expect(cluster.run { cluster[follower].status.leader == leader })
        }
        #expect(numbers.count == 2 && numbers[0] != numbers[1])
    }

    @Test(arguments: [
        Configuration(voters: [NodeID(1), NodeID(2), NodeID(3)], outgoing: [NodeID(1), NodeID(4), NodeID(5)]),
        Configuration(
            voters: [NodeID(1), NodeID(2), NodeID(3)], outgoing: [NodeID(1), NodeID(2), NodeID(4)],
            learners: [NodeID(5)], learnersNext: [NodeID(4)]),
        Configuration(voters: [NodeID(1), NodeID(2)], learners: [NodeID(3), NodeID(4), NodeID(5)]),
    ])
    func `reads are confirmed in every shape of configuration (C23)`(configuration: Configuration) {
        let cluster = Cluster(5, configuration: configuration)
        let leader = cluster.elect()
        let token = cluster.read(on: leader)
        #expect(cluster.run(within: .milliseconds(50)) { cluster[leader].readable[token] != nil })
        // With one half gone nothing is confirmed.
        for voter in configuration.incoming where voter != leader { cluster.crash(voter) }
        let unconfirmed = cluster.read(on: leader)
        cluster.run(for: .milliseconds(100))
        #expect(cluster[leader].readable[unconfirmed] == nil)
    }

    @Test func `more reads than allowed are refused as overloaded`() {
        var options = RaftOptions()
        options.maximumWaitingReads = 3
        var lone = LoneNode(options: options)
        _ = lone.becomeLeader()
        _ = lone.turn(.read([1, 2, 3]))
        #expect(lone.turn(.read([4])).contains(.readRefused([4], .overloaded)))
    }
}
