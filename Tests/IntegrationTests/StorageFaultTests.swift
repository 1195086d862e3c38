import ClusterSupport
import EsperClient
import Foundation
import Glibc
import Simulation
import TestSupport
import Testing

/// Disks that lie or are full, under real nodes.
@Suite(.timeLimit(.minutes(3)))
struct StorageFaultTests {
    private func waitUntilReady(_ cluster: LocalCluster, _ name: String) async throws {
        let port = cluster.member(name).probePort
        try await until("\(name) ready") {
            try await onThread { Probe.get("/ready", port: port)?.status } == 200
        }
    }

    private func put(_ numbers: Range<UInt32>, bytes: Int = 64, _ client: EsperClient) async throws {
        for number in numbers {
            _ = try await client.put(Array("key/\(number)".utf8), [UInt8](repeating: UInt8(number % 251), count: bytes))
        }
    }

    private func missing(of numbers: Range<UInt32>, _ client: EsperClient) async throws -> [UInt32] {
        var missing: [UInt32] = []
        for number in numbers {
            let found = try await client.get(Array("key/\(number)".utf8)).0
            if found?.value.first != UInt8(number % 251) { missing.append(number) }
        }
        return missing
    }

    /// Flips bits here and there in what a file holds between two offsets: so many that not all fall between records.
    private func flipBits(in path: String, _ range: Range<UInt64>, count: Int = 50) throws {
        let file = try FileHandle(forUpdating: URL(fileURLWithPath: path))
        defer { try? file.close() }
        let seed = UInt64.random(in: 0 ... .max)
        print("bits of \(path) flipped by seed \(seed)")
        var generator = SeededRandom(seed: seed)
        for _ in 0..<count {
            let offset = UInt64.random(in: range, using: &generator)
            try file.seek(toOffset: offset)
            let byte = try #require(try file.read(upToCount: 1)?.first)
            try file.seek(toOffset: offset)
            try file.write(contentsOf: [byte ^ UInt8(1 << UInt8.random(in: 0..<8, using: &generator))])
        }
        try file.synchronize()
    }

    private func segments(_ cluster: LocalCluster, _ name: String) throws -> [String] {
        let log = cluster.dataDirectory(of: name) + "/log"
        return try FileManager.default.contentsOfDirectory(atPath: log).filter { $0.hasSuffix(".segment") }.sorted()
            .map { log + "/" + $0 }
    }

    @Test func `bits flipped while a node is stopped: nothing is lost, and the node heals`() async throws {
        try await LocalCluster.run(3) { cluster in
            let leader = try await cluster.leader()
            let client = try EsperClient(settingsFile: cluster.clientFile)
            defer { client.close() }
            try await put(0..<200, client)
            let victim = try #require(cluster.members.map(\.name).first { $0 != leader })
            await cluster.kill(victim)
            let segment = try #require(try segments(cluster, victim).first)
            // Behind the header, before the end of what 200 writes took.
            try flipBits(in: segment, 8192..<40_000)
            try await put(200..<210, client)
            try cluster.start(victim)
            try await waitUntilReady(cluster, victim)
            let said = cluster.log(of: victim)
            #expect(said.contains("storage is damaged") && said.contains(segment))
            #expect(said.contains("this node votes"))
            // It counts again: with it alone the leader goes on.
            let other = try #require(cluster.members.map(\.name).first { $0 != leader && $0 != victim })
            await cluster.kill(other)
            try await put(210..<220, client)
            #expect(try await missing(of: 0..<220, client).isEmpty)
        }
    }

