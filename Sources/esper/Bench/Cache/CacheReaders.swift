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
    private let start = MonotonicClock.nanoseconds()
    private let windows = Mutex<[CacheTally]>([])
    private let isStopped = Atomic(false)

    /// - Parameter clients: each reader stays with one.
    init(_ kernels: BenchKernels, exponent: Double, over clients: [EsperClient], window: Duration) {
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
        while !isStopped.load(ordering: .relaxed) {
            let number = Int(keys.next(&random) - 1)
            let begin = MonotonicClock.nanoseconds()
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
