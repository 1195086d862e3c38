import CacheCore
import Coordination
import EsperTypes
import Testing

/// Which commands every node that answers for names by itself must have before anybody sees them.
@Suite struct NameGuardTests {
    private func payload(_ command: Command, stamp: UInt64) -> [UInt8] {
        Envelope(
            time: stamp, proposal: ProposalID(origin: NodeID(1), boot: 1, number: 1), principal: "t", command: command
        ).encoded()
    }

    private func put(stamp: UInt64) -> [UInt8] { payload(.put(.init(key: "k".bytes, value: [])), stamp: stamp) }

    private func bind(_ name: String, _ expiry: CacheBind.Expiry, stamp: UInt64) -> [UInt8] {
        payload(.cache(.bind([.sample(name, .alias, 1, expiry: expiry)])), stamp: stamp)
    }

    @Test func `changes of names are guarded, and what passes a name's end, and nothing else`() {
        var (replica, names) = (Replica(), NameGuard())
        names.leads(in: Term(1)) { nil }
        func guards(_ payload: [UInt8], applies: Bool = true) -> Bool {
            defer { if applies { replica.apply(payload) } }
            return names.guards(payload, at: replica.machine.applied.index.next, replica.machine)
        }
        #expect(!guards(put(stamp: 10)))
        #expect(guards(bind("t/a", .at(100), stamp: 20)))
        #expect(!guards(put(stamp: 99)))
        #expect(guards(put(stamp: 100)), "the name is over")
        #expect(!guards(put(stamp: 200)), "it was over before")
        #expect(guards(bind("t/b", .never, stamp: 210), applies: false))
        #expect(guards(put(stamp: 220), applies: false), "nobody knows when the name that is not applied ends")
        #expect(!guards(put(stamp: 200), applies: false), "the clock does not move")
        #expect(guards([1, 2, 3], applies: false), "it cannot be read")
        #expect(guards(payload(.auth(.enable(secret: [1])), stamp: 5), applies: false), "it says who may look")
    }

    @Test func `a new leader knows when a name ends that it found in its log once it has applied it`() {
        var (replica, names) = (Replica(), NameGuard())
        replica.apply(put(stamp: 10))
        names.leads(in: Term(2)) { LogIndex(3) }
        let isGuarded = names.guards(put(stamp: 20), at: LogIndex(4), replica.machine)
        #expect(isGuarded)
        replica.apply(put(stamp: 12))
        replica.apply(put(stamp: 13))
        names.leads(in: Term(2)) { LogIndex(4) }
        let isGuardedLater = names.guards(put(stamp: 20), at: LogIndex(5), replica.machine)
        #expect(!isGuardedLater)
    }

    /// Any node, with any part of its log applied, against the state that lacks nothing.
    @Test func `a node that lacks only what is not guarded says what the others say`() {
        var compared = 0
        for seed in 0..<200 as Range<UInt64> {
            var random = Seeded(seed)
            compared += compare(Trial(&random, self))
        }
        #expect(compared > 20_000)
    }

    private static let names = (0..<4).map { "t/\($0)".bytes }

    /// A log, which of it is guarded, and the state after each entry.
    private struct Trial {
        static let length = 30
        var payloads: [[UInt8]] = []
        var guarded: [Bool] = []
        var states: [StateMachine] = []

        init(_ random: inout Seeded, _ suite: NameGuardTests) {
            var (replica, names) = (Replica(), NameGuard())
            states = [replica.machine]
            var (time, applied, term): (UInt64, Int, UInt64) = (1000, 0, 1)
            for index in 1...Self.length {
                time = time + .random(in: 0...20, using: &random) - .random(in: 0...5, using: &random)
                let payload = suite.command(at: time, &random)
                // The leader, perhaps another one by now, has applied any part of the log.
                if Int.random(in: 0..<8, using: &random) == 0 {
                    (term, applied) = (term + 1, Int.random(in: 0..<index, using: &random))
                }
                applied = Int.random(in: applied..<index, using: &random)
                names.leads(in: Term(term)) { [guarded] in
                    guarded[applied...].lastIndex(of: true).map { LogIndex(UInt64($0 + 1)) }
                }
                guarded.append(names.guards(payload, at: LogIndex(UInt64(index)), states[applied]))
                payloads.append(payload)
                replica.apply(payload)
                states.append(replica.machine)
            }
        }
    }

    private func command(at time: UInt64, _ random: inout Seeded) -> [UInt8] {
        let name = String(decoding: Self.names.randomElement(using: &random) ?? [], as: UTF8.self)
        return switch Int.random(in: 0..<12, using: &random) {
        case 0: bind(name, .never, stamp: time)
        case 1: bind(name, .at(time + .random(in: 0...100, using: &random)), stamp: time)
        case 2: bind(name, .after(.nanoseconds(Int64.random(in: 1...100, using: &random))), stamp: time)
        case 3: payload(.cache(.evict(name.bytes)), stamp: time)
        default: put(stamp: time)
        }
    }

    /// - Returns: how many answers were compared.
    private func compare(_ trial: Trial) -> Int {
        var compared = 0
        for seen in 1...Trial.length {
            let newest = trial.states[seen]
            // As far back as nothing guarded is missing.
            let least = trial.guarded[..<seen].lastIndex(of: true).map { $0 + 1 } ?? 0
            for has in least...seen {
                for applied in 0...has {
                    let pending = trial.payloads[applied..<has].map(Envelope.nameChange(in:))
                    let state = trial.states[applied]
                    for name in Self.names
                    where !pending.contains(where: { $0.change == .names([NameChange.mark(name)]) }) {
                        let told = state.cache.lookup(
                            name, now: state.time, pending: pending.map(\.stamp).max() ?? 0)
                        guard let told else { continue }
                        compared += 1
                        #expect(
                            told == newest.cache.lookup(name, now: newest.time, pending: 0),
                            "\(String(decoding: name, as: UTF8.self)) with \(has) of \(seen) entries, \(applied) applied"
                        )
                    }
                }
            }
        }
        return compared
    }
}
