/// Makes a failing run shorter: drops whatever it can do without and still fail by the same rule.
///
/// Greedy and deterministic: the same seed is always shortened to the same run. Faults draw from generators of their own,
/// so that dropping one leaves the others as they are; what they hit may still change, because time goes on differently.
public struct Shrinker {
    /// A failing run in its shortest form.
    public struct Result: Sendable {
        public var plan: SimulationPlan
        public var failure: SimulationFailure
        /// How many things happened before it failed, at first and now.
        public var steps: (before: Int, after: Int)
        public var faults: (before: Int, after: Int)
        /// How many runs it took.
        public var runs: Int
        /// What was done without, in words.
        public var dropped: [String]
    }

    private let mutant: Mutant?
    private let maximumRuns: Int
    private var best: SimulationReport
    private var plan: SimulationPlan
    private var runs = 1
    private var dropped: [String] = []

    /// - Parameter maximumRuns: it stops there with what it has.
    /// - Returns: nil when the seed does not fail.
    public static func shrink(
        seed: UInt64, storm: SeedRunner.Storm? = nil, maximumRuns: Int = 500
    ) -> Result? {
        shrink(SeedRunner.plan(seed: seed, storm), mutant: nil, maximumRuns: maximumRuns)
    }

    package static func shrink(_ plan: SimulationPlan, mutant: Mutant?, maximumRuns: Int = 500) -> Result? {
        let first = SeedRunner.run(plan, mutant: mutant)
        guard first.failure != nil else { return nil }
        var shrinker = Shrinker(mutant: mutant, maximumRuns: maximumRuns, best: first, plan: plan)
        while shrinker.pass() || shrinker.vary() {}
        guard let failure = shrinker.best.failure else { return nil }
        return Result(
            plan: shrinker.plan, failure: failure, steps: (first.counters.steps, shrinker.best.counters.steps),
            faults: (first.counters.faults, shrinker.best.counters.faults), runs: shrinker.runs,
            dropped: shrinker.dropped)
    }

    private init(mutant: Mutant?, maximumRuns: Int, best: SimulationReport, plan: SimulationPlan) {
        self.mutant = mutant
        self.maximumRuns = maximumRuns
        self.best = best
        self.plan = plan
    }

    /// Tries everything once, large things first.
    ///
    /// - Returns: whether anything was dropped.
    private mutating func pass() -> Bool {
        let before = dropped.count
        for (kind, name) in SimulationPlan.Faults.named where plan.activeFaults.contains(kind) {
            attempt("faults of kind \(name)") { $0.skippedKinds.insert(kind) }
        }
        dropNodes()
        drop("changes of membership") { $0.membership = nil }
        drop("snapshots") { $0.snapshotAfter = nil }
        drop("the scrub") { $0.scrubInterval = nil }
        drop("housekeeping") { $0.housekeeping = nil }
        attempt("lost messages") { $0.network.lossPerMille = 0 }
        attempt("duplicates") { $0.network.duplicatePerMille = 0 }
        attempt("late messages") { $0.network.spikePerMille = 0 }
        attempt("files") { $0.disk.segmentBytes = 0 }
        attempt("slow writes") { $0.disk.slowPerMille = 0 }
        attempt("lost replies") { $0.workload.lostReplyPerMille = 0 }
        attempt("clock drift") { $0.clockDrift = 0 }
        attempt("delays of turns") { $0.turnDelay = 0 }
        attempt("sessions") { $0.sessions.holders = 0 }
        attempt("watchers") { $0.watchers = 0 }
        while plan.workload.clients > 1, attempt("a client", { $0.workload.clients -= 1 }) {}
        while plan.workload.keys > 1, attempt("a key", { $0.workload.keys -= 1 }) {}
        dropFaults()
        for percent in [25, 50, 75, 90] as [UInt64] {
            attempt("time before peace") { $0.healAt = $0.healAt * percent / 100 }
        }
        return dropped.count > before && runs < maximumRuns
    }

    /// The same plan with other luck may fail much sooner.
    ///
    /// - Returns: whether it did.
    private mutating func vary() -> Bool {
        let before = best.counters.steps
        for variation in plan.variation + 1...plan.variation + 20 where best.counters.steps > before * 3 / 4 {
            attempt("other luck") { $0.variation = variation }
        }
        return best.counters.steps < before * 9 / 10 && runs < maximumRuns
    }

    /// One node after the other.
    private mutating func dropNodes() {
        while plan.nodes > 1 {
            let isDropped = drop("a node") {
                $0.nodes -= 1
                // Those that wait to be added go first.
                if let membership = $0.membership { $0.membership?.founders = min(membership.founders, $0.nodes) }
            }
            guard isDropped else { return }
        }
    }

    /// A large part: without it chance brings something else, so that it is tried with several kinds of luck.
    @discardableResult
    private mutating func drop(_ what: String, _ change: (inout SimulationPlan) -> Void) -> Bool {
        var without = plan
        change(&without)
        guard without != plan else { return false }
        return (plan.variation...plan.variation + 4).contains { variation in
            attempt(what) {
                change(&$0)
                $0.variation = variation
            }
        }
    }

    /// Single faults: the later ones first, half of them, then a quarter, down to one at a time.
    private mutating func dropFaults() {
        var size = max(1, best.counters.faults / 2)
        while true {
            var end = best.counters.faults
            while end > 0 {
                let range = max(0, end - size)..<end
                if !plan.skippedFaults.isSuperset(of: range) {
                    attempt("\(range.count) single faults") { $0.skippedFaults.formUnion(range) }
                }
                end -= size
            }
            if size == 1 { return }
            size /= 2
        }
    }

    @discardableResult
    private mutating func attempt(_ what: String, _ change: (inout SimulationPlan) -> Void) -> Bool {
        guard runs < maximumRuns else { return false }
        var candidate = plan
        change(&candidate)
        candidate.recoveryLimit = candidate.healAt + (plan.recoveryLimit - plan.healAt)
        guard candidate != plan else { return false }
        runs += 1
        let report = SeedRunner.run(candidate, mutant: mutant)
        guard report.failure?.rule == best.failure?.rule, report.counters.steps <= best.counters.steps else {
            return false
        }
        plan = candidate
        best = report
        dropped.append(what)
        return true
    }
}
