import CacheCore
import EsperTypes
import Testing

struct MemoryStripeTests {
    private func digest(_ number: UInt64) -> Digest { Digest(words: number, 1, 2, 3) }
    private func hash(_ number: UInt64) -> UInt64 {
        var generator = SplitMix64(seed: number)
        return generator.next()
    }
    private func value(_ count: Int, _ byte: UInt8 = 7) -> [UInt8] { [UInt8](repeating: byte, count: count) }

    @Test func `what was put is found, what was dropped is not`() {
        var stripe = MemoryStripe(policy: .s3fifo, limit: 1 << 20)
        #expect(
            stripe.put(value(100), under: digest(1), hash: hash(1), costMilliseconds: 5) == .admitted)
        #expect(stripe.put(value(100), under: digest(1), hash: hash(1), costMilliseconds: 5) == .held)
        #expect(stripe.get(digest(1), hash: hash(1)) == value(100))
        #expect(stripe.get(digest(2), hash: hash(2)) == nil)
        #expect(stripe.counts.hits == 1 && stripe.counts.misses == 1 && stripe.counts.hitBytes == 100)
        #expect(stripe.counts.hitCostMilliseconds == 5)
        #expect(stripe.drop(digest(1), hash: hash(1)) >= 244)
        #expect(stripe.get(digest(1), hash: hash(1)) == nil)
        #expect(stripe.accountedBytes == 0)
    }

    @Test func `keys of equal hashes are told apart`() {
        var stripe = MemoryStripe(policy: .lru, limit: 1 << 20)
        for number in 1...40 as ClosedRange<UInt64> {
            _ = stripe.put(value(Int(number)), under: digest(number), hash: 42, costMilliseconds: 0)
        }
        _ = stripe.put(value(99), of: [1], version: LogIndex(3), hash: 42, costMilliseconds: 0)
        for number in stride(from: 1, through: 40, by: 3) { _ = stripe.drop(digest(UInt64(number)), hash: 42) }
        for number in 1...40 as ClosedRange<UInt64> {
            #expect(stripe.get(digest(number), hash: 42)?.count == (number % 3 == 1 ? nil : Int(number)))
        }
        #expect(stripe.value(of: [1], version: LogIndex(3), hash: 42)?.count == 99)
        stripe.checkInvariants()
    }

    @Test func `a name answers for exactly the version that is asked for`() {
        var stripe = MemoryStripe(policy: .s3fifo, limit: 1 << 20)
        let name = Array("default/kernel".utf8)
        #expect(stripe.put(value(1), of: name, version: LogIndex(5), hash: 9, costMilliseconds: 0) == .admitted)
        #expect(stripe.value(of: name, version: LogIndex(4), hash: 9) == nil)
        #expect(stripe.value(of: name, version: LogIndex(5), hash: 9) == value(1))
        // A late fill loses.
        #expect(
            stripe.put(value(2), of: name, version: LogIndex(4), hash: 9, costMilliseconds: 0) == .refused(.superseded))
        #expect(stripe.put(value(3), of: name, version: LogIndex(8), hash: 9, costMilliseconds: 0) == .admitted)
        #expect(stripe.value(of: name, version: LogIndex(8), hash: 9) == value(3))
        // Whoever asks for a newer one proves that this one is of no use any more.
        #expect(stripe.value(of: name, version: LogIndex(9), hash: 9) == nil)
        #expect(stripe.count == 0)
        #expect(stripe.counts.evictions[EvictionReason.superseded.rawValue] == 2)
    }

    @Test func `large values are refused, and looking at one is no use of it`() {
        var stripe = MemoryStripe(policy: .lru, limit: 160_000)
        let large = stripe.put(value(10_001), under: digest(1), hash: hash(1), costMilliseconds: 0)
        #expect(large == .refused(.tooLarge))
        for number in 2...11 as ClosedRange<UInt64> {
            _ = stripe.put(value(8000), under: digest(number), hash: hash(number), costMilliseconds: 0)
        }
        let counts = stripe.counts
        #expect(stripe.peek(digest(2), hash: hash(2)) == value(8000))
        #expect(stripe.peek(digest(1), hash: hash(1)) == nil)
        #expect(stripe.counts == counts)
        #expect(stripe.get(digest(3), hash: hash(3)) != nil)
        for number in 12...25 as ClosedRange<UInt64> {
            _ = stripe.put(value(8000), under: digest(number), hash: hash(number), costMilliseconds: 0)
        }
        #expect(!stripe.contains(digest(2), hash: hash(2)) && stripe.contains(digest(3), hash: hash(3)))
    }

    @Test func `above the high watermark eviction goes on to the low one, step by step`() {
        var stripe = MemoryStripe(policy: .fifo, limit: 1_000_000)
        var number: UInt64 = 0
        while !stripe.needsEviction {
            number += 1
            _ = stripe.put(value(1000), under: digest(number), hash: hash(number), costMilliseconds: 0)
        }
        #expect(stripe.accountedBytes > 970_000 && stripe.accountedBytes <= 1_000_000)
        var steps = 0
        while stripe.evict(budget: 8) { steps += 1 }
        #expect(steps > 3)
        #expect(stripe.accountedBytes <= 920_000 && stripe.accountedBytes > 915_000)
        #expect(!stripe.contains(digest(1), hash: hash(1)))
        #expect(stripe.contains(digest(number), hash: hash(number)))
    }

    @Test(arguments: EvictionPolicy.named.map(\.description))
    func `a lower limit is reached under any policy, and the account stays true`(name: String) throws {
        let policy = try #require(EvictionPolicy(named: name))
        for seed in 0..<8 as Range<UInt64> {
            var generator = SplitMix64(seed: seed)
            var stripe = MemoryStripe(policy: policy, limit: 400_000)
            var limits: [UInt64] = [400_000]
            for step in 0..<3000 {
                let key = generator.next() % 300
                switch generator.next() % 10 {
                case 0..<4: _ = stripe.get(digest(key), hash: hash(key))
                case 4..<6:
                    _ = stripe.put(
                        value(Int(generator.next() % 9000)), under: digest(key), hash: hash(key),
                        costMilliseconds: UInt32(generator.next() % 500))
                case 6:
                    let version = LogIndex(generator.next() % 20 + 1)
                    _ = stripe.put(
                        value(Int(version.rawValue)), of: [UInt8(key % 256)], version: version,
                        hash: hash(key % 256 + 1000),
                        costMilliseconds: 1)
                    let read = stripe.value(of: [UInt8(key % 256)], version: version, hash: hash(key % 256 + 1000))
                    #expect(read == nil || read == value(Int(version.rawValue)))
                case 7: _ = stripe.drop(digest(key), hash: hash(key))
                default:
                    stripe.evict(budget: 16)
                    if step % 500 == 499 {
                        limits.append(generator.next() % 300_000 + 100_000)
                        stripe.setLimit(limits[limits.count - 1])
                    }
                }
                // A limit that was lowered is reached by the next admission or the steps of eviction.
                #expect(stripe.accountedBytes <= limits.max()!)
            }
            while stripe.evict(budget: 1000) {}
            #expect(stripe.accountedBytes <= stripe.limit)
            stripe.checkInvariants()
        }
    }

    @Test func `the list of what is hot goes by uses and cost, and is read back`() throws {
        var stripe = MemoryStripe(policy: .s3fifo, limit: 1 << 20)
        for number in 1...20 as ClosedRange<UInt64> {
            _ = stripe.put(
                value(10), under: digest(number), hash: hash(number), costMilliseconds: UInt32(number * 10))
        }
        for _ in 0..<100 { _ = stripe.get(digest(3), hash: hash(3)) }
        _ = stripe.get(digest(20), hash: hash(20))
        _ = stripe.get(digest(2), hash: hash(2))
        var list = HotList(limit: 2)
        var slot: Int? = 0
        while let first = slot { slot = stripe.gather(&list, from: first, count: 7, fade: true) }
        #expect(list.entries.map(\.digest) == [digest(3), digest(20)])
        #expect(list.entries.map(\.weight) == [3000, 200])
        #expect(list.entries.map(\.costMilliseconds) == [30, 200])
        let bytes = list.encoded()
        let read = try HotList(decoding: bytes)
        #expect(read.entries == list.entries)
        for count in 0..<bytes.count {
            #expect(throws: DecodingError.self) { try HotList(decoding: Array(bytes[..<count])) }
        }
        // Faded: half of the uses are known.
        var later = HotList(limit: 1)
        _ = stripe.gather(&later, from: 0, count: 100, fade: false)
        #expect(later.entries.map(\.weight) == [1500])
    }
}
