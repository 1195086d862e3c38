import EsperTypes
import RaftCore

/// Faults under way, and what has to be undone when they end.
struct ActiveFaults {
    struct Fault {
        /// Directed links that it cuts.
        var cuts: [(from: Int, to: Int)]
        var lossPerMille = 0
        /// Links that are closed and opened, and cut every other time.
        var flapping: (one: Int, other: Int)?
        var flips = 0
        var fullDisk: Int?
        var clockRate: Int?
    }

    /// How many there were so far, those that were skipped included.
    var injected = 0
    var active: [Int: Fault] = [:]
    var nextNumber = 0
    var diskStalledUntil: [Int: UInt64] = [:]
    /// What stays broken after all else has ended.
    var hungDisk: Int?
    var lostLink: (from: Int, to: Int)?
    var history: [History.Fault] = []
}

/// The one who breaks things.
extension Simulator {
    func duration() -> UInt64 { UInt64(chaos.int(in: 1_000_000...plan.faultDuration)) }

    func injectFault() throws(SimulationFailure) {
        guard !isHealed else { return }
        chaos = SeededRandom(seed: plan.seed &+ UInt64(faults.injected) << 32)
        faults.injected += 1
        clock.schedule(.fault, after: UInt64(chaos.int(in: 0...plan.faultInterval * 2)))
        guard let kind = chaos.pick(SimulationPlan.Faults.passing.filter { plan.faults.contains($0) }) else { return }
        counters.faults += 1
        if plan.skippedKinds.contains(kind) || plan.skippedFaults.contains(faults.injected - 1) { return }
        let victim = chaos.int(in: 0...plan.nodes - 1)
        switch kind {
        case .crash: try crash(nodes[victim])
        case .leaderCrash: if let leader = currentLeader { try crash(nodes[leader]) }
        case .crashMany: for node in nodes where chaos.chance(2, in: 3) { try crash(node) }
        case .pause: pause(nodes[chaos.chance(1, in: 2) ? currentLeader ?? victim : victim])
        case .isolate: cut("isolate", linksOf(chaos.chance(1, in: 2) ? currentLeader ?? victim : victim))
        case .split: cut("split", linksAcross())
        case .partialCut: cut("partial cut", links().filter { _ in chaos.chance(1, in: 3) })
        case .oneWayCut:
            let toVictim = chaos.chance(1, in: 2)
            cut("one-way cut", linksOf(victim).filter { toVictim ? $0.to == victim : $0.from == victim })
        case .flap: flap(victim)
        case .linkReset: resetLink(victim, chaos.int(in: 0...plan.nodes - 1))
        case .diskStall: stallDisk(nodes[chaos.chance(1, in: 2) ? currentLeader ?? victim : victim])
        case .transfer: transfer(to: victim)
        case .crashAtPoint: break
        case .lossBurst: loseMore()
        case .swizzle: swizzle()
        case .diskError: nodes[victim].disk.files?.failSoon()
        case .diskFull: fillDisk(nodes[chaos.chance(1, in: 2) ? currentLeader ?? victim : victim])
        case .bitRot: try rot(nodes[victim])
        case .clockRate: changeRate(nodes[victim])
        case .clockLeap: leapClock(nodes[chaos.chance(1, in: 2) ? currentLeader ?? victim : victim])
        default: break
        }
    }

    var currentLeader: Int? {
        nodes.filter { $0.isUp && $0.seen.role == .leader }.max { $0.seen.term < $1.seen.term }?
            .index
    }

    func note(_ kind: String, _ target: String, until end: UInt64?) {
        faults.history.append(
            History.Fault(
                kind: kind, startNanoseconds: Int64(clock.now), endNanoseconds: end.map { Int64($0) }, target: target))
        say("fault: \(kind) \(target)")
    }
}
