import ArgumentParser
import EsperTypes
import RaftStorage
import Simulation

/// The consensus core alone.
struct BenchCore: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "core", abstract: "Proposals through three consensus cores in one thread: no disk, no network.")

    @Option(help: "Proposals of one turn.")
    var batch = 64

    @Option(help: "Turns.")
    var rounds = 20_000

    @Option(help: "Bytes of a proposal.")
    var valueBytes = 256

    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard batch > 0, rounds > 0 else { throw ValidationError("--batch and --rounds take numbers above zero") }
        guard (0...56 << 10).contains(valueBytes) else { throw ValidationError("--value-bytes takes 0 to 57344") }
    }

    func run() async throws {
        var benchmark = CoreBenchmark()
        let start = MonotonicClock.nanoseconds()
        let applied = benchmark.run(rounds: rounds, batch: batch, payloadBytes: valueBytes)
        let seconds = Double(MonotonicClock.nanoseconds() - start) / 1e9
        guard applied == 3 * rounds * batch else {
            throw CommandFailure("\(applied) proposals were applied, not \(3 * rounds * batch)")
        }
        let rate = Double(rounds * batch) / seconds
        output.print(
            .fields([
                "kind": "core", "batch": .int(batch), "value_bytes": .int(valueBytes),
                "proposals": .int(rounds * batch), "seconds": .rounded(seconds), "rate_per_second": .rounded(rate),
            ]),
            text: "core: \(Int(rate.rounded())) proposals/s, each through three nodes, in batches of \(batch)")
    }
}

/// The log alone.
struct BenchLog: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "log", abstract: "Durable batches: one log on a given disk, with its threads.")

    @Argument(help: "A directory that does not exist yet; it is left there for a look.")
    var directory: String

    @Option(help: "Batches to write.")
    var batches = 20_000

    @Option(help: "Entries of a batch.")
    var entries = 1

    @Option(help: "Batches in flight: 1 waits for each, more let group commit work.")
    var inFlight = 1

    @Option(help: "Bytes of an entry.")
    var valueBytes = 256

    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard batches > 0, entries > 0, inFlight > 0 else {
            throw ValidationError("--batches, --entries and --in-flight take numbers above zero")
        }
        guard (0...56 << 10).contains(valueBytes) else { throw ValidationError("--value-bytes takes 0 to 57344") }
    }

    func run() async throws {
        let result: LogBenchmark.Result
        do {
            result = try LogBenchmark.run(
                at: Files.absolute(directory),
                .init(batches: batches, entriesPerBatch: entries, payloadBytes: valueBytes, inFlight: inFlight),
                now: { Instant(nanoseconds: MonotonicClock.nanoseconds()) },
                entropy: { UInt64.random(in: .min ... .max) })
        } catch {
            throw CommandFailure("\(error)")
        }
        var latency = Histogram()
        for duration in result.latencies { latency.record(nanoseconds: UInt64(duration.nanoseconds)) }
        output.print(
            .fields([
                "kind": "log", "batches": .int(batches), "entries_per_batch": .int(entries),
                "in_flight": .int(inFlight), "value_bytes": .int(valueBytes),
                "rate_per_second": .rounded(result.entriesPerSecond), "latency": latency.json,
            ]),
            text: "log: \(Int(result.entriesPerSecond.rounded())) entries/s, \(inFlight) batches in flight\n"
                + "  \(latency.text)")
    }
}
