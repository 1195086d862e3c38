import CacheCore
import EsperTypes
import Simulation
import Testing

@Suite struct `Moves of shards in a simulated cluster` {
    @Test func `keep one coordinator and every acknowledged blob, and end`() {
        var (moves, flips, cancels, acknowledged, revivals, lastDeaths) = (0, 0, 0, 0, 0, 0)
        for seed in UInt64(0)..<300 {
            let report = MoveSimulator.run(seed: seed)
            #expect(report.failure == nil, "seed \(seed): \(report.failure?.description ?? "")")
            if report.failure != nil { return }
            moves += report.moves
            flips += report.flips
            cancels += report.cancels
            acknowledged += report.acknowledged
            revivals += report.revivals
            lastDeaths += report.lastDeaths
        }
        #expect(moves > 3000 && flips > 2000 && cancels > 200 && acknowledged > 30_000)
        #expect(revivals > 50 && lastDeaths > 10)
    }

    @Test(arguments: MoveMutant.allCases)
    func `are found broken when a rule is left out`(mutant: MoveMutant) {
        for seed in UInt64(0)..<1500 {
            guard let failure = MoveSimulator.run(seed: seed, mutant: mutant).failure else { continue }
            #expect(mutant.breaks.contains(failure.rule), "\(failure)")
            return
        }
        Issue.record("\(mutant.rawValue) survives")
    }
}
