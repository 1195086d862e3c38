import ClusterSupport
import EsperClient
import EsperTypes
import Foundation
import Glibc
import Identity
import TestSupport
import Testing

/// The program as its operator meets it: settings, data directories, signals, garbage.
@Suite(.timeLimit(.minutes(3)))
struct ProcessTests {
    @Test func `settings with three mistakes are three lines and exit code 2`() async throws {
        try await LocalCluster.run(1, started: false) { cluster in
            let file = cluster.settingsFile(of: "n1")
            var text = try String(contentsOfFile: file, encoding: .utf8)
            text = text.replacingOccurrences(of: "name: n1\n", with: "name: stranger\n")
            text += "\nlog: {level: loud}\nraft: {heartbeat: soon}\n"
            try text.write(toFile: file, atomically: true, encoding: .utf8)
            try cluster.start("n1")
            #expect(await cluster.process("n1").wait(atMost: .seconds(30)) == 2)
            let lines = cluster.log(of: "n1").split(separator: "\n")
            #expect(lines.count == 3)
            #expect(lines.contains { $0.contains("log.level: 'loud'") })
            #expect(lines.contains { $0.contains("raft.heartbeat: 'soon'") })
            #expect(lines.contains { $0.contains("name: 'stranger' is not among the members (n1)") })
        }
    }

    @Test func `a data directory of another cluster is refused with the reason`() async throws {
        try await LocalCluster.run(1, started: false) { cluster in
            try cluster.start("n1")
            _ = try await cluster.leader()
            await cluster.kill("n1")
            let file = cluster.settingsFile(of: "n1")
            let text = try String(contentsOfFile: file, encoding: .utf8)
            let changed = text.split(separator: "\n").map {
                $0.hasPrefix("cluster_id") ? "cluster_id: \"dead\"" : String($0)
            }
            try changed.joined(separator: "\n").write(toFile: file, atomically: true, encoding: .utf8)
            try cluster.start("n1")
            #expect(await cluster.process("n1").wait(atMost: .seconds(30)) == 1)
            #expect(cluster.log(of: "n1").contains("belongs to cluster"))
        }
    }

    @Test func `a data directory of a newer format is refused with the reason, and left as it is`() async throws {
        try await LocalCluster.run(1, started: false) { cluster in
            try cluster.start("n1")
            _ = try await cluster.leader()
            await cluster.kill("n1")
            let file = cluster.dataDirectory(of: "n1") + "/metadata"
            let original = try Data(contentsOf: URL(fileURLWithPath: file))
            var slot = [UInt8](original.prefix(512))
            // The version stands behind the magic number; the checksum of the slot, at 16, covers all but itself.
            #expect(slot[..<8] == ArraySlice("ESRMETA1".utf8))
            slot.replaceSubrange(8..<12, with: [99, 0, 0, 0])
            var crc = CRC32C()
            crc.update([UInt8](slot[..<16]))
            crc.update([UInt8](slot[20...]))
            withUnsafeBytes(of: crc.checksum.littleEndian) { slot.replaceSubrange(16..<20, with: $0) }
            let newer = Data(slot) + original.dropFirst(512)
            try newer.write(to: URL(fileURLWithPath: file))
            let before = cluster.log(of: "n1")
            try cluster.start("n1")
            #expect(await cluster.process("n1").wait(atMost: .seconds(30)) == 1)
            let said = cluster.log(of: "n1").dropFirst(before.count)
            #expect(said.contains("written with format version 99, this program reads up to"), "\(said)")
            #expect(said.split(separator: "\n").count == 1)
            #expect(try Data(contentsOf: URL(fileURLWithPath: file)) == newer)
            try original.write(to: URL(fileURLWithPath: file))
            try cluster.start("n1")
            try await until("the node leads again") {
                cluster.log(of: "n1").dropFirst(before.count).contains("electionWon")
            }
        }
    }

    @Test func `a start without data is refused, unless it is said to be the first`() async throws {
        try await LocalCluster.run(1, started: false) { cluster in
            try cluster.start("n1", initialize: false)
            #expect(await cluster.process("n1").wait(atMost: .seconds(30)) == 1)
            let refusal = cluster.log(of: "n1")
            #expect(refusal.split(separator: "\n").count == 1)
            #expect(refusal.contains("the data directory \(cluster.dataDirectory(of: "n1")) holds no data"))
            #expect(refusal.contains("--initialize"))
            try cluster.start("n1", initialize: true)
            _ = try await cluster.leader()
            await cluster.kill("n1")
            try cluster.start("n1", initialize: true)
            #expect(await cluster.process("n1").wait(atMost: .seconds(30)) == 1)
            #expect(cluster.log(of: "n1").contains("is initialized already; start without --initialize"))
        }
    }

