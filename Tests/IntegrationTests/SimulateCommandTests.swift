import ClusterSupport
import Foundation
import TestSupport
import Testing

/// `simulate` as people call it.
@Suite(.timeLimit(.minutes(2)))
struct SimulateCommandTests {
    private func simulate(_ words: String) async throws -> EsperProgram.Result {
        try await EsperProgram(
            words.split(separator: " ").map(String.init), in: NSTemporaryDirectory(), program: "simulate"
        ).result()
    }

    @Test(arguments: [
        ("bench --pause x", "--pause", "from 2 to 10000 milliseconds"),
        ("bench --pause -5", "--pause", "from 2 to 10000 milliseconds"),
        ("bench --pause 1", "--pause", "from 2 to 10000 milliseconds"),
        ("bench --pause 10001", "--pause", "from 2 to 10000 milliseconds"),
        ("bench --pause 99999999999999999999", "--pause", "from 2 to 10000 milliseconds"),
        ("bench --seeds 0", "--seeds", "from 1 to 10000"),
        ("run --seeds 5..<5", "--seeds", "written A..<B"),
        ("run --seeds -1..<5", "--seeds", "written A..<B"),
        ("run --seeds 0..9", "--seeds", "written A..<B"),
        ("run --seeds 18446744073709551615", "--seeds", "written A..<B"),
        ("run --seeds 0..<2 --jobs 0", "--jobs", "from 1 to 256"),
        ("run --seeds 0..<2 --storm rain", "--storm", "elections, members, sessions, reads"),
        ("replay --seed -1", "--seed", "from 0 to 18446744073709551614"),
        ("shrink --seed 1 --runs 0", "--runs", "from 1 to 100000"),
        ("shrink --seed 1 --mutant none", "--mutant", "simulate mutants"),
        ("mutants --seeds 0", "--seeds", "from 1 to 1000000"),
        ("mutants --only nothing", "--only", "no mistake"),
    ])
    func `an argument that makes no sense is refused at once, by name and with what would do`(
        words: String, option: String, says: String
    ) async throws {
        let refused = try await simulate(words)
        #expect(refused.code == 64 && refused.output.isEmpty, "\(refused)")
        let line = try #require(refused.errors.first)
        #expect(line.hasPrefix("Error: ") && line.contains(option) && line.contains(says), "\(line)")
    }

    @Test func `one seed is run and judged`() async throws {
        let ran = try await simulate("run --seeds 7 --jobs 1")
        #expect(ran.code == 0 && ran.output.hasPrefix("1 seeds, 0 failed"), "\(ran)")
    }
}
