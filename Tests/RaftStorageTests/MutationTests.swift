import EsperTypes
import Foundation
import RaftCore
import RaftStorage
import TestSupport
import Testing

/// Whatever the bytes of a data directory have become: a start never traps and is never silently wrong.
///
/// `ESPER_FUZZ_SEEDS=200000` makes a long run of it (docs/TESTING.md).
@Suite(.timeLimit(.minutes(60))) struct `A mutated data directory` {
    private static let seeds = ProcessInfo.processInfo.environment["ESPER_FUZZ_SEEDS"].flatMap { UInt64($0) } ?? 1500

    @Test func `starts complete, in quarantine above every promise, or not at all`() throws {
        // Stopped cleanly: of one that was killed, zeros over the end may be a torn write (docs/DURABILITY.md).
        let specimens = try [5, 8, 13].map { try Specimen(seed: $0, isClosed: true) }
        let mutator = ByteMutator()
        var outcomes: [Specimen.Outcome: Int] = [:]
        for seed in 0..<Self.seeds {
            var dice = Seeded(seed)
            let specimen = try #require(specimens.randomElement(using: &dice))
            let paths = specimen.disk.paths.filter { !$0.hasSuffix("LOCK") }
            let path = try #require(paths.randomElement(using: &dice))
            let (outcome, error) = specimen.start(altering: path) { mutator.mutate(&$0, using: &dice) }
            try #require(outcome != .shortened, "seed \(seed), \(path): \(String(describing: error))")
            outcomes[outcome, default: 0] += 1
        }
        #expect(outcomes[.refused, default: 0] > Int(Self.seeds) / 10 && outcomes[.complete, default: 0] > 0)
    }
}
