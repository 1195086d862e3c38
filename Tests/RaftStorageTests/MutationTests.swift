import EsperTypes
import Foundation
import RaftCore
import RaftStorage
import Testing

/// Whatever the bytes of a data directory have become: a start never traps and is never silently wrong.
///
/// `ESPER_FUZZ_SEEDS=200000` makes a long run of it (docs/TESTING.md).
@Suite(.timeLimit(.minutes(60))) struct `A mutated data directory` {
    private static let seeds = ProcessInfo.processInfo.environment["ESPER_FUZZ_SEEDS"].flatMap { UInt64($0) } ?? 1500

    @Test func `starts complete, in quarantine above every promise, or not at all`() throws {
        // Stopped cleanly: of one that was killed, zeros over the end may be a torn write (docs/DURABILITY.md).
        let specimens = try [5, 8, 13].map { try Specimen(seed: $0, isClosed: true) }
        var outcomes: [Specimen.Outcome: Int] = [:]
        for seed in 0..<Self.seeds {
            var dice = Seeded(seed)
            let specimen = try #require(specimens.randomElement(using: &dice))
            let paths = specimen.disk.paths.filter { !$0.hasSuffix("LOCK") }
            let path = try #require(paths.randomElement(using: &dice))
            let (outcome, error) = specimen.start(altering: path) { Self.mutate(&$0, &dice) }
            try #require(outcome != .shortened, "seed \(seed), \(path): \(String(describing: error))")
            outcomes[outcome, default: 0] += 1
        }
        #expect(outcomes[.refused, default: 0] > Int(Self.seeds) / 10 && outcomes[.complete, default: 0] > 0)
    }

    /// What disks, file systems and careless hands do to a file.
    private static func mutate(_ bytes: inout [UInt8], _ dice: inout Seeded) {
        guard !bytes.isEmpty else { return }
        let start = Int.random(in: 0..<bytes.count, using: &dice)
        let end = min(bytes.count, start + Int.random(in: 1...1500, using: &dice))
        switch Int.random(in: 0..<7, using: &dice) {
        case 0: bytes[start] ^= UInt8(1 << Int.random(in: 0..<8, using: &dice))
        case 1: for offset in start..<end { bytes[offset] = 0 }
        case 2: for offset in start..<end { bytes[offset] = UInt8.random(in: 0...255, using: &dice) }
        case 3:
            // A misdirected write: sectors of another place.
            let from = Int.random(in: 0...bytes.count - (end - start), using: &dice)
            bytes.replaceSubrange(start..<end, with: Array(bytes[from..<from + (end - start)]))
        case 4: bytes.removeLast(bytes.count - start)
        case 5: bytes += [UInt8](repeating: 0xff, count: end - start)
        default:
            // A lost write: one sector as it was when the file was new.
            let sector = start / 512 * 512
            for offset in sector..<min(sector + 512, bytes.count) { bytes[offset] = 0 }
        }
    }
}
