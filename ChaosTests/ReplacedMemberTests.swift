import ClusterSupport
import EsperClient
import EsperProtocol
import EsperTypes
import Simulation
import SwiftProtobuf
import Synchronization
import TestSupport
import Testing

/// Sixteen clients at work while the members of a cluster of five are exchanged, and leaders die wherever that may be.
@Suite(.timeLimit(.minutes(ChaosDuration.load / 30 + 4)))
struct ReplacedMemberTests {
    /// Where in an exchange of the first round a leader dies; besides, one dies in each with a configuration that it could not commit.
    /// In the second round leaders die wherever the seed has them.
    enum Moment: CaseIterable {
        /// The new member has been asked for.
        case adding
        /// It has a place, and starts.
        case joining
        /// The exchange has been asked for: as soon as a configuration is not committed, or joint.
        case exchanging
        /// The old member has left.
        case left
    }

    @Test func `members replaced one by one, all of them twice, while leaders die lose nothing and stay linearizable`()
        async throws
    {
        try await LoadedCluster.endure(nodes: 5) { loaded, _ in
            let killer = LeaderKiller(loaded, seed: ChaosDuration.seed)
            let client = try loaded.cluster.client()
            defer { client.close() }
            let count = loaded.cluster.members.count
            var vacated: LocalCluster.Member?
            for number in 1...count {
                let moment = Moment.allCases[number % Moment.allCases.count]
                vacated = try await exchange(by: "r\(number)", at: vacated, loaded, client, killer, moment)
            }
            try await killer.strikeAtRandom {
                for number in count + 1...2 * count {
                    vacated = try await exchange(by: "r\(number)", at: vacated, loaded, client, killer, nil)
                }
            }
            // Far less than what the pauses between them allow.
            let drawn = await killer.drawn
            #expect(drawn > 1, "only \(drawn) leaders died at random while \(count) members were replaced")
            return "\(2 * count) members replaced, \(await killer.told) (seed \(killer.seed))"
        }
    }

    /// - Parameters:
    ///   - vacated: whose addresses are free: the clients go on with those they were given.
    ///   - moment: nil: leaders die by other hands.
    /// - Returns: whoever has left.
    private func exchange(
        by new: String, at vacated: LocalCluster.Member?, _ loaded: LoadedCluster, _ client: EsperClient,
        _ killer: LeaderKiller, _ moment: Moment?
    ) async throws -> LocalCluster.Member {
        let old = loaded.cluster.members[0]
        async let death: Void = killer.strike(if: moment == .adding)
        try await add(new, inPlaceOf: vacated, to: loaded.cluster, client)
        try await death
        try await killer.strike(if: moment == .joining)
        try await loaded.observatory.waitUntilCaughtUp(new)
        if moment != nil { try await killer.strikeUncommitted(exchanging: old.name, for: new) }
        let isOver = Mutex(false)
        async let deathInChange: Void = killer.strikeChanging(if: moment == .exchanging) { isOver.withLock { $0 } }
        try await replace(old.name, with: new, client)
        isOver.withLock { $0 = true }
        try await deathInChange
        try await killer.strike(if: moment == .left)
        await killer.dismiss(old.name)
        await loaded.cluster.kill(old.name)
        try await loaded.observatory.waitUntilCaughtUp(new)
        return old
    }

    private func add(
        _ name: String, inPlaceOf left: LocalCluster.Member?, to cluster: LocalCluster, _ client: EsperClient
    ) async throws {
        var member = try cluster.recruit(name, inPlaceOf: left)
        let peer = HostPort(host: "127.0.0.1", port: member.peerPort)
        let api = HostPort(host: "127.0.0.1", port: member.apiPort)
        var isDoubtful = false
        member.id = try await eventually("a place for \(name)") {
            do {
                return try await client.addMember(name, peer: peer, api: api).ids.first.flatMap { NodeID($0) }
            } catch let error as EsperError {
                // The address may be that of whoever left, for a moment; or the leader died, and nobody knows how far it came.
                isDoubtful = isDoubtful || error.outcome == .unknown
                guard isDoubtful, error.code == "member_exists" else { return nil }
                return (try? await client.status())?.members.first { $0.name == name }.flatMap { NodeID($0.id) }
            }
        }
        try cluster.join(member)
    }

    /// Asks until it is done; it may have been asked for before, and what came of that is found out by asking again.
    private func replace(_ old: String, with new: String, _ client: EsperClient) async throws {
        try await until("\(new) in the place of \(old)") {
            do {
                _ = try await client.replaceMembers([(old, new)])
                return true
            } catch let error as EsperError {
                guard error.code == "unknown_member", let members = (try? await client.status())?.members else {
                    return false
                }
                return members.contains { $0.name == new && $0.isVoter } && !members.contains { $0.name == old }
            }
        }
    }
}

