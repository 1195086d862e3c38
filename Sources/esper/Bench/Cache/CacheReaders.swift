import CacheCore
import EsperClient
import EsperTypes
import Synchronization

/// Readers that draw kernels from Zipf's distribution until they are stopped, counted in windows of time.
final class CacheReaders: Sendable {
    let kernels: BenchKernels
    private let clients: [EsperClient]
    private let keys: ZipfKeys
    private let windowNanoseconds: UInt64
    private let interval: UInt64?
    private let start = MonotonicClock.nanoseconds()
    private let windows = Mutex<[CacheTally]>([])
    private let isStopped = Atomic(false)

    /// - Parameters:
    ///   - clients: each reader stays with one.
    ///   - interval: nanoseconds between the reads of one reader, each of which counts from the moment when it was due; nil: the next
    ///     begins as soon as one has ended.
    init(
        _ kernels: BenchKernels, exponent: Double, over clients: [EsperClient], window: Duration,
        interval: UInt64? = nil
    ) {
        self.interval = interval
        self.kernels = kernels
        self.clients = clients
        keys = ZipfKeys(count: kernels.names, exponent: exponent)
        windowNanoseconds = UInt64(window.nanoseconds)
    }

    /// Returns when the readers have ended after ``stop()``.
    func run(_ readers: Int) async {
        await withTaskGroup(of: Void.self) { group in
            for reader in 0..<readers {
                group.addTask { await self.read(self.clients[reader % self.clients.count], seed: UInt64(reader)) }
            }
        }
    }

    func stop() { isStopped.store(true, ordering: .relaxed) }

    /// What has been counted in whole windows, the one under way left out.
    var finished: [CacheTally] { windows.withLock { Array($0.dropLast()) } }

    var elapsed: Double { Double(MonotonicClock.nanoseconds() - start) / 1e9 }

    private func read(_ client: EsperClient, seed: UInt64) async {
        var random = SplitMix64(seed: seed)
        var due = MonotonicClock.nanoseconds() + (interval.map { random.next() % $0 } ?? 0)
        while !isStopped.load(ordering: .relaxed) {
            let number = Int(keys.next(&random) - 1)
            var begin = MonotonicClock.nanoseconds()
            if let interval {
                // A cancelled sleep ends early, as it should.
                if due > begin { try? await Task.sleep(for: .nanoseconds(Int64(due - begin))) }
                begin = min(due, MonotonicClock.nanoseconds())
                due += interval
            }
            let result: Result<Retrieved<Artifact>, EsperError>
            do throws(EsperError) {
                result = .success(try await client.cache.retrieve(kernels.name(number)))
            } catch { result = .failure(error) }
            let end = MonotonicClock.nanoseconds()
            let window = Int((end - start) / windowNanoseconds)
            windows.withLock { windows in
                while windows.count <= window { windows.append(CacheTally()) }
                windows[window].add(result, nanoseconds: end - begin)
            }
            // What fails at once would otherwise fail a million times a second; a cancelled sleep ends early, as it should.
            if case .failure = result { try? await Task.sleep(for: .milliseconds(5)) }
        }
    }
}
