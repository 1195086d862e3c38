import ClusterSupport
import EsperTypes
import Foundation
import TestSupport
import Testing

/// `esper` as people and scripts call it, against real nodes.
@Suite(.timeLimit(.minutes(3)))
struct CommandTests {
    private func esper(_ cluster: LocalCluster, _ arguments: [String]) async throws -> EsperProgram.Result {
        // Behind the subcommand: what follows -- is not for us.
        let words: [String] = arguments.prefix(2) + ["--config", cluster.clientFile] + arguments.dropFirst(2)
        return try await EsperProgram(words, in: cluster.root).result()
    }

    @Test func `the longest key and value are put, and a byte more is refused in one line`() async throws {
        try await LocalCluster.run(1) { cluster in
            let key = String(repeating: "k", count: Limits.keyBytes)
            let value = String(repeating: "v", count: Limits.valueBytes)
            let put = try await esper(cluster, ["kv", "put", key, value])
            #expect(put.code == 0 && put.errors == [])
            #expect(try await esper(cluster, ["kv", "get", key]).output == value + "\n")
            for (key, value, message) in [
                (key, value + "v", "the value has \(Limits.valueBytes + 1) bytes, more than \(Limits.valueBytes)"),
                (key + "k", value, "the key has \(Limits.keyBytes + 1) bytes, more than \(Limits.keyBytes)"),
            ] {
                let refused = try await esper(cluster, ["kv", "put", key, value, "--output", "json"])
                #expect(refused.code == 1)
                #expect(refused.errors == ["esper: \(message)"])
                #expect(refused.output.contains(#""outcome":"not_committed""#))
                #expect(refused.output.contains(#""code":"invalid_argument""#))
            }
        }
    }

    @Test(arguments: [("lock", "acquire", "release"), ("election", "campaign", "resign")])
    func `a command is ended when what it runs under is given back in its session's name`(
        noun: String, take: String, giveBack: String
    ) async throws {
        try await LocalCluster.run(1) { cluster in
            let (session, ending) = ("\(cluster.root)/session", "\(cluster.root)/ending")
            // Ends on SIGTERM with an exit code of its own, which is not what counts then.
            let script = """
                trap 'echo told > \(ending); exit 7' TERM
                echo $ESPER_SESSION_ID > \(session).new; mv \(session).new \(session)
                sleep 600 & wait
                """
            async let run = esper(
                cluster, [noun, take, "train", "--ttl", "10m", "--output", "json", "--", "/bin/sh", "-c", script])
            let id = try await eventually("the command") { try? String(contentsOfFile: session, encoding: .utf8) }
            let given = try await esper(
                cluster, [noun, giveBack, "train", "--session", id.trimmingCharacters(in: .whitespacesAndNewlines)])
            #expect(given.code == 0, "\(given)")
            let ended = try await run
            #expect(ended.code == 1, "\(ended)")
            #expect(ended.errors.count == 1)
            #expect(ended.errors.first?.contains("was lost (train was \(giveBack)") == true, "\(ended.errors)")
            #expect(ended.output.isEmpty)
            #expect(try String(contentsOfFile: ending, encoding: .utf8) == "told\n")
            let sessions = try await esper(cluster, ["session", "list", "--output", "json"])
            #expect(!sessions.output.contains("session_id"), "the session is not left behind: \(sessions.output)")
        }
    }

    @Test func `a session is listed with its label, and its lock is released once`() async throws {
        try await LocalCluster.run(1) { cluster in
            let held = try await esper(
                cluster, ["lock", "acquire", "train", "--ttl", "60s", "--label", "night run", "--output", "json"])
            #expect(held.code == 0, "\(held)")
            let sessions = try await esper(cluster, ["session", "list"])
            #expect(sessions.output.contains("night run"))
            let list = try await esper(cluster, ["session", "list", "--output", "json"])
            #expect(list.output.contains(#""label":"night run""#))
            let session = try #require(held.document?["session_id"] as? String)
            let released = try await esper(cluster, ["lock", "release", "train", "--session", session])
            #expect(released.code == 0 && released.output == "released train\n")
            let again = try await esper(cluster, ["lock", "release", "train", "--session", session])
            #expect(again.code == 1)
            #expect(again.errors == ["esper: the session neither holds nor waits for the lock"])
        }
    }
}
