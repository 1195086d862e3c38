import ClusterSupport
import EsperClient
import EsperProtocol
import EsperTypes
import Glibc
import SwiftProtobuf
import TestSupport
import Testing

/// A leader that is alive and cut off, or that slept: it must not act on what it believes.
@Suite(.timeLimit(.minutes(4)))
struct LostLeaderTests {
    /// What came back for a read of `key` through a node's door: a value, or nothing but an error.
    private func read(_ key: String, _ count: Int, through door: NodeDoor) async -> [String] {
        await withTaskGroup(of: String?.self) { group in
            for _ in 0..<count { group.addTask { (try? await door.value(of: key, within: .seconds(2))) ?? nil } }
            return await group.reduce(into: []) { values, value in
                if let value { values.append(value) }
            }
        }
    }

    @Test func `a leader that slept serves nothing stale when it wakes, and follows`() async throws {
        try await LocalCluster.run(3) { cluster in
            let observatory = Observatory(cluster)
            for round in 1...3 {
                let sleeper = try await observatory.leader()
                let awake = cluster.members.map(\.name).filter { $0 != sleeper }
                for member in cluster.members { try await observatory.waitUntilCaughtUp(member.name) }
                let client = try cluster.client(of: awake)
                try await client.put(.init("key"), .init("old \(round)"))
                let door = try await NodeDoor.open(sleeper, of: cluster)
                #expect(try await door.value(of: "key") == "old \(round)")

                cluster.process(sleeper).signal(SIGSTOP)
                _ = try await observatory.leader(except: [sleeper])
                try await client.put(.init("key"), .init("new \(round)"))
                // These lie in the sleeper's socket and are the first that it sees; the others come right after.
                async let asked = read("key", 50, through: door)
                try await client.put(.init("meanwhile"), .init("\(round)"))
                cluster.process(sleeper).signal(SIGCONT)
                let late = await read("key", 50, through: door)
                let answers = await asked + late
                #expect(answers.allSatisfy { $0 == "new \(round)" }, "\(Set(answers))")

                try await observatory.waitUntilCaughtUp(sleeper)
                try await until("\(sleeper) to follow") {
                    guard let leader = await observatory.status(of: sleeper)?.leader else { return false }
                    return awake.contains(leader)
                }
                #expect(await read("key", 1, through: try await observatory.door(sleeper)) == ["new \(round)"])
                client.close()
                door.close()
            }
        }
    }

    @Test func `a leader without its peers acknowledges nothing, and what it refused never happens`() async throws {
        try await LocalCluster.run(3) { cluster in
            let observatory = Observatory(cluster)
            let lonely = try await observatory.leader()
            let majority = cluster.members.map(\.name).filter { $0 != lonely }
            let door = try await observatory.door(lonely)
            try await door.put("key", "old")
            let _: ProtoIsolateResponse = try await door.call(.isolate, ProtoIsolateRequest())

            var outcomes: [String: Outcome?] = [:]
            for number in 0..<20 {
                let key = "minority/\(number)"
                do {
                    try await door.put(key, "?", within: .milliseconds(100))
                    Issue.record("\(key) was acknowledged without a majority")
                } catch let refusal as NodeDoor.Refusal {
                    // No word from the node, or a call that timed out here: nobody knows.
                    outcomes[key] = refusal.outcome
                }
            }
            let leader = try await observatory.leader(except: [lonely])
            let other = try await observatory.door(leader)
            try await other.put("key", "new")
            #expect(await read("key", 20, through: door).allSatisfy { $0 == "new" })
            for number in 0..<100 { try await other.put("majority/\(number)", "kept") }

            let _: ProtoHealResponse = try await door.call(.heal, ProtoHealRequest())
            try await observatory.waitUntilCaughtUp(lonely)
            #expect(try await eventually("an answer") { try? await door.value(of: "key") } == "new")
            for name in majority + [lonely] {
                let found = try await observatory.door(name).pairs(under: "m")
                #expect(found.keys.count { $0.hasPrefix("majority/") } == 100)
                for (key, outcome) in outcomes where outcome == .notCommitted {
                    #expect(found[key] == nil, "\(key) was said not to be committed, and \(name) has it")
                }
            }
        }
    }
}
