import CacheCore
import EsperTypes
import Simulation
import Testing

@Suite struct `The cache service in a simulated cluster` {
    @Test func `keeps its promises while everything races`() {
        var sum = CacheSimulator.Report()
        for seed in UInt64(0)..<200 {
            let report = CacheSimulator.run(seed: seed)
            #expect(report.violation == nil, "seed \(seed): \(report.violation?.description ?? "")")
            if report.violation != nil { return }
            sum.stores += report.stores
            sum.makes += report.makes
            sum.evictions += report.evictions
            sum.expiredTokens += report.expiredTokens
            sum.lateAnswers += report.lateAnswers
            sum.collected += report.collected
            sum.repaired += report.repaired
            sum.collectedBelow += report.collectedBelow
            sum.demoted += report.demoted
            sum.refusals += report.refusals
            sum.forwards += report.forwards
        }
        #expect(sum.stores > 5000 && sum.makes > 300 && sum.evictions > 500 && sum.expiredTokens > 50)
        #expect(sum.lateAnswers > 5000 && sum.collected > 1000 && sum.repaired > 500)
        #expect(sum.collectedBelow > 5000 && sum.demoted > 500)
        #expect(sum.refusals > 100 && sum.forwards > 10)
    }

    @Test(arguments: CacheMutant.allCases)
    func `is found broken when a rule is left out`(mutant: CacheMutant) {
        for seed in UInt64(0)..<1000 {
            guard let violation = CacheSimulator.run(seed: seed, mutant: mutant).violation else { continue }
            #expect(mutant.breaks.contains(violation.rule), "\(violation)")
            return
        }
        Issue.record("\(mutant.rawValue) survives")
    }

    @Test func `takes the same steps from the same seed`() {
        let runs = (0..<2).map { _ in CacheSimulator.run(seed: 7) }
        #expect(runs[0] == runs[1])
    }
}
