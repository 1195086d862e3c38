import ArgumentParser
import EsperClient
import EsperTypes

struct BenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench", abstract: "Measure a cluster: closed loops, and the gap that a lost leader leaves.",
        subcommands: [
            BenchPut.self, BenchGet.self, BenchLock.self, BenchSession.self, BenchMixed.self, BenchFailover.self,
            BenchRestart.self,
            BenchCheck.self,
            BenchIdle.self, BenchCore.self, BenchLog.self, BenchSnapshot.self, BenchEtcd.self, BenchCache.self,
            BenchRedis.self,
        ])
}

extension LoadOptions {
    /// A history starts from keys that nobody has written, so its run has names of its own.
    func names() -> (keys: LoadKeys, prefix: String) {
        let prefix = history == nil ? prefix : "\(prefix)\(String(MonotonicClock.nanoseconds(), radix: 36))/"
        return (LoadKeys(prefix: prefix, count: keys, valueBytes: valueBytes), prefix)
    }

    /// The file is made at once: a path that cannot be written shall not cost the run.
    func recorder() throws -> HistoryRecorder? {
        guard let history else { return nil }
        try Files.write("", to: history, mode: 0o644)
        return HistoryRecorder(path: Files.absolute(history))
    }

    /// Prints what was found and writes the history.
    func finish(_ report: LoadReport, _ recorder: HistoryRecorder?) throws {
        try recorder?.write(
            header: .fields([
                "kind": .string(report.kind), "clients": .int(clients),
                "clock": "monotonic, nanoseconds since the start",
            ]))
        output.print(report.json, text: report.text)
    }

    /// Errors of the client become exit codes.
    func measuring(_ body: () async throws -> Void) async throws {
        do {
            try await body()
        } catch let error as EsperError {
            throw CommandFailure(error)
        }
    }
}

struct BenchPut: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "put", abstract: "Puts, each acknowledged after a majority has synced it.")

    @OptionGroup var load: LoadOptions

    func run() async throws {
        try await load.measuring {
            let recorder = try load.recorder()
            let step = PutStep(keys: load.names().keys)
            let report = try await LoadRun(kind: "put", options: load, roams: false).measure(step, recorder: recorder)
            try load.finish(report, recorder)
        }
    }
}

struct BenchGet: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "get", abstract: "Linearizable gets.")

    @OptionGroup var load: LoadOptions

    @Flag(help: "Read what the asked node has applied, without asking a quorum.")
    var local = false

    func run() async throws {
        try await load.measuring {
            guard load.history == nil else {
                throw CommandFailure(
                    .usage, "a history of reads alone proves nothing; record one with 'esper bench mixed'")
            }
            let run = LoadRun(kind: local ? "get-local" : "get", options: load, roams: false)
            let keys = load.names().keys
            try await run.preload(keys)
            let step = GetStep(keys: keys, local: local, expectsValue: !local)
            try load.finish(try await run.measure(step, recorder: nil), nil)
        }
    }
}

struct BenchLock: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lock", abstract: "Cycles of acquire and release.")

    @OptionGroup var load: LoadOptions

    @Option(help: "Different locks; 1: all clients contend for one.")
    var locks = 1

    func validate() throws {
        guard locks > 0 else { throw ValidationError("--locks takes a number above zero") }
    }

    func run() async throws {
        try await load.measuring {
            let recorder = try load.recorder()
            let step = LockStep(prefix: load.names().prefix, locks: locks)
            let report = try await LoadRun(kind: "lock", options: load, roams: false).measure(step, recorder: recorder)
            try load.finish(report, recorder)
            try step.resource.judge()
        }
    }
}

struct BenchSession: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "session", abstract: "Sessions opened and left alone, to see what many of them cost.")

    @OptionGroup var load: LoadOptions

    @Option(help: "How long each of them lives.", transform: WrittenDuration.read)
    var ttl = WrittenDuration(.seconds(600))

    func run() async throws {
        try await load.measuring {
            guard load.history == nil else {
                throw CommandFailure(.usage, "histories are of keys and locks; record one with 'esper bench mixed'")
            }
            let run = LoadRun(kind: "session", options: load, roams: false)
            try load.finish(try await run.measure(SessionStep(ttl: ttl.duration), recorder: nil), nil)
        }
    }
}

struct BenchMixed: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mixed", abstract: "Puts, gets and lock cycles, with leaders killed meanwhile if asked.",
        discussion:
            "Clients go on with another node when theirs fails. With --history, 'esper bench check' judges the run.")

    @OptionGroup var load: LoadOptions

    @Option(help: "Different locks.")
    var locks = 4

    @Option(
        help: "Kill the leader this often and start it again a second later; for a cluster on this host.",
        transform: WrittenDuration.read)
    var killLeaderEvery: WrittenDuration?

    func validate() throws {
        guard locks > 0 else { throw ValidationError("--locks takes a number above zero") }
        if let every = killLeaderEvery, every.duration < .seconds(2) {
            throw ValidationError("--kill-leader-every takes two seconds or more")
        }
    }

    func run() async throws {
        try await load.measuring {
            let recorder = try load.recorder()
            let (keys, prefix) = load.names()
            let step = MixedStep(
                put: PutStep(keys: keys), get: GetStep(keys: keys, local: false, expectsValue: false),
                lock: LockStep(prefix: prefix, locks: locks))
            let killer = try leaderKiller(recorder)
            let report = try await LoadRun(kind: "mixed", options: load, roams: true)
                .measure(step, recorder: recorder, meanwhile: killer)
            try load.finish(report, recorder)
            try step.lock.resource.judge()
        }
    }

    private func leaderKiller(_ recorder: HistoryRecorder?) throws -> (@Sendable () async -> Void)? {
        guard let every = killLeaderEvery?.duration else { return nil }
        guard let cluster = load.developmentCluster() else {
            throw CommandFailure(.usage, "--kill-leader-every needs a cluster on this host; say which with --dir")
        }
        let total = load.warmUp.duration + load.duration.duration
        let end = MonotonicClock.nanoseconds() + UInt64(total.nanoseconds)
        return { await LeaderKiller(cluster: cluster, recorder: recorder).run(every: every, until: end) }
    }
}

extension GuardedResource {
    /// - Throws: when two held one lock at once, or a token went back.
    func judge() throws {
        guard violations == 0 else {
            throw CommandFailure(
                "\(violations) times a lock's resource saw two holders at once or a token that went back")
        }
    }
}