    @Test func `a quarantined node is alive and not ready, and helps nobody win who lacks what it acknowledged`()
        async throws
    {
        try await LocalCluster.run(3) { cluster in
            let leader = try await cluster.leader()
            let client = try EsperClient(settingsFile: cluster.clientFile)
            defer { client.close() }
            let rest = cluster.members.map(\.name).filter { $0 != leader }
            let (victim, late) = (rest[0], rest[1])
            await cluster.kill(late)
            // On the disks of the leader and the victim alone.
            try await put(0..<200, client)
            await cluster.kill([leader, victim])
            func wins() -> [Int] {
                [victim, late].map { cluster.log(of: $0).components(separatedBy: "electionWon").count }
            }
            let before = wins()
            try flipBits(in: try #require(try segments(cluster, victim).first), 8192..<40_000)
            try cluster.start(victim)
            try cluster.start(late)
            let port = cluster.member(victim).probePort
            try await until("the reason") {
                try await onThread { Probe.get("/ready", port: port)?.body.contains("storage was damaged") } ?? false
            }
            #expect(try await onThread { Probe.get("/health", port: port)?.status } == 200)
            // It tries to be elected, and goes on trying while a question waits that only a leader could answer: for more than
            // four of its election timeouts, which are 300 ms at most.
            let latePort = cluster.member(late).probePort
            try await until("an attempt of \(late)") {
                let attempts = "esper_raft_role_changes_total{reason=\"timeout\"}"
                return try await onThread { Probe.metric(attempts, port: latePort) } ?? 0 > 0
            }
            var options = ClientOptions()
            options.timeout = .seconds(2)
            let asker = try EsperClient(settingsFile: cluster.clientFile, options: options)
            defer { asker.close() }
            let asked = ContinuousClock.now
            await #expect(throws: EsperError.self) { try await asker.get(Array("key/0".utf8)) }
            #expect(ContinuousClock.now - asked > .milliseconds(4 * 300))
            #expect(wins() == before)
            try cluster.start(leader)
            try await waitUntilReady(cluster, victim)
            #expect(try await missing(of: 0..<200, client).isEmpty)
        }
    }

    @Test func `bits flipped while a node runs are found by the scrub, and replaced from memory`() async throws {
        let settings = "raft: {segment_size: 1MiB, scrub_interval: 500ms, scrub_rate: 64MiB}"
        try await LocalCluster.run(3, settings: settings) { cluster in
            let leader = try await cluster.leader()
            let client = try EsperClient(settingsFile: cluster.clientFile)
            defer { client.close() }
            try await put(0..<200, bytes: 16 << 10, client)
            let victim = try #require(cluster.members.map(\.name).first { $0 != leader })
            let segment = try #require(try segments(cluster, victim).first)
            try flipBits(in: segment, 16_384..<900_000)
            try await until("the scrub to find it") {
                cluster.log(of: victim).contains("stored bytes are damaged")
            }
            try await until("a snapshot in its place") {
                cluster.log(of: victim).contains("snapshot written")
                    && !FileManager.default.fileExists(atPath: segment)
            }
            let port = cluster.member(victim).probePort
            let damages = try await onThread { Probe.metric("esper_storage_scrub_damages_total", port: port) }
            #expect(try #require(damages) > 0)
            await cluster.kill(victim)
            try cluster.start(victim)
            try await waitUntilReady(cluster, victim)
            #expect(!cluster.log(of: victim).contains("storage is damaged"))
            #expect(try await missing(of: 0..<200, client).isEmpty)
        }
    }

    @Test(arguments: ["leader", "follower"])
    func `bits flipped in the segment that is being written`(of victim: String) async throws {
        let settings = "raft: {segment_size: 1MiB, scrub_interval: 500ms, scrub_rate: 64MiB}"
        try await LocalCluster.run(3, settings: settings) { cluster in
            let leader = try await cluster.leader()
            let client = try EsperClient(settingsFile: cluster.clientFile)
            defer { client.close() }
            try await put(0..<200, client)
            let victim = victim == "leader" ? leader : try #require(cluster.members.first { $0.name != leader }).name
            let segment = try #require(try segments(cluster, victim).first)
            try flipBits(in: segment, 8192..<40_000)
            // The node does not read what it writes; memory has it, and the others do.
            try await put(200..<220, client)
            #expect(try await missing(of: 0..<220, client).isEmpty)

            // A start finds it, and fetches from the others what was lost.
            await cluster.kill(victim)
            try cluster.start(victim)
            try await waitUntilReady(cluster, victim)
            let said = cluster.log(of: victim)
            #expect(said.contains("storage is damaged") && said.contains(segment) && said.contains("this node votes"))
            #expect(try await missing(of: 0..<220, client).isEmpty)

            // Without a start the scrub finds it, once the segment is full.
            let next = try #require(try segments(cluster, victim).first)
            try await put(220..<300, client)
            try flipBits(in: next, 8192..<20_000)
            try await put(300..<380, bytes: 16 << 10, client)
            try await until("the scrub to find it") { cluster.log(of: victim).contains("stored bytes are damaged") }
            try await until("a snapshot in its place") { !FileManager.default.fileExists(atPath: next) }

            let leading = try await cluster.leader()
            let other = try #require(cluster.members.map(\.name).first { $0 != victim && $0 != leading })
            await cluster.kill(other)
            // The healed node is needed for every one of these.
            try await put(380..<400, client)
            #expect(try await missing(of: 0..<400, client).isEmpty)
        }
    }

    @Test func `a leader whose disk is slow hands over, and loses nothing`() async throws {
        try await LocalCluster.run(3, started: false) { cluster in
            let disks = try cluster.members.map { member in
                let directory = "\(cluster.root)/disk-of-\(member.name)"
                try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
                return (name: member.name, disk: try SlowDisk(in: directory))
            }
            for (name, disk) in disks { try cluster.start(name, environment: disk.environment) }
            let leader = try await cluster.leader()
            let client = try EsperClient(settingsFile: cluster.clientFile)
            defer { client.close() }
            try await put(0..<20, client)
            let disk = try #require(disks.first { $0.name == leader }).disk
            try disk.slowDown()
            try await put(20..<40, client)
            let next = try await cluster.leader(otherThan: leader)
            let said = cluster.log(of: next).split(separator: "\n")
            #expect(
                said.contains { $0.contains("raft.role=leader") } && said.contains { $0.contains("reason=transfer") })
            try disk.speedUp()
            try await put(40..<60, client)
            #expect(try await missing(of: 0..<60, client).isEmpty)
            for member in cluster.members {
                let isLost = cluster.log(of: member.name).contains("reason=quorumLost")
                #expect(!isLost, "\(member.name) was without a quorum: that was a failover, and no handing over")
            }
        }
    }

