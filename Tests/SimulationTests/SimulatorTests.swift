import Glibc
import Simulation
import Testing

@Suite struct SimulatorTests {
    /// The seeds of the long run: 5,000, or what the environment says in `ESPER_SIM_SEEDS=A..<B`.
    private static let seeds: Range<UInt64> = {
        guard let text = getenv("ESPER_SIM_SEEDS").map({ String(cString: $0) }) else { return 0..<5000 }
        let parts = text.split(separator: "..<", maxSplits: 1)
        guard parts.count == 2, let lower = UInt64(parts[0]), let upper = UInt64(parts[1]), lower < upper else {
            preconditionFailure("ESPER_SIM_SEEDS is \(text), not A..<B")
        }
        return lower..<upper
    }()

    @Test func `no seed breaks a promise, and everything happens in some of them`() async {
        let start = ContinuousClock.now
        let summary = await SeedRunner.run(seeds: Self.seeds, jobs: 2)
        // For the summary of cluster/test.
        print("simulator: \(summary.seeds) seeds in \((.now - start).components.seconds) s")
        for report in summary.failures {
            let failure = report.failure.map { "\($0)" } ?? ""
            Issue.record("seed \(report.seed) \(failure); to see it: simulate replay --seed \(report.seed)")
        }
        #expect(summary.failureCount == 0)
        #expect(summary.seeds == Self.seeds.count)
        // A run in which nothing happens proves nothing. Each is far below what a hundred seeds bring.
        let counters = summary.counters
        let hundreds = max(1, Self.seeds.count / 100)
        guard Self.seeds.count >= 100 else { return }
        #expect(counters.elections > 100 * hundreds)
        #expect(counters.committed > 5000 * hundreds)
        #expect(counters.operations > 5000 * hundreds)
        #expect(counters.keepAlives > 500 * hundreds)
        #expect(counters.expiredSessions > 50 * hundreds)
        #expect(counters.guardedWrites > 200 * hundreds)
        #expect(counters.staleWrites > 10 * hundreds)
        #expect(counters.watchEvents > 1000 * hundreds)
        #expect(counters.watchGaps > hundreds)
        #expect(counters.keyCompactions > 10 * hundreds)
        #expect(counters.leaseReads > 100 * hundreds)
        #expect(counters.diskFailures > hundreds)
        #expect(counters.fullDisks > hundreds)
        #expect(counters.failedSyncs > hundreds / 10)
        #expect(counters.rots > hundreds)
        #expect(counters.scrubs > 100 * hundreds)
        #expect(counters.repairs > hundreds / 2)
        #expect(counters.quarantines > hundreds / 2)
        #expect(counters.reads > 1000 * hundreds)
        #expect(counters.duplicates > 10 * hundreds)
        #expect(counters.faults > 200 * hundreds)
        #expect(counters.crashes > 50 * hundreds)
        #expect(counters.deaths > 20 * hundreds)
        #expect(counters.transfers > hundreds)
        #expect(counters.membershipRequests > 100 * hundreds)
        #expect(counters.membershipChanges > 20 * hundreds)
        #expect(counters.truncations > hundreds)
        #expect(counters.snapshots > 100 * hundreds)
        #expect(counters.compactions > 50 * hundreds)
        #expect(counters.installedSnapshots > hundreds)
        #expect(counters.undecided <= hundreds / 10)
    }

    @Test func `a seed takes the same steps every time, and another takes others`() {
        var hashes: Set<UInt64> = []
        for seed in 1_000_000..<1_000_030 as Range<UInt64> {
            let first = SeedRunner.run(seed: seed)
            let second = SeedRunner.run(seed: seed)
            #expect(first.traceHash == second.traceHash)
            #expect(first.counters == second.counters)
            #expect(first.history == second.history)
            hashes.insert(first.traceHash)
        }
        #expect(hashes.count == 30)
    }

    @Test func `telling the story of a run does not change it`() {
        for seed in 0..<10 as Range<UInt64> {
            var lines = 0
            let told = SeedRunner.run(seed: seed, transcript: { _ in lines += 1 })
            #expect(told.traceHash == SeedRunner.run(seed: seed).traceHash)
            #expect(lines > 50)
        }
    }

