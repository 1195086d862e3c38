import CacheCore
import ClusterSupport
import EsperClient
import EsperTypes
import Foundation
import Synchronization
import TestSupport
import Testing

/// A node whose control group gets less memory under load.
@Suite(.timeLimit(.minutes(4))) struct CacheSqueezeTests {
    private static let memory = 64 << 20
    /// What the group holds beside the cache.
    private static let others = 40 << 20
    private static let giant = 200 << 20
    private static let tinyKernels = 4000

    @Test(.enabled(if: PretendedGroup.isPossible, "needs a control group of version 2 and the rights of root"))
    func `a limit that is cut by a third under load is kept, and no call takes longer than it may`() async throws {
        let settings = "cache: {memory: 64MiB}"
        try await LocalCluster.run(1, settings: settings, started: false) { cluster in
            let group = try PretendedGroup(for: cluster)
            // Nine tenths of it have room for the others, the whole cache and some more.
            let maximum = (Self.others + Self.memory + Self.memory / 4) * 10 / 9
            try group.tell(maximum: maximum, current: Self.others)
            try cluster.start("n1", launcher: group.launcher)
            let port = cluster.member("n1").probePort
            try await until("the door") { try await onThread { Probe.get("/ready", port: port)?.status } == 200 }
            let node = cluster.process("n1")
            let client = try cluster.cacheClient(timeout: .seconds(30))
            defer { client.close() }
            let watch = LimitWatch(client, group, others: Self.others, maximum: maximum)
            try await watch.during {
                let file = cluster.root + "/giant"
                try write(file)
                let giant = ArtifactName("giant")
                try await client.cache.store(giant, [ArtifactFile(name: "giant", .file(file))])
                try await store(tiny: 0..<Self.tinyKernels, client)
                let full = try await figures(client)
                #expect(full.limit == Self.memory)
                #expect(full.bytes > Self.memory / 2, "\(full.bytes) bytes are no load")

                async let tiny: Void = store(tiny: Self.tinyKernels..<2 * Self.tinyKernels, client)
                async let large: Void = read(giant, client)
                let cut = maximum * 7 / 10
                watch.set(maximum: cut)
                let expected = cut - cut / 10 - Self.others
                try await until("a limit of \(expected) bytes") {
                    let now = try await figures(client)
                    return abs(now.limit - expected) < expected / 20 && now.bytes <= now.limit
                }
                _ = try await (tiny, large)
                let squeezed = try await figures(client)
                print(
                    "squeeze: limit \(full.limit >> 20) to \(squeezed.limit >> 20) MiB, accounted \(full.bytes >> 20)",
                    "to \(squeezed.bytes >> 20) MiB, \(node.residentBytes >> 20) MiB resident")

                // All of it is still there, from the disk, and the limit comes back with the memory.
                try await read(giant, client)
                try await read(tiny: stride(from: 0, to: 2 * Self.tinyKernels, by: 97), client)
                watch.set(maximum: maximum)
                try await until("the limit to come back", within: .seconds(60)) {
                    try await figures(client).limit == Self.memory
                }
            }
            watch.expectKept()
            #expect(!cluster.log(of: "n1").contains("Fatal error"))
            node.signal(SIGTERM)
            #expect(await node.wait(atMost: .seconds(30)) == 0)
        }
    }

    private func figures(_ client: EsperClient) async throws -> (bytes: Int, limit: Int) {
        let stat = try await client.cache.stat()
        return (Int(stat["memory_bytes"] ?? 0), Int(stat["memory_limit_bytes"] ?? 0))
    }

    private static func tiny(_ number: Int) -> [UInt8] { withUnsafeBytes(of: number, Array.init) }

    private func store(tiny numbers: Range<Int>, _ client: EsperClient) async throws {
        var options = StoreOptions()
        options.mode = .memory
        try await withThrowingTaskGroup(of: Void.self) { group in
            for worker in 0..<32 {
                group.addTask { [options] in
                    for number in numbers where number % 32 == worker {
                        try await client.cache.store(
                            ArtifactName("tiny-\(number)"), Self.tiny(number), options: options)
                    }
                }
            }
            try await group.waitForAll()
        }
    }

    private func read(tiny numbers: some Sequence<Int>, _ client: EsperClient) async throws {
        for number in numbers {
            #expect(try await client.cache.value(of: ArtifactName("tiny-\(number)")) == Self.tiny(number))
        }
    }

    /// Every mebibyte is another one.
    private func write(_ path: String) throws {
        try Data().write(to: URL(fileURLWithPath: path))
        let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
        var block = Data(repeating: 7, count: 1 << 20)
        for number in 0..<Self.giant >> 20 {
            withUnsafeBytes(of: number) { block.replaceSubrange(0..<$0.count, with: $0) }
            try handle.write(contentsOf: block)
        }
        try handle.close()
    }

    private func read(_ name: ArtifactName, _ client: EsperClient) async throws {
        let sink = CountingSink()
        _ = try await client.cache.retrieve(name, into: sink)
        #expect(sink.bytes == Self.giant)
    }
}

/// Blobs come checked; here they are counted.
private final class CountingSink: ArtifactSink {
    private let count = Atomic(0)

    var bytes: Int { count.load(ordering: .relaxed) }

    func begin(_ header: ArtifactHeader) async throws { count.store(0, ordering: .relaxed) }

    func write(_ bytes: [UInt8], file: Int) async throws { count.add(bytes.count, ordering: .relaxed) }
}

/// Looks all the time at what a node accounts for, and has its group hold that and what the others have.
private final class LimitWatch: Sendable {
    private let client: EsperClient
    private let group: PretendedGroup
    private let others: Int
    private let maximum: Atomic<Int>
    private let isOver = Atomic(false)
    private let state = Mutex((samples: 0, problems: [String]()))

    /// What was there when the limit fell goes step by step.
    private static let grace = Duration.seconds(1)

    init(_ client: EsperClient, _ group: PretendedGroup, others: Int, maximum: Int) {
        (self.client, self.group, self.others) = (client, group, others)
        self.maximum = Atomic(maximum)
    }

    /// From the next look on.
    func set(maximum bytes: Int) { maximum.store(bytes, ordering: .relaxed) }

    func during(_ body: () async throws -> Void) async throws {
        let watching = Task { await self.watch() }
        let result: Result<Void, any Error>
        do { result = .success(try await body()) } catch { result = .failure(error) }
        isOver.store(true, ordering: .relaxed)
        await watching.value
        try result.get()
    }

    func expectKept(sourceLocation: SourceLocation = #_sourceLocation) {
        let (samples, problems) = state.withLock { $0 }
        #expect(samples > 50, sourceLocation: sourceLocation)
        #expect(problems.isEmpty, "\(problems.count): \(problems.prefix(5))", sourceLocation: sourceLocation)
    }

    private func watch() async {
        var keptAt = ContinuousClock.now
        while !isOver.load(ordering: .relaxed) {
            do {
                let stat = try await client.cache.stat()
                let (bytes, limit) = (stat["memory_bytes"] ?? 0, stat["memory_limit_bytes"] ?? 0)
                try group.tell(maximum: maximum.load(ordering: .relaxed), current: others + Int(bytes))
                let now = ContinuousClock.now
                let isKept = bytes <= limit + limit / 100
                if isKept { keptAt = now }
                let isLate = now - keptAt > Self.grace
                state.withLock { state in
                    state.samples += 1
                    if isLate { state.problems.append("\(bytes) bytes accounted, limit \(limit)") }
                }
            } catch { state.withLock { $0.problems.append("\(error)") } }
            await pause(.milliseconds(20))
        }
    }
}
