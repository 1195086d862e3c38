import ArgumentParser
import EsperTypes
import Glibc
import RaftRuntime

/// The state machine alone, while its snapshot is written.
struct BenchSnapshot: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "snapshot", abstract: "How long puts take to apply while a snapshot of a large state is written.",
        discussion: "A gibibyte of values: --keys 4194304 --value-bytes 256, which takes about 3 GiB of memory.")

    @Argument(help: "A directory that does not exist yet; it is left there for a look.")
    var directory: String

    @Option(help: "Keys of the state.")
    var keys = 262_144

    @Option(help: "Bytes of a value.")
    var valueBytes = 256

    @Option(help: "Puts a second while it is measured.")
    var rate = 5000

    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard keys > 0, (1...100_000).contains(rate) else {
            throw ValidationError("--keys takes a number above zero, --rate 1 to 100000")
        }
        guard (0...56 << 10).contains(valueBytes) else { throw ValidationError("--value-bytes takes 0 to 57344") }
    }

    func run() async throws {
        let result: SnapshotBenchmark.Result
        do {
            result = try SnapshotBenchmark.run(
                at: Files.absolute(directory), .init(keys: keys, valueBytes: valueBytes, rate: rate),
                now: { Instant(nanoseconds: MonotonicClock.nanoseconds()) },
                pause: { usleep(UInt32($0.nanoseconds / 1000)) }, entropy: { UInt64.random(in: .min ... .max) })
        } catch {
            throw CommandFailure("\(error)")
        }
        let (quiet, during) = (histogram(result.quiet), histogram(result.during))
        output.print(
            .fields([
                "kind": "snapshot", "keys": .int(keys), "value_bytes": .int(valueBytes),
                "snapshot_bytes": .unsigned(result.snapshotBytes), "write_seconds": .rounded(seconds(result.writing)),
                "restore_seconds": .rounded(seconds(result.restoring)), "apply_quiet": quiet.json,
                "apply_during": during.json,
            ]),
            text: """
                snapshot: \(result.snapshotBytes >> 20) MiB written in \(result.writing.written), restored in \
                \(result.restoring.written); one put takes to apply
                  before  \(quiet.text)
                  during  \(during.text)
                """)
    }

    private func histogram(_ durations: [Duration]) -> Histogram {
        var histogram = Histogram()
        for duration in durations { histogram.record(nanoseconds: UInt64(duration.nanoseconds)) }
        return histogram
    }

    private func seconds(_ duration: Duration) -> Double { Double(duration.nanoseconds) / 1e9 }
}
