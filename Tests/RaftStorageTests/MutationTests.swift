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

    /// Behind right checksums any content is possible that a program with a fault could have written; which entries and votes it is
    /// meant to be, nobody can tell. But a start on it leads to a node that works, into quarantine, or to one clear line.
    @Test func `with checksums made right again is started on or refused, and never traps`() throws {
        let specimens = try [5, 8, 13].map { try Specimen(seed: $0, isClosed: $0 != 8, isReceiving: $0 == 13) }
        let mutator = ByteMutator()
        var (started, damaged, refused) = (0, 0, 0)
        for seed in 0..<Self.seeds * 2 {
            var dice = Seeded(seed)
            let specimen = try #require(specimens.randomElement(using: &dice))
            let copy = specimen.disk.copy()
            let sealed = copy.paths.compactMap { path in
                copy.contents(path).flatMap { SealedFile(path, $0) }.map { (path, $0) }
            }
            let (path, file) = try #require(sealed.randomElement(using: &dice))
            copy.alter(path) { bytes in
                for _ in 0..<Int.random(in: 1...3, using: &dice) {
                    if Int.random(in: 0..<4, using: &dice) > 0 {
                        file.bend(&bytes, using: &dice)
                    } else {
                        mutator.mutate(&bytes, using: &dice)
                    }
                }
                file.seal(&bytes)
            }
            do throws(StorageError) {
                let damage = try Specimen.live(on: copy, seed: seed)
                if damage != nil { damaged += 1 } else { started += 1 }
            } catch {
                refused += 1
                try #require(
                    [.corrupted, .newerFormat, .wrongCluster, .wrongNode, .snapshotMissing].contains(error.code)
                        && !error.message.isEmpty, "seed \(seed), \(path): \(error)")
            }
        }
        print("sealed damage: \(started) started, \(damaged) in quarantine, \(refused) refused")
        #expect(min(started, damaged, refused) > Int(Self.seeds) / 50)
    }
}

extension Specimen {
    /// A life on the directory: a node that takes in an entry of a new leader, an acknowledgement of it, a stop, and another start.
    ///
    /// - Returns: the damage that the first start found.
    static func live(on disk: SimulatedFileSystem, seed: UInt64) throws(StorageError) -> StorageError? {
        let store = try Store(on: disk, options: options, seed: seed)
        let now = Instant(nanoseconds: 1_000_000_000)
        var node = RaftNode(id: identity.node, restored: store.restored, seed: seed, at: now)
        var effects: [Effect] = []
        let last = node.status.last
        let term = node.status.term.next
        let append = AppendEntries(
            term: term, session: SessionNonce(1), readSequence: .zero, previous: last, commit: last.index,
            entries: [Entry(id: EntryID(term: term, index: last.index.next), kind: .noop)])
        node.step(.received(.appendEntries(append), from: NodeID(2)), at: now, into: &effects)
        node.flush(at: now, into: &effects)
        for case .persist(let batch) in effects { try store.write(batch) }
        try store.maintain()
        try store.close()
        disk.kill()
        let again = try Store(on: disk, options: options, seed: seed + 1)
        _ = RaftNode(id: identity.node, restored: again.restored, seed: seed, at: now)
        try again.close()
        return store.recovery.damage
    }
}