/// Kills leaders, and starts each again before the next one dies.
private actor LeaderKiller {
    nonisolated let seed: UInt64
    private let loaded: LoadedCluster
    private var dice: SeededRandom
    private var leaders = 0
    /// Of those, how many died at moments that the seed chose.
    private(set) var drawn = 0
    /// Of those, how many said last that a configuration was not committed, or joint.
    private var changing = 0

    init(_ loaded: LoadedCluster, seed: UInt64) {
        self.loaded = loaded
        self.seed = seed
        dice = SeededRandom(seed: seed)
    }

    var told: String {
        "\(leaders) leaders killed, \(drawn) of them at random, \(changing) with a configuration not committed or joint"
    }

    /// Kills whoever leads again and again while `body` runs, whatever it is at: every second or two.
    nonisolated func strikeAtRandom(during body: () async throws -> Void) async throws {
        let isOver = Mutex(false)
        async let deaths: Void = keepStriking { isOver.withLock { $0 } }
        do {
            defer { isOver.withLock { $0 = true } }
            try await body()
        }
        try await deaths
    }

    private func keepStriking(until isOver: @Sendable () -> Bool) async throws {
        while true {
            await pause(.milliseconds(dice.int(in: 100...1000)))
            guard !isOver() else { return }
            drawn += 1
            try await kill(loaded.observatory.leader())
        }
    }

    /// Kills whoever leads, a moment from now.
    func strike(if isDue: Bool) async throws {
        guard isDue else { return }
        await pause(.milliseconds(dice.int(in: 0...30)))
        try await kill(loaded.observatory.leader())
    }

    /// Kills whoever leads as soon as it says that a configuration is not committed, or joint, or when what brings one is over.
    func strikeChanging(if isDue: Bool, unless isOver: @Sendable () -> Bool) async throws {
        guard isDue else { return }
        while true {
            let leader = try await loaded.observatory.leader()
            while let status = await loaded.observatory.status(of: leader), status.leader == leader {
                let isChanging = !status.pendingChange.isEmpty
                guard isChanging || isOver() else {
                    await pause(.milliseconds(1))
                    continue
                }
                changing += isChanging ? 1 : 0
                return try await kill(leader)
            }
        }
    }

    /// Has a leader die with a configuration that it could not commit: it is cut off from all its peers but one, and loses its place
    /// for that, but not before the order to exchange members has reached it.
    func strikeUncommitted(exchanging old: String, for new: String) async throws {
        try await until("a leader with a configuration that is not committed") {
            let leader = try await loaded.observatory.leader()
            let door = try await loaded.observatory.door(leader)
            let cut = loaded.cluster.members.map(\.name).filter { $0 != leader }.shuffled(using: &dice).dropFirst()
            let _: ProtoIsolateResponse? = try? await door.call(
                .isolate, ProtoIsolateRequest.with { $0.peers = Array(cut) })
            // What it answers is of no interest: it dies, or is asked again.
            async let asked: ProtoMembershipResponse? = try? door.call(
                .replaceMember, ProtoReplaceMemberRequest.with { ($0.old, $0.new) = ([old], [new]) },
                within: .seconds(1))
            var isChanging = false
            while !isChanging, let status = await loaded.observatory.status(of: leader), status.leader == leader {
                isChanging = !status.pendingChange.isEmpty
            }
            if isChanging {
                changing += 1
                try await kill(leader)
            } else {
                let _: ProtoHealResponse? = try? await door.call(.heal, ProtoHealRequest())
            }
            _ = await asked
            return isChanging
        }
    }

    /// Forgets a node that has left: it is not started again.
    func dismiss(_ name: String) { loaded.cluster.dismiss(name) }

    private func kill(_ leader: String) async throws {
        let start = loaded.recorder.now()
        await loaded.cluster.kill(leader)
        leaders += 1
        await pause(.milliseconds(dice.int(in: 20...400)))
        // In one step with the look: who is dismissed meanwhile stays down.
        if loaded.cluster.members.contains(where: { $0.name == leader }) { try loaded.cluster.start(leader) }
        loaded.recorder.recordFault("kill", leader, since: start)
        try await comeBack(leader)
    }

    /// Waits until the node has caught up, or has left: another death before that would leave two down, and a third soon.
    private func comeBack(_ name: String) async throws {
        let committed = try await eventually("what is committed") {
            try await loaded.observatory.status(of: loaded.observatory.leader())?.commitIndex
        }
        try await until("\(name) to catch up, or to have left") {
            if await loaded.observatory.status(of: name)?.appliedIndex ?? 0 >= committed { return true }
            let leader = try await loaded.observatory.leader()
            guard let members = await loaded.observatory.status(of: leader)?.members else { return false }
            return !members.contains { $0.name == name }
        }
    }
}
