import ArgumentParser
import Glibc
import Simulation

struct Shrink: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Makes a failing seed as short as it gets, and tells its story.",
        discussion: "Exit code 1: it fails; 0: it does not.")

    @Option(parsing: .unconditional, help: "The seed.", transform: seedNumber(_:))
    var seed: UInt64

    @Option(
        help: "The storm in which the seed failed: elections, members, sessions, reads, names or disks.",
        transform: storm(named:))
    var storm: SeedRunner.Storm?

    @Option(help: "Make this mistake on purpose, see 'simulate mutants'.", transform: mutant(named:))
    var mutant: Mutant?

    @Option(
        parsing: .unconditional, help: "Give up after so many runs, with the shortest so far; at most 100000.",
        transform: boundedNumber(1...100_000))
    var runs = 500

    func run() throws {
        let plan = SeedRunner.plan(seed: seed, storm ?? mutant?.storm)
        guard let shrunk = Shrinker.shrink(plan, mutant: mutant, maximumRuns: runs) else {
            print("seed \(seed) does not fail")
            return
        }
        _ = SeedRunner.run(shrunk.plan, mutant: mutant, transcript: { writeLine($0, to: STDOUT_FILENO) })
        print(
            """

            \(shrunk.failure)
            \(shrunk.steps.before) steps and \(shrunk.faults.before) faults became \(shrunk.steps.after) and \
            \(shrunk.faults.after - shrunk.plan.skippedFaults.filter { $0 < shrunk.faults.after }.count) in \
            \(shrunk.runs) runs; done without: \(shrunk.dropped.joined(separator: ", "))
            """)
        throw ExitCode(1)
    }
}

/// - Throws: ``ValidationError`` when there is none.
private func mutant(named name: String) throws -> Mutant {
    guard let mutant = Mutant(rawValue: name) else {
        throw ValidationError("\(name) is no mistake that 'simulate mutants' knows")
    }
    return mutant
}
