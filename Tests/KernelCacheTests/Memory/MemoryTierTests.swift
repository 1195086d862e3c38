import CacheCore
import EsperTypes
import Foundation
import KernelCache
import Synchronization
import Testing

struct MemoryTierTests {
    private func digest(_ number: UInt64) -> Digest {
        var generator = SplitMix64(seed: number)
        return Digest(words: generator.next(), generator.next(), generator.next(), generator.next())
    }

    private func name(_ number: UInt64) -> [UInt8] { Array("default/kernel/\(number)".utf8) }

    @Test func `values are found by digest and by name and version, and dropped`() {
        let tier = MemoryTier(.init(limitBytes: 64 << 20, seed: 1))
        #expect(tier.put([1, 2, 3], under: digest(1)) == .admitted)
        #expect(tier.get(digest(1)) == [1, 2, 3])
        #expect(tier.put([4], of: name(1), version: LogIndex(7)) == .admitted)
        #expect(tier.value(of: name(1), version: LogIndex(7)) == [4])
        #expect(tier.value(of: name(2), version: LogIndex(7)) == nil)
        #expect(tier.stat().entries == 2)
        #expect(tier.drop(digest(1)) > 0)
        #expect(tier.drop(name: name(1)) > 0)
        #expect(tier.stat().accountedBytes == 0)
    }

    @Test func `a blob of a mebibyte is kept even by a small memory`() {
        for megabytes in [16, 64, 256, 4096] as [UInt64] {
            let tier = MemoryTier(.init(limitBytes: megabytes << 20, seed: 1))
            #expect(tier.put([UInt8](repeating: 1, count: CacheLimits.blobBytes), under: digest(3)) == .admitted)
        }
        let tier = MemoryTier(.init(limitBytes: 8 << 20, seed: 1))
        let admission = tier.put([UInt8](repeating: 1, count: CacheLimits.blobBytes), under: digest(3))
        #expect(admission == .refused(.tooLarge))
    }

    @Test func `a small value does not keep a large buffer alive`() {
        let tier = MemoryTier(.init(limitBytes: 64 << 20, seed: 1))
        var bytes: [UInt8] = []
        bytes.reserveCapacity(1 << 20)
        bytes.append(contentsOf: [UInt8](repeating: 3, count: 1000))
        #expect(tier.put(bytes, under: digest(1)) == .admitted)
        // An allocator rounds up, by a fourth and some.
        #expect(tier.get(digest(1)).map { $0.capacity < 1400 } == true)
        #expect(tier.stat().accountedBytes < 1600)
    }

    @Test func `threads that read and write keep the account and never read another's value`() {
        let tier = MemoryTier(.init(limitBytes: 16 << 20, seed: 1))
        let wrong = Atomic<Int>(0)
        DispatchQueue.concurrentPerform(iterations: 4) { thread in
            var generator = SplitMix64(seed: UInt64(thread))
            for _ in 0..<30_000 {
                let key = generator.next() % 20_000
                // Three times what there is room for, of which a half is there at any time.
                let size = Int(key % 6000)
                switch generator.next() % 8 {
                case 0:
                    tier.put(
                        [UInt8](repeating: UInt8(key % 251), count: size), under: digest(key))
                case 1: tier.put([UInt8(key % 251)], of: name(key), version: LogIndex(key % 5 + 1))
                case 2: tier.drop(digest(key))
                case 3:
                    if key % 100 == 0 { tier.maintain() }
                case 4:
                    if let value = tier.value(of: name(key), version: LogIndex(key % 5 + 1)),
                        value != [UInt8(key % 251)]
                    {
                        wrong.add(1, ordering: .relaxed)
                    }
                default:
                    guard let value = tier.get(digest(key)) else { continue }
                    if value.count != size || value.contains(where: { $0 != UInt8(key % 251) }) {
                        wrong.add(1, ordering: .relaxed)
                    }
                }
            }
        }
        #expect(wrong.load(ordering: .relaxed) == 0)
        tier.checkInvariants()
        let statistics = tier.stat()
        #expect(statistics.accountedBytes <= 16 << 20)
        #expect(statistics.counts.evictions[EvictionReason.capacity.rawValue] > 0)
        #expect(statistics.shadows.count == 4)
    }

    @Test func `a lower limit is obeyed at once`() {
        let tier = MemoryTier(.init(limitBytes: 64 << 20, seed: 1))
        for number in 0..<60_000 as Range<UInt64> {
            tier.put([UInt8](repeating: 1, count: 1000), under: digest(number))
        }
        #expect(tier.stat().accountedBytes > 56 << 20)
        tier.setLimit(44 << 20)
        let statistics = tier.stat()
        #expect(statistics.accountedBytes <= 44 << 20)
        #expect(statistics.counts.evictions[EvictionReason.pressure.rawValue] > 0)
    }

    @Test func `what is hottest is told by digest`() {
        let tier = MemoryTier(.init(limitBytes: 64 << 20, seed: 1))
        for number in 0..<1000 as Range<UInt64> {
            tier.put([1], under: digest(number), costMilliseconds: UInt32(number))
            _ = tier.get(digest(number))
        }
        #expect(tier.hottest(3).entries.map(\.digest) == [999, 998, 997].map { digest($0) })
    }

    /// What is accounted is what the process really holds, to a twentieth, at sizes of kernels.
    @Test func `a million bytes accounted are a million bytes resident`() throws {
        for size in [300, 2048, 40_000] {
            let before = try Self.residentBytes()
            let tier = MemoryTier(.init(limitBytes: 256 << 20, seed: 1))
            var number: UInt64 = 0
            while tier.accountedBytes < 200 << 20 {
                for _ in 0..<100 {
                    number += 1
                    tier.put([UInt8](repeating: 1, count: size), under: digest(number))
                }
            }
            let resident = Double(try Self.residentBytes() - before)
            let accounted = Double(tier.stat().accountedBytes)
            // Other tests of this process allocate and free meanwhile, so the bound here is wider than what was measured.
            #expect(resident < accounted * 1.25, "\(size): \(resident) resident, \(accounted) accounted")
        }
    }

    private static func residentBytes() throws -> Int64 {
        let status = try String(contentsOfFile: "/proc/self/statm", encoding: .utf8)
        return (Int64(status.split(separator: " ")[1]) ?? 0) * 4096
    }

    @Test func `scorers are found by the name in the settings`() {
        ScorerRegistry.register(EvictionScorer(name: "test-oldest") { -Double($0.age) })
        #expect(ScorerRegistry.policy(named: "custom:test-oldest")?.description == "custom:test-oldest")
        #expect(ScorerRegistry.policy(named: "custom:unknown") == nil)
        #expect(ScorerRegistry.policy(named: "sieve")?.description == "sieve")
    }
}