    @Test func `every step can be written as a JSON line, and that changes nothing`() throws {
        for seed in 0..<5 as Range<UInt64> {
            var lines: [String] = []
            let report = SeedRunner.run(seed: seed, trace: { lines.append($0) })
            #expect(report.traceHash == SeedRunner.run(seed: seed).traceHash)
            var events: Set<String> = []
            var commit: [Int64: Int64] = [:]
            for (number, line) in lines.enumerated() {
                let step = try JSONValue(parsing: Array(line.utf8))
                #expect(step["step"]?.integer == Int64(number + 1))
                let node = try #require(step["node"]?.integer)
                let event = try #require(step["event"]?.string)
                events.insert(event)
                if event == "crash" || event == "restart" { commit[node] = nil }
                guard event != "crash" else { continue }
                let state = try #require(step["state"])
                let index = try #require(state["commit"]?.integer)
                #expect(index >= commit[node] ?? 0)
                commit[node] = index
            }
            #expect(events.isSuperset(of: ["flush", "deadline", "propose", "persisted", "applied"]))
        }
    }

    @Test func `the core's benchmark applies every proposal on every node`() {
        var benchmark = CoreBenchmark()
        #expect(benchmark.run(rounds: 1500, batch: 3, payloadBytes: 8) == 3 * 1500 * 3)
    }

    /// Where mistakes about votes and membership are looked for, there are none without one.
    @Test(arguments: SeedRunner.Storm.allCases)
    func `no storm breaks a promise`(storm: SeedRunner.Storm) async {
        let summary = await SeedRunner.run(seeds: 0..<300, storm: storm)
        for report in summary.failures {
            Issue.record("seed \(report.seed) in the storm of \(storm): \(report.failure.map { "\($0)" } ?? "")")
        }
        #expect(summary.failureCount == 0)
        guard storm == .disks else { return }
        let counters = summary.counters
        #expect(counters.failedSyncs > 30)
        #expect(counters.diskFailures > 200)
        #expect(counters.fullDisks > 100)
        #expect(counters.rots > 500)
        #expect(counters.damagesScrubbed > 30)
        #expect(counters.damagesRead > 1)
        #expect(counters.repairs > 50)
        #expect(counters.quarantines > 50)
    }

    /// A checker that cannot fail is a defect: each mistake made on purpose has to be found.
    @Test(arguments: Mutant.allCases)
    func `a mistake made on purpose is found within 2,000 seeds`(mutant: Mutant) {
        guard let (seed, failure) = SeedRunner.hunt(mutant, in: 0..<2000) else {
            Issue.record("\(mutant) was not found")
            return
        }
        #expect(mutant.breaks.contains(failure.rule), "\(mutant) seed \(seed): \(failure)")
    }

    /// Not each: without a part chance brings something else, and the mistake may not show.
    @Test func `most failing seeds do without nodes and housekeeping that they do not need to fail`() throws {
        let mutant = Mutant.acknowledgementsBeforeDurable
        let plans = (0..<2000 as Range<UInt64>).lazy.map { SeedRunner.plan(seed: $0, mutant.storm) }
        let failing = plans.filter {
            $0.nodes == 5 && $0.membership != nil && $0.housekeeping != nil
                && SeedRunner.run($0, mutant: mutant).failure != nil
        }
        let results = try failing.prefix(5).map { plan in
            let shrunk = try #require(Shrinker.shrink(plan, mutant: mutant, maximumRuns: 120))
            #expect(SeedRunner.run(shrunk.plan, mutant: mutant).failure == shrunk.failure)
            return shrunk.plan
        }
        #expect(results.count == 5)
        #expect(results.count { $0.nodes < 5 } >= 3)
        #expect(results.count { $0.housekeeping == nil } >= 3)
    }

    @Test(arguments: [Mutant.acknowledgementsBeforeDurable, .deposedLeaderExpires])
    func `a failing seed is made shorter and fails by the same rule`(mutant: Mutant) throws {
        let (seed, failure) = try #require(SeedRunner.hunt(mutant, in: 0..<2000))
        let plan = SeedRunner.plan(seed: seed, mutant.storm)
        let shrunk = try #require(Shrinker.shrink(plan, mutant: mutant, maximumRuns: 120))
        #expect(shrunk.failure.rule == failure.rule)
        #expect(shrunk.steps.after < shrunk.steps.before)
        #expect(shrunk.plan.activeFaults.isStrictSubset(of: plan.faults))
        var story: [String] = []
        let again = SeedRunner.run(shrunk.plan, mutant: mutant, transcript: { story.append($0) })
        #expect(again.failure == shrunk.failure)
        #expect(again.counters.steps == shrunk.steps.after)
        #expect(story.last?.contains("FAILED \(failure.rule.rawValue)") == true)
    }
}
