import ClusterSupport
import Foundation
import TestSupport
import Testing

/// What README tells a new user to type, in its order, on a cluster that `esper dev up` makes.
@Suite(.timeLimit(.minutes(3)))
struct WalkTests {
    @Test(.enabled(if: PrivatePostgreSQL.isInstalled, "'esper dev up' wants PostgreSQL"))
    func `the commands of the README do what it says`() async throws {
        try await DevelopmentWalk.run { walk in
            try await start(walk)
            try await keys(walk)
            try await locksAndElections(walk)
            try await faults(walk)
            try await benchmark(walk)
            try await members(walk)
            try await end(walk)
        }
    }

    @Test(.enabled(if: PrivatePostgreSQL.isInstalled && geteuid() == 0, "only root has services under another account"))
    func `services run although their account cannot enter the cluster's directory`() async throws {
        try await DevelopmentWalk.run { walk in
            try FileManager.default.setAttributes([.posixPermissions: 0o700], ofItemAtPath: walk.place)
            defer {
                // Where their files are then.
                for name in ["postgres", "redis"] {
                    let link = "\(walk.place)/dev/\(name)"
                    if let place = try? FileManager.default.destinationOfSymbolicLink(atPath: link) {
                        try? FileManager.default.removeItem(atPath: place)
                    }
                }
            }
            let up = try await walk.esper(
                "dev", "up", "--nodes", "1", "--base-port", "\(walk.basePort)", within: .seconds(90))
            #expect(up.contains("leader n1"))
            _ = try FileManager.default.destinationOfSymbolicLink(atPath: walk.place + "/dev/postgres")
            let down = try await walk.esper("dev", "down", within: .seconds(60))
            #expect(down.hasPrefix("stopped: n1, postgres") && !down.contains("killed"))
        }
    }

    private func start(_ walk: DevelopmentWalk) async throws {
        let up = try await walk.esper("dev", "up", "--base-port", "\(walk.basePort)", within: .seconds(90))
        #expect(up.contains("leader n") && up.contains("kv put greeting hello"))
        let before = try await walk.document("dev", "status")
        _ = try await walk.esper("dev", "up", within: .seconds(60))
        let after = try await walk.document("dev", "status")
        #expect(walk.processes(of: before).count == 3)
        #expect(walk.processes(of: before) == walk.processes(of: after))

        let status = try await walk.document("cluster", "status")
        #expect((status["cluster_id"] as? String)?.count == 16)
        #expect(["n1", "n2", "n3"].contains(status["leader"] as? String))
        #expect(status["term"] is Int && status["commit_index"] is Int)
        let members = try #require(status["members"] as? [[String: Any]])
        #expect(members.compactMap { $0["name"] as? String } == ["n1", "n2", "n3"])
        for (number, member) in members.enumerated() {
            #expect(member["id"] is String && member["version"] is String && member["zone"] is String)
            #expect(["leader", "follower"].contains(member["role"] as? String))
            #expect(member["voter"] as? Bool == true && member["reachable"] as? Bool == true)
            #expect(member["applied_index"] is Int && member["match_index"] is Int)
            #expect(member["address"] as? String == "127.0.0.1:\(walk.basePort + 10 * number)")
        }
    }

    private func keys(_ walk: DevelopmentWalk) async throws {
        let put = try await walk.esper("kv", "put", "greeting", "hello")
        let revision = try #require(put.split(separator: " ").last.flatMap { Int($0) })
        #expect(put == "committed at revision \(revision)")
        #expect(try await walk.esper("kv", "get", "greeting") == "hello")
        let seen = try await walk.esper("kv", "watch", "greet", "--from-revision", "\(revision)", "--limit", "1")
        #expect(seen == "\(revision)\tput\tgreeting\thello")
    }

