import ArgumentParser
import Glibc
import Simulation

@main
struct Simulate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "simulate",
        abstract: "Runs simulated clusters from seeds, and judges recorded histories.",
        subcommands: [Run.self, Replay.self, Shrink.self, Mutants.self, Cache.self, Moves.self, Bench.self, Check.self])
}

/// - Throws: ``ValidationError`` with the names that there are.
func storm(named name: String) throws -> SeedRunner.Storm {
    guard let storm = SeedRunner.Storm(rawValue: name) else {
        throw ValidationError("there is \(SeedRunner.Storm.allCases.map(\.rawValue).joined(separator: ", "))")
    }
    return storm
}

struct Run: AsyncParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Runs every seed of a range.")

    @Option(parsing: .unconditional, help: "The seeds, as A..<B.", transform: seedRange(_:))
    var seeds: Range<UInt64>

    @Option(
        help: "Turn every plan to elections, members, sessions, reads, names or disks, all the time.",
        transform: storm(named:))
    var storm: SeedRunner.Storm?

    @Option(
        parsing: .unconditional, help: "How many threads share the work, from 1 to 256.",
        transform: boundedNumber(1...256))
    var jobs = 2

    func run() async throws {
        let clock = ContinuousClock()
        let (start, used) = (clock.now, processorSeconds())
        let summary = await SeedRunner.run(seeds: seeds, storm: storm, jobs: jobs) { report in
            guard let failure = report.failure else { return }
            let option = storm.map { " --storm \($0.rawValue)" } ?? ""
            print("seed \(report.seed) \(failure)\n  to see it: simulate replay --seed \(report.seed)\(option)")
        }
        let elapsed = (clock.now - start) / .seconds(1)
        let counters = summary.counters
        let virtual = Double(summary.virtualNanoseconds) / 1e9
        print(
            """
            \(summary.seeds) seeds, \(summary.failureCount) failed, \(rounded(elapsed)) s, \
            \(rounded(virtual / (processorSeconds() - used))) simulated seconds a second of a processor
            \(counters.steps) steps, \(counters.messages) messages, \(counters.operations) operations \
            (\(counters.reads) reads, \(counters.duplicates) answered again), \(counters.committed) entries committed
            \(counters.elections) elections, \(counters.faults) faults, \(counters.crashes) crashes \
            (\(counters.deaths) in the middle of work on files), \
            \(counters.transfers) transfers, \(counters.membershipChanges) of \(counters.membershipRequests) changes of \
            membership, \(counters.truncations) truncations, \(counters.snapshots) snapshots, \
            \(counters.installedSnapshots) installed, \(counters.undecided) histories undecided
            \(counters.keepAlives) keep-alives, \(counters.expiredSessions) sessions expired, \(counters.guardedWrites) writes \
            under locks, \(counters.staleWrites) refused, \(counters.watchEvents) events watched, \(counters.watchGaps) gaps, \
            \(counters.keyCompactions) compactions of keys, \(counters.leaseReads) reads by leases, \(counters.heldReads) by holders \
            (\(counters.pendingReads) pending, \(counters.leaselessReads) without a lease); \
            \(counters.diskFailures) failed disks, \(counters.failedSyncs) failed syncs of other work, \(counters.fullDisks) full
            \(counters.rots) places rotten, \(counters.damagesScrubbed) damages found by \(counters.scrubs) scrubs, \
            \(counters.damagesRead) by sending, \(counters.repairs) repairs of running nodes, \(counters.quarantines) quarantines
            recovery after the last fault: \(counters.recoveryNanoseconds / UInt64(summary.seeds) / 1_000_000) ms on \
            average, \(summary.slowestRecovery.nanoseconds / 1_000_000) ms at most (seed \(summary.slowestRecovery.seed))
            """)
        if summary.failureCount > 0 { throw ExitCode(1) }
    }

}

struct Replay: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Runs one seed and tells its story, or writes the steps of the cores to a file.")

    @Option(parsing: .unconditional, help: "The seed.", transform: seedNumber(_:))
    var seed: UInt64

    @Option(
        help: "The storm in which the seed was run: elections, members, sessions, reads, names or disks.",
        transform: storm(named:))
    var storm: SeedRunner.Storm?

    @Flag(help: "Write the history of the clients as JSON lines instead of the story.")
    var history = false

    @Option(help: "Write every step of every core to this file, as JSON lines.")
    var trace: String?

    func run() throws {
        guard let trace else { return try replay(trace: nil) }
        guard let stream = fopen(trace, "wb") else {
            throw ValidationError("\(trace): \(String(cString: strerror(errno)))")
        }
        defer { fclose(stream) }
        try replay { line in
            if fputs(line, stream) < 0 || fputc(10, stream) < 0 { failWriting(trace) }
        }
        if fflush(stream) != 0 { failWriting(trace) }
    }

    private func failWriting(_ file: String) -> Never {
        writeLine("\(file): \(String(cString: strerror(errno)))", to: STDERR_FILENO)
        Glibc.exit(1)
    }

    private func replay(trace: ((String) -> Void)?) throws {
        // Each line at once: a run that traps has told its story until then.
        let isStory = !history && trace == nil
        let report = SeedRunner.run(
            seed: seed, storm: storm, transcript: isStory ? { writeLine($0, to: STDOUT_FILENO) } : nil, trace: trace)
        if history {
            print(report.history.text, terminator: "")
        } else {
            print("trace \(String(report.traceHash, radix: 16)), \(report.counters.steps) steps")
        }
        if let failure = report.failure {
            writeLine("seed \(seed) \(failure)", to: STDERR_FILENO)
            throw ExitCode(1)
        }
    }
}

func writeLine(_ line: String, to descriptor: Int32) {
    var rest = ArraySlice((line + "\n").utf8)
    while !rest.isEmpty {
        let count = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
        guard count > 0 else { return }
        rest = rest.dropFirst(count)
    }
}

struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Judges a recorded history.", discussion: "Exit code 0: it holds; 1: it does not; 2: no verdict.")

    @Argument(help: "A file of JSON lines.")
    var file: String

    func run() throws {
        let history: History
        do {
            history = try History(reading: try read())
        } catch let error as History.ReadingError {
            throw ValidationError("\(file): \(error)")
        }
        let report = HistoryChecker().check(history)
        let scope = "\(report.operations) operations on \(report.keys) keys"
        if !report.unjudgedModels.isEmpty {
            print("not judged: models \(report.unjudgedModels.joined(separator: ", "))")
        }
        switch report.verdict {
        case .holds:
            print("holds: \(scope)")
        case .violated(let violation):
            print("violated: \(violation)")
            for position in violation.positions { print("  \(history.operations[position])") }
            throw ExitCode(1)
        case .undecided(let model, let key, let reason):
            print("undecided: \(model) \(key): \(reason)")
            throw ExitCode(2)
        case .invalid(let problem):
            print("no verdict: \(problem)")
            throw ExitCode(2)
        }
    }

    private func read() throws -> [UInt8] {
        guard let stream = fopen(file, "rb") else {
            throw ValidationError("\(file): \(String(cString: strerror(errno)))")
        }
        defer { fclose(stream) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = fread(&buffer, 1, buffer.count, stream)
            if count == 0 { return bytes }
            bytes.append(contentsOf: buffer[..<count])
        }
    }
}
