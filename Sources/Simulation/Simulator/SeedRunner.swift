import Synchronization

/// Runs seeds: one, or a range on several threads.
public enum SeedRunner {
    /// What became of a range of seeds.
    public struct Summary: Sendable {
        public var seeds = 0
        /// In the order in which they were found; at most ten are kept.
        public var failures: [SimulationReport] = []
        public var failureCount = 0
        public var counters = SimulationCounters()
        public var virtualNanoseconds: UInt64 = 0
        /// The longest recovery and the seed that took it.
        public var slowestRecovery: (nanoseconds: UInt64, seed: UInt64) = (0, 0)

        mutating func add(_ report: SimulationReport) {
            seeds += 1
            counters += report.counters
            virtualNanoseconds += report.virtualNanoseconds
            if report.counters.recoveryNanoseconds > slowestRecovery.nanoseconds {
                slowestRecovery = (report.counters.recoveryNanoseconds, report.seed)
            }
            guard report.failure != nil else { return }
            failureCount += 1
            if failures.count < 10 { failures.append(report) }
        }
    }

    /// Runs one seed.
    ///
    /// - Parameters:
    ///   - transcript: takes the story of the run line by line; without it nothing is written and nothing costs.
    ///   - trace: takes every step of every core as a JSON object, line by line.
    public static func run(
        seed: UInt64, storm: Storm? = nil, transcript: ((String) -> Void)? = nil, trace: ((String) -> Void)? = nil
    ) -> SimulationReport {
        run(plan(seed: seed, storm), mutant: nil, transcript: transcript, trace: trace)
    }

    /// One seed of the cluster by which the simulator's speed is measured.
    ///
    /// - Parameter pauseMilliseconds: the longest that a client or holder of locks waits between two operations.
    package static func benchmark(seed: UInt64, pauseMilliseconds: Int) -> SimulationReport {
        var plan = SimulationPlan(benchmark: seed)
        plan.workload.pause = 0...pauseMilliseconds * SimulationPlan.millisecond
        plan.sessions.pause = pauseMilliseconds * SimulationPlan.millisecond
        return run(plan, mutant: nil)
    }

    package static func plan(seed: UInt64, _ storm: Storm?) -> SimulationPlan {
        storm?.plan(seed: seed) ?? SimulationPlan(seed: seed)
    }

    package static func run(
        _ plan: SimulationPlan, mutant: Mutant?, transcript: ((String) -> Void)? = nil,
        trace: ((String) -> Void)? = nil
    ) -> SimulationReport {
        transcript?("\(plan)")
        return Simulator(
            plan: plan, mutant: mutant, transcript: transcript.map(Transcript.init), steps: trace.map(StepTrace.init)
        ).run()
    }

    /// Plans in which one thing happens all the time.
    public enum Storm: String, CaseIterable, Sendable {
        case elections
        case members
        case sessions
        case reads
        case names
        case disks

        package func plan(seed: UInt64) -> SimulationPlan {
            switch self {
            case .elections: SimulationPlan(electionStorm: seed)
            case .members: SimulationPlan(membershipStorm: seed)
            case .sessions: SimulationPlan(sessionStorm: seed)
            case .reads: SimulationPlan(readStorm: seed)
            case .names: SimulationPlan(nameStorm: seed)
            case .disks: SimulationPlan(diskStorm: seed)
            }
        }
    }

    /// Runs every seed of a range.
    ///
    /// The cores trap when their own state contradicts itself; ``CrashReport`` then names the seeds that were running.
    ///
    /// - Parameters:
    ///   - storm: turns every plan to one thing; nil leaves them as the seeds draw them.
    ///   - jobs: how many threads share the work.
    ///   - finished: called for every seed, on any of the threads, one at a time.
    public static func run(
        seeds: Range<UInt64>, storm: Storm? = nil, jobs: Int = 2,
        finished: @escaping @Sendable (SimulationReport) -> Void = { _ in }
    ) async -> Summary {
        CrashReport.install()
        let work = Work(seeds, storm)
        await withTaskGroup(of: Void.self) { group in
            for job in 0..<max(1, jobs) {
                group.addTask { work.run(job: job, finished) }
            }
        }
        return work.summary.withLock { $0 }
    }

    /// What the threads of one range share.
    private final class Work: Sendable {
        let next: Atomic<UInt64>
        let end: UInt64
        let storm: Storm?
        let summary = Mutex(Summary())

        init(_ seeds: Range<UInt64>, _ storm: Storm?) {
            self.storm = storm
            next = Atomic(seeds.lowerBound)
            end = seeds.upperBound
        }

        func run(job: Int, _ finished: @Sendable (SimulationReport) -> Void) {
            while !Task.isCancelled {
                let seed = next.wrappingAdd(1, ordering: .relaxed).oldValue
                guard seed < end else { return }
                CrashReport.begins(seed: seed, job: job)
                let report = SeedRunner.run(SeedRunner.plan(seed: seed, storm), mutant: nil)
                summary.withLock {
                    $0.add(report)
                    finished(report)
                }
            }
        }
    }
}
