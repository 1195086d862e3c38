/// Which messages arrive, when, and how often.
///
/// Every directed link is apart: it can be cut, lossy or slow by itself.
struct Network {
    private let plan: SimulationPlan.NetworkPlan
    private let nodes: Int
    private var random: SeededRandom
    /// How many faults cut the link at present.
    private var cuts: [Int]
    /// Counts the lives of a connection, so that what was under way when it closed does not arrive.
    private var epochs: [UInt32]
    /// When the last message of an ordered link arrives.
    private var lastArrival: [UInt64]
    var extraLossPerMille = 0
    private(set) var sent = 0
    private(set) var dropped = 0

    init(plan: SimulationPlan.NetworkPlan, nodes: Int, random: SeededRandom) {
        self.plan = plan
        self.nodes = nodes
        self.random = random
        cuts = [Int](repeating: 0, count: nodes * nodes)
        epochs = [UInt32](repeating: 0, count: nodes * nodes)
        lastArrival = [UInt64](repeating: 0, count: nodes * nodes)
    }

    private func link(_ from: Int, _ to: Int) -> Int { from * nodes + to }

    func isCut(from: Int, to: Int) -> Bool { cuts[link(from, to)] > 0 }

    func epoch(from: Int, to: Int) -> UInt32 { epochs[link(from, to)] }

    mutating func cut(from: Int, to: Int) { cuts[link(from, to)] += 1 }

    mutating func mend(from: Int, to: Int) { cuts[link(from, to)] -= 1 }

    /// Closes the connection of two nodes: what is under way on an ordered link is lost.
    mutating func reset(_ one: Int, _ other: Int) {
        guard plan.isOrdered else { return }
        epochs[link(one, other)] += 1
        epochs[link(other, one)] += 1
    }

    mutating func heal() {
        for index in cuts.indices { cuts[index] = 0 }
        extraLossPerMille = 0
    }

    /// When the copies of a message arrive: none, one or two moments.
    mutating func arrivals(from: Int, to: Int, now: UInt64, isHealed: Bool) -> (first: UInt64?, second: UInt64?) {
        sent += 1
        let loss = isHealed ? 0 : plan.lossPerMille + extraLossPerMille
        if isCut(from: from, to: to) || loss > 0 && random.chance(loss, in: 1000) {
            dropped += 1
            return (nil, nil)
        }
        let first = arrival(from, to, now, isHealed)
        guard !isHealed, plan.duplicatePerMille > 0, random.chance(plan.duplicatePerMille, in: 1000) else {
            return (first, nil)
        }
        return (first, arrival(from, to, now, isHealed) + UInt64(random.int(in: 0...plan.spike)))
    }

    private mutating func arrival(_ from: Int, _ to: Int, _ now: UInt64, _ isHealed: Bool) -> UInt64 {
        var delay = random.int(in: plan.delay)
        if !isHealed, plan.spikePerMille > 0, random.chance(plan.spikePerMille, in: 1000) {
            delay += random.int(in: 0...plan.spike)
        }
        let time = now + UInt64(delay)
        guard plan.isOrdered else { return time }
        let ordered = max(time, lastArrival[link(from, to)])
        lastArrival[link(from, to)] = ordered
        return ordered
    }
}
