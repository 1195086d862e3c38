import CacheCore
import Coordination
import EsperTypes

/// The cache service of three nodes with memory and disk, and up to three tiers beyond them, from a seed: every answer may be late, lost or
/// later than anybody waits for, whatever was asked happens all the same; writers of one key, evictions, collectors, repair and crashes
/// meet each other at every step.
///
/// The names are given: a ``CacheTable`` to which changes are applied in one order, and which every look sees as it is. What is tested is what
/// the service builds of its cores (gate of the closure, holds, rights to make, loads, plans of retrieval, trees of shards), in the service's
/// own order of steps; see ``CacheMutant`` for each rule's absence. Time is in milliseconds and passes from event to event.
package struct CacheSimulator {
    package struct Report: Hashable, Sendable {
        package var stores = 0
        package var reads = 0
        package var makes = 0
        package var evictions = 0
        package var expiredTokens = 0
        /// Questions that met a node with another map.
        package var refusals = 0
        /// Of those, the ones that went on to another node.
        package var forwards = 0
        package var lateAnswers = 0
        package var collected = 0
        /// From the catalog and the archive.
        package var collectedBelow = 0
        package var demoted = 0
        package var repaired = 0
        package var crashes = 0
        package var violation: CacheViolation?

        package init() {}
    }

    typealias Bytes = [UInt8]
    typealias Step = (inout CacheSimulator) -> Void

    struct Event {
        var due: Int
        var run: Step
    }

    struct Node {
        var isUp = true
        var boot = 0
        var isolatedUntil = 0
        var disk: [Digest: Copy] = [:]
        var promises = CondemnedBlobs()
        /// Of the map of shards that it has heard of.
        var mapEpoch: UInt64 = 1
        // What a crash ends.
        var memory: [Digest: Bytes] = [:]
        var hot: [Bytes: (version: LogIndex, manifest: Digest)] = [:]
        var holds = BlobHolds()
        var tokens: CompileTokens
        var flights = SingleFlight<Digest>(maximumWaiters: 1000, maximumLoads: 1000)
        var waits: [UInt64: (inout CacheSimulator, Loaded) -> Void] = [:]
        var makers: [Bytes: [UInt64]] = [:]
        var turns: [UInt64: (inout CacheSimulator, Turn) -> Void] = [:]
        var nextWaiter: UInt64 = 1
    }

    struct Call {
        var node: Int
        var boot: Int
    }

    static let hour = 3_600_000
    static let grace = 24 * hour
    static let addHold = hour
    static let demoteAfter = 24 * hour
    static let collectionTime = 300_000
    static let condemnation = 2_400_000
    static let settling = 300_000
    static let loadLimit = 15_000
    static let copies = 2

    let mutant: CacheMutant?
    var random: SeededRandom
    var now = 0
    /// The next is the last.
    var events: [Event] = []
    var nodes: [Node] = []
    var tiers: [Tier] = []
    var isCalm = false
    var calls: [Int: Call] = [:]
    var nextCall = 0
    var report = Report()

    // The names.
    var table = CacheTable()
    var index = LogIndex(0)
    var history: [Bytes: [Past]] = [:]
    var evictedThrough: [Bytes: LogIndex] = [:]
    var durable: [Bytes: Digest] = [:]
    /// Of every manifest that was ever sent.
    var closures: [Digest: [Digest]] = [:]
    var names: [Bytes] = []
    var published: [Bytes: [Manifest.File]] = [:]
    var outputs = 0
    var lostAt: [Digest: Int] = [:]

    // The rights to make.
    var mapEpoch: UInt64 = 1
    var rights: [Bytes: Int] = [:]
    var makes: [Bytes: Int] = [:]
    var outstanding: [[Bytes: Int]] = [[:], [:], [:]]
    var failedAt: [Bytes: Int] = [:]

    package static func run(seed: UInt64, mutant: CacheMutant? = nil) -> Report {
        var simulator = CacheSimulator(seed: seed, mutant: mutant)
        simulator.run()
        return simulator.report
    }

    init(seed: UInt64, mutant: CacheMutant?) {
        random = SeededRandom(seed: seed)
        self.mutant = mutant
        for number in 0..<3 { nodes.append(Node(tokens: newTokens(number))) }
        let kinds: [CacheTier] = random.chance(1, in: 3) ? [.redis] : [.redis, .catalog, .archive]
        for kind in kinds where random.chance(3, in: 4) {
            tiers.append(Tier(kind: kind))
        }
        for number in 0..<random.int(in: 3...6) { names.append(Array("t/\(number)".utf8)) }
    }

    func newTokens(_ seed: Int) -> CompileTokens {
        var settings = CompileTokens.Settings()
        settings.expectedCost = .seconds(5)
        if mutant == .remembersFailures { settings.failureLifetime = .seconds(3600) }
        if mutant == .tokensNeverExpire { settings.lifetimes = .seconds(1_000_000) ... .seconds(1_000_000) }
        return CompileTokens(settings: settings, seed: UInt64(seed))
    }

    mutating func run() {
        for _ in 0..<3 {
            let start = now + random.int(in: 1000...5000)
            for _ in 0..<random.int(in: 25...45) {
                at(start + random.int(in: 0...120_000)) { $0.act() }
            }
            // What came in the last round has become old, or nearly.
            let hours = random.chance(1, in: 2) ? random.int(in: 0...20) : random.int(in: 24...26)
            drain(until: start + 120_000 + hours * Self.hour)
        }
        // A store may last longer than a day.
        drain(until: now + 26 * Self.hour)
        settle()
    }

    // MARK: Events

    mutating func at(_ due: Int, _ run: @escaping Step) {
        // Behind those of the same time, which come first.
        var (low, high) = (0, events.count)
        while low < high {
            let middle = (low + high) / 2
            if events[middle].due > due { low = middle + 1 } else { high = middle }
        }
        events.insert(Event(due: due, run: run), at: low)
    }

    mutating func after(_ delay: Int, _ run: @escaping Step) { at(now + delay, run) }

    mutating func drain(until end: Int) {
        while report.violation == nil, let event = events.last, event.due <= end {
            events.removeLast()
            now = event.due
            event.run(&self)
        }
        now = max(now, end)
    }

    var instant: EsperTypes.Instant { Self.instant(now) }

    static func instant(_ milliseconds: Int) -> EsperTypes.Instant {
        EsperTypes.Instant(nanoseconds: UInt64(milliseconds) * 1_000_000)
    }

    mutating func violate(_ rule: CacheRule, _ story: String) {
        if report.violation == nil {
            report.violation = CacheViolation(rule: rule, milliseconds: now, story: story)
        }
    }

    // MARK: Asking

    /// Does something elsewhere and brings the answer back; either may be late or not come. The asker waits until `deadline` and no longer; what
    /// he asked for happens whether he waits or not.
    ///
    /// - Parameters:
    ///   - mayRepeat: it may happen once more, later.
    ///   - isSlow: it is long on its way.
    mutating func ask<Answer>(
        _ asker: Int, by deadline: Int, mayRepeat: Bool = false, isSlow: Bool = false,
        _ effect: @escaping (inout CacheSimulator) -> Answer?,
        _ done: @escaping (inout CacheSimulator, Answer?) -> Void
    ) {
        let boot = nodes[asker].boot
        let (there, back) = (isSlow ? random.int(in: 1000...90_000) : delay(), delay())
        if mayRepeat, !isCalm, random.chance(1, in: 25) { after(there + delay()) { _ = effect(&$0) } }
        let isLost = !isCalm && random.chance(1, in: 25)
        let isInTime = now + there + back <= deadline
        let end: (inout CacheSimulator, Answer?) -> Void = { simulator, answer in
            if simulator.nodes[asker].boot == boot { done(&simulator, answer) }
        }
        after(there) { simulator in
            let answer = isLost ? nil : effect(&simulator)
            guard isInTime else {
                simulator.report.lateAnswers += 1
                return
            }
            simulator.after(back) { end(&$0, answer) }
        }
        if !isInTime { at(max(now, deadline)) { end(&$0, nil) } }
    }

    private mutating func delay() -> Int {
        if isCalm { return random.int(in: 1...5) }
        switch random.int(in: 0...39) {
        case 0: return random.int(in: 1000...90_000)
        case 1...3: return random.int(in: 50...2000)
        default: return random.int(in: 1...20)
        }
    }

    func answers(_ node: Int) -> Bool { nodes[node].isUp && now >= nodes[node].isolatedUntil }

    mutating func askNode<Answer>(
        _ asker: Int, _ node: Int, by deadline: Int, mayRepeat: Bool = false,
        _ effect: @escaping (inout CacheSimulator) -> Answer?,
        _ done: @escaping (inout CacheSimulator, Answer?) -> Void
    ) {
        ask(
            asker, by: deadline, mayRepeat: mayRepeat,
            { $0.answers(node) && (asker == node || $0.answers(asker)) ? effect(&$0) : nil }, done)
    }

    /// - Parameter effect: is told the time.
    mutating func askTier<Answer>(
        _ asker: Int, _ kind: CacheTier, by deadline: Int, mayRepeat: Bool = false, isSlow: Bool = false,
        _ effect: @escaping (inout Tier, Int) -> Answer?,
        _ done: @escaping (inout CacheSimulator, Answer?) -> Void
    ) {
        let position = tiers.firstIndex { $0.kind == kind }!
        let limit = mutant == .waitsForTiers ? Int.max : deadline
        ask(
            asker, by: limit, mayRepeat: mayRepeat, isSlow: isSlow,
            { simulator in
                guard simulator.now >= simulator.tiers[position].brokenUntil else { return nil }
                let answer = effect(&simulator.tiers[position], simulator.now)
                simulator.checkKept()
                return answer
            }, done)
    }

    func has(_ kind: CacheTier) -> Bool { tiers.contains { $0.kind == kind } }

    // MARK: Calls

    mutating func begin(_ node: Int, by deadline: Int, _ what: String) -> Int {
        nextCall += 1
        let call = nextCall
        let boot = nodes[node].boot
        calls[call] = Call(node: node, boot: boot)
        at(deadline + 1) { simulator in
            guard simulator.calls.removeValue(forKey: call) != nil, simulator.nodes[node].boot == boot else { return }
            simulator.violate(.ends, "\(what) of node \(node) has not ended")
        }
        return call
    }

    mutating func end(_ call: Int) { calls[call] = nil }

    // MARK: Bytes

    /// Stands for SHA-256.
    static func digest(_ bytes: Bytes) -> Digest {
        var words: [UInt64] = []
        for salt in UInt64(1)...4 {
            var random = SeededRandom(seed: salt)
            var word = random.next()
            for byte in bytes { word = (word ^ UInt64(byte)) &* 0x9e37_79b9_7f4a_7c15 ^ word >> 29 }
            random = SeededRandom(seed: word)
            words.append(random.next())
        }
        return Digest(words: words[0], words[1], words[2], words[3])
    }

    /// Of the shard of a blob: two of the three.
    static func writers(of digest: Digest) -> [Int] {
        let first = Int(ShardID(of: digest).rawValue) % 3
        return [first, (first + 1) % 3]
    }

    /// Another one after each change of the map.
    static func coordinator(of name: Bytes, at epoch: UInt64) -> Int { writers(of: digest(name))[Int(epoch & 1)] }

    static func id(_ node: Int) -> NodeID { NodeID(UInt64(node + 1)) }

    static func index(_ id: NodeID) -> Int { Int(id.rawValue) - 1 }

    mutating func remember(_ bytes: Bytes, under digest: Digest, at node: Int) { nodes[node].memory[digest] = bytes }
}
