import CacheCore
import Coordination
import EsperTypes
import Foundation
import Testing

@Suite struct CacheSizeTests {
    /// `ESPER_CACHE_NAMES=1000000` measures as many as are promised.
    @Test func `a name takes less than 500 bytes, its own 72 included`() async {
        let result = await #expect(processExitsWith: .success, observing: [\.standardOutputContent]) {
            let count = ProcessInfo.processInfo.environment["ESPER_CACHE_NAMES"].flatMap { Int($0) } ?? 100_000
            var random = Seeded(1)
            var machine = StateMachine()
            var output = ApplyOutput()
            func load(_ count: Int) {
                for first in stride(from: 0, to: count, by: 128) {
                    let binds = (first..<min(first + 128, count)).map { _ in
                        // In no order, as digests are: leaves of the tree are two thirds full.
                        let digest = Digest(
                            words: random.next(), random.next(), random.next(), random.next())
                        return CacheBind(
                            name: "default/\(digest)".bytes, kind: .action, manifest: digest, size: 2048,
                            costMilliseconds: 900, tiers: TierSet(.peer))
                    }
                    let envelope = Envelope(
                        time: 1, proposal: ProposalID(origin: NodeID(1), boot: 1, number: 1), principal: "client/a",
                        command: .cache(.bind(binds)))
                    machine.apply(
                        index: machine.applied.index.next, term: Term(1), payload: envelope.encoded(), into: &output)
                    output.removeAll()
                }
            }
            load(1000)
            let before = Self.residentBytes
            let start = ContinuousClock.now
            load(count)
            let took = ContinuousClock.now - start
            let perName = (Self.residentBytes - before) / count
            let lookups = machine.cache.records(after: nil, limit: 100_000).shuffled(using: &random).map(\.name)
            let asked = ContinuousClock.now
            var found = 0
            for name in lookups where machine.cache.binding(name, now: 1) != nil { found += 1 }
            let perLookup = (ContinuousClock.now - asked) / lookups.count
            print("\(count) names: \(perName) bytes each, \(took / count) to bind one, \(perLookup) to look one up")
            precondition(found == lookups.count && machine.cache.summary.live == count + 1000)
            precondition(perName < 500, "a name takes \(perName) bytes")
            exit(EXIT_SUCCESS)
        }
        // For the log of the run.
        print(String(decoding: result?.standardOutputContent ?? [], as: UTF8.self))
    }

    private static var residentBytes: Int {
        let text = (try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8)) ?? ""
        return (text.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0)
            * Int(sysconf(Int32(_SC_PAGESIZE)))
    }
}