    private func locksAndElections(_ walk: DevelopmentWalk) async throws {
        var tokens: [Int] = []
        for _ in 0..<2 {
            let printed = try await walk.esper(
                "lock", "acquire", "train-42", "--ttl", "15s", "--wait", "30s", "--", "sh", "-c",
                "echo $ESPER_FENCING_TOKEN")
            tokens.append(try #require(Int(printed)))
        }
        #expect(tokens[0] < tokens[1])

        let observer = try walk.start("election", "observe", "scheduler", "--limit", "3")
        try await until("the first line of the observer") { observer.output.contains("\n") }
        let job = try await walk.esper(
            "election", "campaign", "scheduler", "--value", "host-a", "--", "sh", "-c",
            "echo $ESPER_ELECTION_NAME; esper election observe scheduler --limit 1")
        #expect(job.hasPrefix("scheduler\n") && job.contains("host-a"))
        let lines = try await observer.result().output.split(separator: "\n")
        #expect(lines.count == 3 && lines[1].contains("host-a"), "\(lines)")
        #expect(lines.first == "nobody leads scheduler" && lines.last == "nobody leads scheduler")
        _ = try await walk.esper("election", "campaign", "scheduler", "--value", "host-a")
        #expect(try await walk.esper("election", "leader", "scheduler").contains("host-a"))
    }

    private func faults(_ walk: DevelopmentWalk) async throws {
        let killed = try await walk.lostLeader("kill")
        #expect(try await walk.esper("kv", "get", "greeting") == "hello")
        _ = try await walk.esper("dev", "up", within: .seconds(60))
        try await until("\(killed) among all") {
            try await walk.unreachableByNode() == ["n1": [], "n2": [], "n3": []]
        }

        _ = try await walk.lostLeader("pause")
        #expect(try await walk.esper("kv", "put", "while/paused", "1").hasPrefix("committed"))
        #expect(try await walk.esper("dev", "resume").hasPrefix("resumed: n"))
        try await until("all members") { try await walk.unreachable() == [] }

        _ = try await walk.lostLeader("partition")
        #expect(try await walk.esper("kv", "put", "while/partitioned", "1").hasPrefix("committed"))
        #expect(try await walk.esper("dev", "heal") == "healed: n1, n2, n3")
        try await until("all members") { try await walk.unreachable() == [] }
    }

    private func benchmark(_ walk: DevelopmentWalk) async throws {
        let history = walk.place + "/history.jsonl"
        let report = try await walk.esper(
            "bench", "mixed", "--clients", "4", "--duration", "3s", "--warm-up", "0s", "--keys", "64", "--history",
            history)
        #expect(report.hasPrefix("mixed: "))
        #expect(try await walk.esper("bench", "check", history).hasPrefix("holds: "))
    }

    /// A node joins by a token, as any host does, and leaves.
    private func members(_ walk: DevelopmentWalk) async throws {
        let grown = try await walk.document("dev", "add")
        let members = try #require(grown["members"] as? [[String: Any]])
        #expect(members.compactMap { $0["name"] as? String } == ["n1", "n2", "n3", "n4"])
        #expect(members.allSatisfy { $0["voter"] as? Bool == true })
        let tokens = try await walk.document("cluster", "token", "list")
        #expect((tokens["tokens"] as? [[String: Any]])?.first?["used_by"] as? [String] == ["n4"])
        #expect(try await walk.esper("dev", "remove", "n4") == "n4 is removed")
        try await until("three members") {
            let status = try await walk.document("cluster", "status")
            return (status["members"] as? [Any])?.count == 3
        }
    }

    private func end(_ walk: DevelopmentWalk) async throws {
        #expect(walk.processes(of: try await walk.document("dev", "status")).count == 3)
        let down = try await walk.esper("dev", "down", within: .seconds(60))
        #expect(down.hasPrefix("stopped: n1, n2, n3, postgres") && !down.contains("killed"))
        #expect(walk.processes(of: try await walk.document("dev", "status")) == [])
        #expect(try await walk.esper("dev", "down") == "nothing was running")
    }
}
