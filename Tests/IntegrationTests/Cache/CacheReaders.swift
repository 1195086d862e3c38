import CacheCore
import ClusterSupport
import EsperClient
import EsperTypes
import Foundation
import Synchronization
import TestSupport

/// Readers of a fixed set of kernels, all of them stored, by Zipf's distribution: each finds them at whatever node answers.
final class CacheReaders: Sendable {
    /// What came of the reads of a part of the time.
    struct Tally: CustomStringConvertible {
        var reads = 0
        /// Found in the memory of the node that was asked.
        var inMemory = 0
        var absent: [String] = []
        /// Failures, wrong bytes, calls that took longer than they may.
        var problems: [String] = []

        /// Of all reads, in percent.
        var memoryRatio: Double { 100 * Double(inMemory) / Double(max(1, reads)) }

        var description: String { "\(reads) reads, \(memoryRatio) % in memory, \(absent.count) absent" }
    }

    private let cluster: LocalCluster
    private let names: [String]
    private let contents: [[UInt8]]
    private let keys: ZipfKeys
    private let tally = Mutex(Tally())
    private let isOver = Atomic(false)

    private static let timeout = Duration.seconds(10)
    /// What a busy machine may take to wake us.
    private static let slack = Duration.seconds(5)
    private static let rhythm = Duration.milliseconds(2)
    /// Then a client is replaced, so that no node is forgotten once it was away.
    private static let readsPerClient = 50

    init(_ cluster: LocalCluster, kernels: Int) {
        self.cluster = cluster
        names = (0..<kernels).map { "kernel-\($0)" }
        contents = names.map(Kernel.bytes)
        keys = ZipfKeys(count: kernels, exponent: 1)
    }

    /// Stores every kernel.
    func fill(mode: StoreMode) async throws {
        let client = try cluster.cacheClient(timeout: .seconds(30))
        defer { client.close() }
        var options = StoreOptions()
        options.mode = mode
        try await withThrowingTaskGroup(of: Void.self) { group in
            for worker in 0..<16 {
                group.addTask { [names, contents, options] in
                    for number in stride(from: worker, to: names.count, by: 16) {
                        try await client.cache.store(ArtifactName(names[number]), contents[number], options: options)
                    }
                }
            }
            try await group.waitForAll()
        }
    }

    /// Runs `body` while `count` readers read.
    func during(_ count: Int = 4, _ body: () async throws -> Void) async throws {
        let readers = Task {
            await withDiscardingTaskGroup { group in
                for number in 0..<count { group.addTask { await self.read(number) } }
            }
        }
        let result: Result<Void, any Error>
        do { result = .success(try await body()) } catch { result = .failure(error) }
        isOver.store(true, ordering: .relaxed)
        await readers.value
        try result.get()
    }

    /// What came of the reads since this was last asked.
    func part() -> Tally { tally.withLock { tally in exchange(&tally, with: Tally()) } }

    /// Until so many more reads have ended.
    func more(_ reads: Int) async throws {
        let begin = tally.withLock { $0.reads }
        try await until("\(reads) reads") { tally.withLock { $0.reads } >= begin + reads }
    }

    private func read(_ reader: Int) async {
        var random = SplitMix64(seed: UInt64(reader))
        while !isOver.load(ordering: .relaxed) {
            do {
                let client = try cluster.cacheClient(timeout: Self.timeout)
                defer { client.close() }
                for _ in 0..<Self.readsPerClient where !isOver.load(ordering: .relaxed) {
                    await read(Int(keys.next(&random)) - 1, client)
                    await pause(Self.rhythm)
                }
            } catch {
                tally.withLock { $0.problems.append("no client: \(error)") }
                return
            }
        }
    }

    private func read(_ number: Int, _ client: EsperClient) async {
        let name = names[number]
        let start = ContinuousClock.now
        var problem: String?
        var tier: CacheTier?
        var isFound = false
        do throws(EsperError) {
            switch try await client.cache.retrieve(ArtifactName(name)) {
            case .found(let artifact):
                (isFound, tier) = (true, artifact.header.tier)
                if artifact.value != contents[number] { problem = "\(name): wrong bytes" }
            case .absent, .notModified: break
            }
        } catch { problem = "\(name): \(error)" }
        let time = ContinuousClock.now - start
        if time > Self.timeout + Self.slack { problem = "\(name): answered after \(time)" }
        tally.withLock { tally in
            tally.reads += 1
            if let problem { tally.problems.append(problem) }
            if !isFound, problem == nil { tally.absent.append(name) }
            if tier == .memory { tally.inMemory += 1 }
        }
    }
}
