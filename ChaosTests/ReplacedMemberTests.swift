import ClusterSupport
import EsperClient
import EsperProtocol
import EsperTypes
import Simulation
import Synchronization
import TestSupport
import Testing

/// Sixteen clients at work while the members of a cluster of five are exchanged and the leader dies again and again, whatever is
/// under way just then.
@Suite(.timeLimit(.minutes(ChaosDuration.load / 30 + 4)))
struct ReplacedMemberTests {
    @Test func `members replaced one by one, all of them twice, while leaders die lose nothing and stay linearizable`()
        async throws
    {
        try await LoadedCluster.endure(nodes: 5) { loaded, _ in
            let killer = LeaderKiller(loaded, seed: ChaosDuration.seed)
            async let kills = killer.work()
            let replaced: Int
            do {
                replaced = try await replaceAll(of: loaded, sparing: killer)
            } catch {
                killer.retire()
                throw error
            }
            killer.retire()
            let killed = try await kills
            // One for every four that are replaced is far less than what the pauses between them allow.
            #expect(killed.leaders >= replaced / 4, "\(killed) while \(replaced) members were replaced")
            #expect(killed.changing > 0, "no leader died with a change that was not committed, or joint")
            return "\(replaced) members replaced, \(killed) (seed \(killer.seed))"
        }
    }

    /// Every member twice, however long that takes; the load goes on until then.
    private func replaceAll(of loaded: LoadedCluster, sparing killer: LeaderKiller) async throws -> Int {
        let client = try loaded.cluster.client()
        defer { client.close() }
        var vacated: LocalCluster.Member?
        let count = 2 * loaded.cluster.members.count
        for number in 1...count {
            let old = loaded.cluster.members[0]
            let new = "r\(number)"
            // At an address that is free again: the clients go on with those they were given.
            try await add(new, inPlaceOf: vacated, to: loaded.cluster, client)
            try await replace(old.name, with: new, client)
            killer.dismiss(old.name)
            await loaded.cluster.kill(old.name)
            try await loaded.observatory.waitUntilCaughtUp(new)
            vacated = old
        }
        return count
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

    /// Asks until it is done; an outcome that is not known is found out by asking again.
    private func replace(_ old: String, with new: String, _ client: EsperClient) async throws {
        var isDoubtful = false
        try await until("\(new) in the place of \(old)") {
            do {
                _ = try await client.replaceMember(old, with: new)
                return true
            } catch let error as EsperError {
                if isDoubtful, error.code == "unknown_member" { return true }
                isDoubtful = isDoubtful || error.outcome == .unknown
                return false
            }
        }
    }
}

/// Kills whoever leads, at moments drawn from a seed and as soon as members change, in turns, and starts it again: one at a time.
private final class LeaderKiller: Sendable {
    let seed: UInt64
    private let loaded: LoadedCluster
    /// Held while a node is started or dismissed: one that has left is not started again.
    private let isRetired = Mutex(false)

    init(_ loaded: LoadedCluster, seed: UInt64) {
        self.loaded = loaded
        self.seed = seed
    }

    func retire() { isRetired.withLock { $0 = true } }

    func dismiss(_ name: String) { isRetired.withLock { _ in loaded.cluster.dismiss(name) } }

    struct Kills: CustomStringConvertible {
        var leaders = 0
        /// Of those, how many said last that a configuration was not committed, or joint.
        var changing = 0

        var description: String { "\(leaders) leaders killed, \(changing) of them while members changed" }
    }

    /// - Returns: who was killed, when it is retired; every node that has not left runs then.
    func work() async throws -> Kills {
        var dice = SeededRandom(seed: seed)
        var kills = Kills()
        while !isRetired.withLock({ $0 }) {
            await pause(.milliseconds(dice.int(in: 20...500)))
            let start = loaded.recorder.now()
            let (leader, isChanging) = try await victim(awaitingChange: kills.leaders % 2 == 0)
            await loaded.cluster.kill(leader)
            kills.leaders += 1
            kills.changing += isChanging ? 1 : 0
            await pause(.milliseconds(dice.int(in: 20...400)))
            let isMember = try isRetired.withLock { _ in
                guard loaded.cluster.members.contains(where: { $0.name == leader }) else { return false }
                try loaded.cluster.start(leader)
                return true
            }
            loaded.recorder.recordFault("kill", leader, since: start)
            // Another kill before that would leave two down, and a third soon.
            if isMember { try await comeBack(leader) }
        }
        return kills
    }

    /// Whoever leads, now or as soon as it says that members change, for which it is asked for some seconds; and whether it says so.
    private func victim(awaitingChange: Bool) async throws -> (leader: String, isChanging: Bool) {
        let end = ContinuousClock.now + .seconds(awaitingChange ? 5 : 0)
        while true {
            let leader = try await loaded.observatory.leader()
            while let status = await loaded.observatory.status(of: leader), status.leader == leader {
                let isChanging = !status.pendingChange.isEmpty
                if isChanging || ContinuousClock.now >= end || isRetired.withLock({ $0 }) {
                    return (leader, isChanging)
                }
                await pause(.milliseconds(1))
            }
        }
    }

    /// Waits until the node has caught up, or has left.
    private func comeBack(_ name: String) async throws {
        let committed = await loaded.observatory.status(of: try await loaded.observatory.leader())?.commitIndex ?? 0
        try await until("\(name) to catch up") {
            guard loaded.cluster.members.contains(where: { $0.name == name }) else { return true }
            return await loaded.observatory.status(of: name)?.appliedIndex ?? 0 >= committed
        }
    }
}
