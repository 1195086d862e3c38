import ArgumentParser
import Glibc
import Simulation

struct Bench: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Measures how much faster than time a five-node cluster is simulated, with every check on.")

    @Option(
        parsing: .unconditional,
        help: "How many seeds, at most 10000; each simulates a minute with faults, and its recovery.",
        transform: boundedNumber(1...10_000))
    var seeds: UInt64 = 20

    @Option(
        parsing: .unconditional,
        help:
            "The longest pause of each client and holder of locks between two operations, in milliseconds, 2 to 10000.",
        transform: boundedNumber(2...10_000, unit: " milliseconds"))
    var pause = 1000

    func run() async throws {
        let start = processorSeconds()
        var virtual: UInt64 = 0
        var counters = SimulationCounters()
        for seed in 0..<seeds {
            let report = SeedRunner.benchmark(seed: seed, pauseMilliseconds: pause)
            if let failure = report.failure { throw ValidationError("seed \(seed) fails: \(failure)") }
            virtual += report.virtualNanoseconds
            counters += report.counters
        }
        let elapsed = processorSeconds() - start
        let seconds = Double(virtual) / 1e9
        print(
            """
            \(rounded(seconds)) s of a five-node cluster in \(rounded(elapsed)) s of one processor: \
            \(rounded(seconds / elapsed)) simulated seconds a second
            per simulated second: \(rounded(Double(counters.steps) / seconds)) steps, \
            \(rounded(Double(counters.messages) / seconds)) messages, \
            \(rounded(Double(counters.operations) / seconds)) operations of clients, \
            \(rounded(Double(counters.committed) / seconds)) entries committed, \
            \(rounded(Double(counters.faults) / seconds)) faults
            """)
    }
}

/// What all threads of this process have used so far.
func processorSeconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

func rounded(_ value: Double) -> Double { (value * 10).rounded() / 10 }
