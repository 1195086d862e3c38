import ArgumentParser
import Glibc
import Simulation

struct Mutants: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Looks for every mistake made on purpose and prints the table of docs/SIMULATION.md.",
        discussion: "Exit code 1 when one of them is not found, or found by a rule that it does not break.")

    @Option(
        parsing: .unconditional, help: "The most seeds to try for each, at most 1000000.",
        transform: boundedNumber(1...1_000_000))
    var seeds: UInt64 = 2000

    @Option(help: "Only those whose name contains this.")
    var only: String?

    func validate() throws {
        guard let only, !Mutant.allCases.contains(where: { $0.rawValue.contains(only) }) else { return }
        throw ValidationError("--only \(only): no mistake has that in its name")
    }

    func run() throws {
        var isComplete = true
        tell("| mutant | source | rule that finds it | seeds |\n|---|---|---|--:|")
        for mutant in Mutant.allCases where only.map({ mutant.rawValue.contains($0) }) ?? true {
            guard let (seed, failure) = SeedRunner.hunt(mutant, in: 0..<seeds) else {
                tell("| \(mutant.rawValue) | \(mutant.source) | **survives** | \(seeds) |")
                isComplete = false
                continue
            }
            let isExpected = mutant.breaks.contains(failure.rule)
            let plans = mutant.storm.map { " (\($0.rawValue))" } ?? ""
            tell(
                "| \(mutant.rawValue) | \(mutant.source) | \(isExpected ? "" : "**wrong** ")\(failure.rule.rawValue) | "
                    + "\(seed + 1)\(plans) |")
            if !isExpected {
                isComplete = false
                tell("seed \(seed): \(failure)")
            }
        }
        if !isComplete { throw ExitCode(1) }
    }

    /// Each line at once: the table takes its time.
    private func tell(_ line: String) { writeLine(line, to: STDOUT_FILENO) }
}