    @Test func `a node that cannot know its last vote says so in one line, and how to rejoin`() async throws {
        try await LocalCluster.run(3) { cluster in
            let leader = try await cluster.leader()
            let victim = try #require(cluster.members.map(\.name).first { $0 != leader })
            await cluster.kill(victim)
            let segments = try segments(cluster, victim)
            for segment in segments { try FileManager.default.removeItem(atPath: segment) }
            let before = cluster.log(of: victim).split(separator: "\n").count
            try cluster.start(victim)
            #expect(await cluster.process(victim).wait(atMost: .seconds(30)) == 1)
            let lines = cluster.log(of: victim).split(separator: "\n").dropFirst(before)
            #expect(lines.count == 1)
            #expect(lines.first?.contains("cannot be told") == true && lines.first?.contains(segments[0]) == true)
            #expect(lines.first?.contains("new node id") == true)
        }
    }

    @Test(.enabled(if: SmallDisks.arePossible, "mounting needs the rights of root"))
    func `a full disk of the leader refuses commands with the reason, and serves again when there is space`()
        async throws
    {
        // Filling a disk keeps the machine busy; a leader that changes would leave the ballast on the wrong one.
        let settings = "raft: {segment_size: 1MiB, heartbeat: 200ms, election_timeout: 1s}"
        try await LocalCluster.run(3, settings: settings, started: false) { cluster in
            let disks = try SmallDisks(for: cluster)
            defer { disks.unmount() }
            for member in cluster.members { try cluster.start(member.name) }
            let leader = try await cluster.leader()
            var options = ClientOptions()
            options.timeout = .seconds(2)
            let client = try EsperClient(settingsFile: cluster.clientFile, options: options)
            defer { client.close() }
            try await put(0..<20, client)
            let ballast = cluster.dataDirectory(of: leader) + "/ballast"
            try fill(ballast)
            // Until the segment in use is full, and the next one, which waits already.
            var written: UInt32 = 20
            let refusal = try await eventually("a refusal") { () async throws -> EsperError? in
                do {
                    try await put(written..<written + 1, bytes: 48 << 10, client)
                    written += 1
                    return nil
                } catch let error as EsperError {
                    return error
                }
            }
            #expect(refusal.code == "storage_full" && "\(refusal)".hasSuffix("(not_committed)"), "\(refusal)")
            #expect(try await missing(of: 0..<written, client).isEmpty, "reads go on")
            #expect(await cluster.process(leader).wait(atMost: .zero) == nil, "the leader runs")
            try FileManager.default.removeItem(atPath: ballast)
            try await until("to be served again") {
                do {
                    try await put(written..<written + 1, client)
                    return true
                } catch is EsperError {
                    return false
                }
            }
            #expect(try await missing(of: 0..<written + 1, client).isEmpty)
            #expect(try await cluster.leader() == leader)
        }
    }

    private func fill(_ path: String) throws {
        let descriptor = open(path, O_WRONLY | O_CREAT, 0o600)
        try #require(descriptor >= 0)
        defer { close(descriptor) }
        let zeros = [UInt8](repeating: 0, count: 64 << 10)
        while write(descriptor, zeros, zeros.count) > 0 {}
    }
}