    @Test func `a node whose data directory vanished does not begin anew`() async throws {
        try await LocalCluster.run(3) { cluster in
            let leader = try await cluster.leader()
            await cluster.kill(leader)
            try FileManager.default.removeItem(atPath: cluster.dataDirectory(of: leader))
            try cluster.start(leader)
            #expect(await cluster.process(leader).wait(atMost: .seconds(30)) == 1)
            #expect(cluster.log(of: leader).contains("holds no data"))
            #expect(!FileManager.default.fileExists(atPath: cluster.dataDirectory(of: leader)))
        }
    }

    @Test func `a certificate of another node is refused with the reason`() async throws {
        try await LocalCluster.run(1, started: false) { cluster in
            try cluster.authority.issue(.node, name: "other", hosts: [], validFor: 3600, now: Date())
                .write(
                    certificate: cluster.root + "/n1.pem", privateKey: cluster.root + "/n1.key", replacing: true)
            try cluster.start("n1")
            #expect(await cluster.process("n1").wait(atMost: .seconds(30)) == 1)
            #expect(cluster.log(of: "n1").contains("is for spiffe://esper.local/node/other"))
        }
    }

    @Test func `a data directory in use is refused with the reason`() async throws {
        try await LocalCluster.run(1, started: false) { cluster in
            try cluster.start("n1")
            _ = try await cluster.leader()
            let second = try NodeProcess(
                arguments: ["--config", cluster.settingsFile(of: "n1")], log: cluster.root + "/second.log")
            #expect(await second.wait(atMost: .seconds(30)) == 1)
            #expect(try String(contentsOfFile: cluster.root + "/second.log", encoding: .utf8).contains("locked"))
        }
    }

    @Test(.enabled(if: FileManager.default.fileExists(atPath: "/sys/kernel/mm/transparent_hugepage")))
    func `a node asks for huge pages once its state is large`() async throws {
        try await LocalCluster.run(1) { cluster in
            let client = try EsperClient(settingsFile: cluster.clientFile)
            defer { client.close() }
            let value = [UInt8](repeating: 7, count: 56 << 10)
            _ = try await client.put(Array("first".utf8), value)
            #expect(try !cluster.process("n1").wantsHugePages)
            for batch in 0..<32 {
                try await withThrowingDiscardingTaskGroup { group in
                    for number in 0..<96 {
                        group.addTask { _ = try await client.put(Array("\(batch)/\(number)".utf8), value) }
                    }
                }
            }
            #expect(try cluster.process("n1").wantsHugePages)
            #expect(!cluster.log(of: "n1").contains("huge pages"), "some of the heap gets none")
        }
    }

    @Test func `without a catalog nothing is kept for one, and nothing refused for want of room for it`() async throws {
        try await LocalCluster.run(1, settings: "outbox: {maximum_records: 3}") { cluster in
            let client = try EsperClient(settingsFile: cluster.clientFile)
            defer { client.close() }
            var kept: Set<UInt64> = []
            for number in 0..<8 {
                let session = try await client.openSession(ttl: .seconds(60))
                _ = try await client.acquire("lock \(number)", session: session.id, wait: .zero)
                kept.insert(try await client.status().outboxPending)
            }
            #expect(kept == [0])
        }
    }

    @Test func `SIGTERM of the leader hands over and exits 0 within ten seconds`() async throws {
        try await LocalCluster.run(3) { cluster in
            let leader = try await cluster.leader()
            cluster.process(leader).signal(SIGTERM)
            #expect(await cluster.process(leader).wait(atMost: .seconds(10)) == 0)
            _ = try await cluster.leader(otherThan: leader)
        }
    }

    @Test func `SIGTERM ends a node within ten seconds although clients hold on, and a second one ends it at once`()
        async throws
    {
        try await LocalCluster.run(3) { cluster in
            let leader = try await cluster.leader()
            let client = try EsperClient(settingsFile: cluster.clientFile)
            defer { client.close() }
            let session = try await client.openSession(ttl: .seconds(60))
            let other = try await client.openSession(ttl: .seconds(60))
            _ = try await client.acquire("held", session: session.id, wait: .zero)
            // Neither of these ends by itself.
            let watch = Task { for try await _ in client.watch(.prefix([])) {} }
            let waiting = Task { try await client.acquire("held", session: other.id, wait: .seconds(60)) }
            defer {
                watch.cancel()
                waiting.cancel()
            }
            try await until("the claim in the queue") { try await client.locks().first?.waiting == [other.id] }
            cluster.process(leader).signal(SIGTERM)
            #expect(await cluster.process(leader).wait(atMost: .seconds(10)) == 0)
            // One of the two that are left has nobody to hand over to, once the other is gone.
            let rest = cluster.members.map(\.name).filter { $0 != leader }
            await cluster.kill(rest[0])
            let last = cluster.process(rest[1])
            last.signal(SIGTERM)
            try await until("the first signal") { cluster.log(of: rest[1]).contains("node stops") }
            last.signal(SIGTERM)
            #expect(await last.wait(atMost: .seconds(2)) == 1)
        }
    }
}
