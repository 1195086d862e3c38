import ArgumentParser
import Glibc
import Simulation

struct Bench: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Measures how much faster than time a five-node cluster is simulated, with every check on.")

    @Option(help: "How many seeds; each simulates a minute with faults, and its recovery.")
    var seeds: UInt64 = 20

    @Option(help: "The longest pause of each client and holder of locks between two operations, in milliseconds.")
    var pause = 1000

    func run() async throws {
        let start = processorSeconds()
        var virtual: UInt64 = 0
        var counters = SimulationCounters()
        for seed in 0..<seeds {
            let report = SeedRunner.benchmark(seed: seed, pauseMilliseconds: max(2, pause))
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
