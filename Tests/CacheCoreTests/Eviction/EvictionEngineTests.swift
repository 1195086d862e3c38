import CacheCore
import Testing

struct EvictionEngineTests {
    /// Admits without making room; slots are those of an empty engine: 0, 1, 2 …
    private func engine(_ policy: EvictionPolicy, _ count: Int, limit: UInt64 = 100) -> EvictionEngine {
        var engine = EvictionEngine(policy: policy, limit: limit)
        for number in 0..<count { #expect(engine.admit(fingerprint: UInt64(number + 1), bytes: 10) == number) }
        return engine
    }

    private func victims(_ engine: inout EvictionEngine, _ count: Int) -> [Int] {
        (0..<count).compactMap { _ in
            var budget = 1000
            return engine.victim(budget: &budget)
        }
    }

    @Test func `LRU gives up what was not used for longest`() {
        var engine = engine(.lru, 4)
        engine.use(0)
        engine.use(2)
        #expect(victims(&engine, 5) == [1, 3, 0, 2])
        #expect(engine.bytes == 0)
    }

    @Test func `FIFO gives up the oldest whatever was used`() {
        var engine = engine(.fifo, 3)
        engine.use(0)
        #expect(victims(&engine, 3) == [0, 1, 2])
    }

    @Test func `CLOCK passes over what was used, once`() {
        var engine = engine(.clock, 3)
        engine.use(0)
        engine.use(0)
        #expect(victims(&engine, 3) == [1, 2, 0])
    }

    @Test func `SIEVE's hand goes on where it stopped, and the retained stay where they are`() {
        var engine = engine(.sieve, 5)
        engine.use(0)
        engine.use(2)
        #expect(victims(&engine, 2) == [1, 3])
        engine.use(4)
        // 4 is passed over, then 0 and 2 from the start: both were cleared when the hand passed them.
        #expect(victims(&engine, 3) == [0, 2, 4])
    }

    @Test func `S3-FIFO keeps what was used twice, and takes back what it had let go`() {
        var engine = engine(.s3fifo, 10)
        engine.use(0)
        engine.use(0)
        engine.use(1)
        // 0 goes to the main queue; 1 was used once only.
        #expect(victims(&engine, 1) == [1])
        #expect(engine.admit(fingerprint: 2, bytes: 10) == 1)
        #expect(engine.ghostHits == 1)
        // The small queue gives as long as it has its tenth.
        #expect(victims(&engine, 8) == [2, 3, 4, 5, 6, 7, 8, 9])
        #expect(victims(&engine, 2) == [0, 1])
    }

    @Test func `LFU gives up the least used, the older of equals first, and forgets slowly`() {
        var engine = engine(.lfu, 3)
        for _ in 0..<5 { engine.use(0) }
        engine.use(2)
        #expect(victims(&engine, 1) == [1])
        engine.checkInvariants()
        for _ in 0..<10_000 { engine.use(2) }
        engine.checkInvariants()
        #expect(victims(&engine, 2) == [0, 2])
    }

    @Test func `the cost score gives up what is cheap per byte, and what is expensive only later`() {
        var engine = EvictionEngine(policy: .cost, limit: 100)
        let cheap = engine.admit(fingerprint: 1, bytes: 10, costMilliseconds: 10)
        let dear = engine.admit(fingerprint: 2, bytes: 10, costMilliseconds: 1000)
        let used = engine.admit(fingerprint: 3, bytes: 10, costMilliseconds: 10)
        engine.use(used)
        engine.use(used)
        #expect(victims(&engine, 3) == [cheap, used, dear])
        // What lasts is outbid at last: each victim raises what newcomers are worth.
        let old = engine.admit(fingerprint: 4, bytes: 1, costMilliseconds: 50)
        var gone = false
        for number in 0..<200 where !gone {
            _ = engine.admit(fingerprint: UInt64(10 + number), bytes: 1, costMilliseconds: 2)
            gone = victims(&engine, 1) == [old]
        }
        #expect(gone)
    }

    @Test func `a scorer of one's own decides`() {
        let largest = EvictionScorer(name: "largest-first") { -Double($0.bytes) }
        var engine = EvictionEngine(policy: .custom(largest), limit: 100)
        for bytes in [5, 30, 7, 20] as [UInt32] { _ = engine.admit(fingerprint: UInt64(bytes), bytes: bytes) }
        #expect(victims(&engine, 4) == [1, 3, 2, 0])
        #expect(engine.policy.description == "custom:largest-first")
    }

    @Test func `a search stops when its budget is used up and goes on where it was`() {
        var engine = engine(.clock, 100)
        for slot in 0..<100 { engine.use(slot) }
        var budget = 60
        #expect(engine.victim(budget: &budget) == nil)
        #expect(budget == 0)
        budget = 60
        #expect(engine.victim(budget: &budget) == 0)
        #expect(budget == 19)
    }

    @Test func `names of policies are read back`() {
        for policy in EvictionPolicy.named {
            #expect(EvictionPolicy(named: policy.description)?.description == policy.description)
        }
        #expect(EvictionPolicy(named: "random") == nil)
    }

    @Test(arguments: EvictionPolicy.named.map(\.description) + ["custom"])
    func `random operations keep every account`(name: String) throws {
        let scorer = EvictionScorer(name: "by-age") { -Double($0.age) }
        let policy = name == "custom" ? .custom(scorer) : try #require(EvictionPolicy(named: name))
        for seed in 0..<20 as Range<UInt64> {
            var generator = SplitMix64(seed: seed)
            var engine = EvictionEngine(policy: policy, limit: 2000)
            var live: [Int] = []
            for _ in 0..<2000 {
                let choice = generator.next() % 14
                let pick = live.isEmpty ? nil : Int(generator.next() % UInt64(live.count))
                switch (choice, pick) {
                case (0..<5, _):
                    let slot = engine.admit(
                        fingerprint: generator.next() % 200, bytes: UInt32(generator.next() % 100 + 1),
                        costMilliseconds: UInt32(generator.next() % 1000))
                    #expect(!live.contains(slot))
                    live.append(slot)
                case (5..<11, let pick?): engine.use(live[pick])
                case (11, let pick?):
                    engine.remove(live[pick])
                    live.remove(at: pick)
                default:
                    var budget = Int(generator.next() % 40)
                    while engine.bytes > engine.limit, let slot = engine.victim(budget: &budget) {
                        #expect(live.contains(slot))
                        live.removeAll { $0 == slot }
                    }
                }
                #expect(engine.count == live.count)
            }
            engine.checkInvariants()
        }
    }

    /// The simplest program that says what LRU and FIFO are.
    @Test(arguments: [true, false])
    func `LRU and FIFO do what a list does`(usesMove: Bool) {
        for seed in 0..<30 as Range<UInt64> {
            var generator = SplitMix64(seed: seed)
            var model = CacheModel(policy: usesMove ? .lru : .fifo, capacity: 500)
            var list: [CacheRequest] = []
            for step in 0..<1500 {
                let key = generator.next() % 60
                let request = CacheRequest(key: key, bytes: UInt32(key * 7 % 50 + 1))
                let position = list.firstIndex { $0.key == key }
                let isHit = model.request(request)
                #expect(isHit == (position != nil), "seed \(seed), step \(step)")
                if let position {
                    if usesMove { list.append(list.remove(at: position)) }
                } else {
                    while list.reduce(0, { $0 + $1.bytes }) + request.bytes > 500 { list.removeFirst() }
                    list.append(request)
                }
            }
        }
    }
}
