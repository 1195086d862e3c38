import ArgumentParser
import Simulation

struct Cache: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Runs the races of the cache service from every seed of a range.",
        discussion: "Exit code 1 when a rule is broken; the first seed that does it is told.")

    @Option(parsing: .unconditional, help: "The seeds, as A..<B.", transform: seedRange(_:))
    var seeds: Range<UInt64>

    @Option(help: "Leave this rule out on purpose: \(CacheMutant.allCases.map(\.rawValue).joined(separator: ", ")).")
    var mutant: CacheMutant?

    func run() throws {
        try search(seeds) { CacheSimulator.run(seed: $0, mutant: mutant).violation?.description }
    }
}

struct Moves: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Runs moves of shards from every seed of a range.",
        discussion: "Exit code 1 when a rule is broken; the first seed that does it is told.")

    @Option(parsing: .unconditional, help: "The seeds, as A..<B.", transform: seedRange(_:))
    var seeds: Range<UInt64>

    @Option(help: "Leave this rule out on purpose: \(MoveMutant.allCases.map(\.rawValue).joined(separator: ", ")).")
    var mutant: MoveMutant?

    func run() throws {
        try search(seeds) { MoveSimulator.run(seed: $0, mutant: mutant).failure?.description }
    }
}

extension CacheMutant: ExpressibleByArgument {}
extension MoveMutant: ExpressibleByArgument {}

private func search(_ seeds: Range<UInt64>, _ failure: (UInt64) -> String?) throws {
    for seed in seeds {
        guard let story = failure(seed) else { continue }
        print("seed \(seed) \(story)")
        throw ExitCode(1)
    }
    print("\(seeds.count) seeds, none failed")
}
