import CacheCore
import Coordination
import EsperTypes
import Testing

extension Replica {
    @discardableResult
    mutating func change(_ changes: [CacheChange], request: RequestID? = nil, time: UInt64 = 0) -> [CacheChangeResult] {
        guard case .cache(.changed(let results)) = run(.cache(.change(changes)), request: request, time: time) else {
            return []
        }
        return results
    }

    @discardableResult
    mutating func bind(
        _ name: String, _ kind: Binding.Kind, _ content: UInt64, _ condition: CacheBind.Condition = .byKind,
        expiry: CacheBind.Expiry = .never, mode: StoreMode = .durable, time: UInt64 = 0
    ) -> CacheChangeResult? {
        change(
            [.bind(.sample(name, kind, content, condition, expiry: expiry, mode: mode))], time: time
        ).first
    }

    /// From now on there is a catalog that takes records.
    mutating func attachCatalog() {
        run(.record([.init(kind: .leadershipStarted, subject: "n1")], term: nil))
        run(.acknowledgeOutbox(through: .all(of: version)))
    }

    func binding(_ name: String) -> Binding? {
        guard case .binding(let binding) = machine.answer(.binding(name.bytes)).result else { return nil }
        return binding
    }

    var version: LogIndex { machine.applied.index }
}

extension CacheBind {
    static func sample(
        _ name: String, _ kind: Binding.Kind, _ content: UInt64, _ condition: Condition = .byKind,
        expiry: Expiry = .never, mode: StoreMode = .durable
    ) -> CacheBind {
        CacheBind(
            name: name.bytes, kind: kind, manifest: Digest(words: content, 1, 2, 3), size: 100 + content,
            costMilliseconds: 7, mode: mode, tiers: TierSet(.peer), expiry: expiry, condition: condition)
    }
}

extension CacheChangeResult {
    var binding: Binding? {
        switch self {
        case .bound(let binding), .kept(let binding), .quarantined(let binding): binding
        case .conflict(let binding), .evicted(let binding): binding
        case .full: nil
        }
    }

    var word: String {
        switch self {
        case .bound: "bound"
        case .kept: "kept"
        case .conflict: "conflict"
        case .evicted: "evicted"
        case .quarantined: "quarantined"
        case .full: "full"
        }
    }
}

@Suite struct CacheRuleTests {
    @Test func `the first result of an action stays, and one that differs is counted`() {
        var replica = Replica()
        let first = replica.bind("t/a", .action, 1)
        #expect(first?.word == "bound" && first?.binding?.version == LogIndex(1))
        let second = replica.bind("t/a", .action, 2)
        #expect(second == .kept(first!.binding!))
        #expect(replica.machine.cache.summary.differing == 1)
        // The same again is no difference.
        #expect(replica.bind("t/a", .action, 1) == .kept(first!.binding!))
        #expect(replica.machine.cache.summary.differing == 1)
        // Not even whoever knows the version changes it, nor an alias.
        #expect(replica.bind("t/a", .action, 3, .version(LogIndex(1)))?.word == "kept")
        #expect(replica.bind("t/a", .alias, 3)?.word == "kept")
        #expect(replica.binding("t/a") == first?.binding)
    }

    @Test func `an alias is replaced, and by compare-and-set only from the version expected`() {
        var replica = Replica()
        #expect(replica.bind("t/a", .alias, 1, .version(LogIndex(9))) == .conflict(nil))
        #expect(replica.bind("t/a", .alias, 1, .version(nil))?.word == "bound")
        let first = replica.binding("t/a")!
        #expect(replica.bind("t/a", .alias, 2, .version(nil)) == .conflict(first))
        #expect(replica.bind("t/a", .alias, 2)?.word == "bound")
        #expect(replica.bind("t/a", .alias, 3, .version(first.version))?.word == "conflict")
        #expect(replica.bind("t/a", .alias, 3, .version(replica.binding("t/a")!.version))?.word == "bound")
        #expect(replica.binding("t/a")?.manifest == Digest(words: 3, 1, 2, 3))
        #expect(replica.binding("t/a")?.version == replica.version)
        // An alias that lives is there before an action, too.
        #expect(replica.bind("t/a", .action, 4)?.word == "kept")
        #expect(replica.machine.cache.summary.bytes == 103)
    }

    @Test func `an evicted name is bound again under a higher version`() {
        var replica = Replica()
        let first = replica.bind("t/a", .action, 1)!.binding!
        #expect(replica.change([.evict("t/a".bytes, version: LogIndex(99))]) == [.conflict(first)])
        #expect(replica.change([.evict("t/a".bytes, version: first.version)]) == [.evicted(first)])
        #expect(replica.binding("t/a") == nil)
        let tombstone = replica.machine.cache.record("t/a".bytes)
        #expect(tombstone?.state == .tombstone && tombstone?.version == replica.version)
        #expect(replica.output.cacheChanges == [NamedBinding("t/a".bytes, tombstone!)])
        #expect(replica.change([.evict("t/a".bytes, version: nil)]) == [.evicted(nil)])
        #expect(replica.output.cacheChanges.isEmpty)
        #expect(replica.bind("t/a", .action, 2, .version(first.version)) == .conflict(nil))
        let second = replica.bind("t/a", .action, 2)!.binding!
        #expect(second.version > tombstone!.version)
        #expect(replica.machine.cache.summary.tombstones == 0)
        #expect(replica.machine.cache.tombstones.isEmpty)
    }

    @Test func `a quarantine hits only the version it was meant for, and the name can be made again`() {
        var replica = Replica()
        let first = replica.bind("t/a", .action, 1)!.binding!
        #expect(replica.change([.quarantine("t/a".bytes, version: LogIndex(99))]) == [.conflict(first)])
        #expect(replica.change([.quarantine("t/x".bytes, version: LogIndex(1))]) == [.conflict(nil)])
        let marked = replica.change([.quarantine("t/a".bytes, version: first.version)])[0]
        #expect(marked.word == "quarantined" && marked.binding?.version == replica.version)
        #expect(replica.binding("t/a")?.state == .quarantined)
        #expect(replica.machine.cache.summary.quarantined == 1 && replica.machine.cache.summary.live == 0)
        #expect(replica.change([.quarantine("t/a".bytes, version: first.version)]) == [marked])
        // It is no result that would have to stay.
        let second = replica.bind("t/a", .action, 2, .version(nil))!
        #expect(second.word == "bound")
        #expect(replica.change([.quarantine("t/a".bytes, version: first.version)]) == [.conflict(second.binding)])
        #expect(replica.machine.cache.summary.quarantined == 0 && replica.machine.cache.summary.live == 1)
    }

    @Test func `an expired binding reads as absent and leaves a tombstone when it is collected`() {
        var replica = Replica()
        let second: UInt64 = 1_000_000_000
        replica.bind("t/a", .action, 1, expiry: .after(.seconds(5)), time: 10 * second)
        let binding = replica.binding("t/a")!
        #expect(binding.expires == 15 * second)
        #expect(replica.machine.cache.nextExpiry == 15 * second)
        #expect(replica.machine.cache.binding("t/a".bytes, now: 15 * second - 1) == binding)
        #expect(replica.machine.cache.binding("t/a".bytes, now: 15 * second) == nil)
        let name = CacheNameVersion("t/a".bytes, binding.version)
        #expect(replica.run(.cache(.expire([name])), time: 14 * second) == .cache(.expired(count: 0)))
        #expect(replica.machine.cache.expired(now: 14 * second, limit: 9).isEmpty)
        // Bound again once its time is over, collected or not; the old one's collector comes too late.
        #expect(replica.bind("t/a", .action, 2, expiry: .at(17 * second), time: 15 * second)?.word == "bound")
        #expect(replica.run(.cache(.expire([name])), time: 16 * second) == .cache(.expired(count: 0)))
        let due = replica.machine.cache.expired(now: 17 * second, limit: 9)
        #expect(due == [CacheNameVersion("t/a".bytes, replica.binding("t/a")!.version)])
        #expect(replica.run(.cache(.expire(due)), time: 17 * second) == .cache(.expired(count: 1)))
        #expect(replica.binding("t/a") == nil)
        #expect(replica.machine.cache.record("t/a".bytes)?.state == .tombstone)
        #expect(replica.machine.cache.nextExpiry == nil)
        #expect(replica.run(.cache(.expire(due)), time: 18 * second) == .cache(.expired(count: 0)))
    }

    @Test func `tiers are added to the version they were told of, which stays`() {
        var replica = Replica()
        let binding = replica.bind("t/a", .alias, 1)!.binding!
        let notes = [
            CacheTierNote("t/a".bytes, binding.version, TierSet(.archive)),
            CacheTierNote("t/b".bytes, binding.version, TierSet(.archive)),
        ]
        #expect(replica.run(.cache(.noteTiers(notes))) == .cache(.tiersNoted(count: 1)))
        #expect(replica.binding("t/a")?.tiers == [TierSet(.peer), TierSet(.archive)])
        #expect(replica.binding("t/a")?.version == binding.version)
        replica.bind("t/a", .alias, 2)
        #expect(replica.run(.cache(.noteTiers(notes))) == .cache(.tiersNoted(count: 0)))
        #expect(replica.binding("t/a")?.tiers == TierSet(.peer))
    }

    @Test func `tombstones are forgotten once the catalog has seen them, some at a time`() {
        var replica = Replica()
        replica.attachCatalog()
        replica.bind("t/a", .action, 1)
        replica.bind("t/b", .action, 1)
        replica.change([.evict("t/a".bytes, version: nil)])
        let evicted = replica.version
        replica.change([.evict("t/b".bytes, version: nil)])
        let last = replica.version
        func forget(_ through: LogIndex) -> CommandResult { replica.run(.cache(.forgetTombstones(through: through))) }
        #expect(forget(last) == .cache(.tombstonesForgotten(count: 0, more: false)))
        replica.run(.acknowledgeOutbox(through: .all(of: evicted)))
        #expect(forget(last) == .cache(.tombstonesForgotten(count: 1, more: false)))
        #expect(replica.machine.cache.record("t/a".bytes) == nil)
        #expect(replica.machine.cache.oldestTombstone == last)
        replica.run(.acknowledgeOutbox(through: .all(of: last)))
        #expect(forget(evicted) == .cache(.tombstonesForgotten(count: 0, more: false)))
        #expect(forget(last) == .cache(.tombstonesForgotten(count: 1, more: false)))
        #expect(replica.machine.cache.names.isEmpty)
        for batch in 0..<40 {
            let names = (0..<128).map { "t/\(batch)-\($0)" }
            replica.run(.cache(.bind(names.map { .sample($0, .action, 1, mode: .memory) })))
            replica.change(names.map { .evict($0.bytes, version: nil) })
        }
        replica.run(.acknowledgeOutbox(through: .all(of: replica.version)))
        #expect(forget(replica.version) == .cache(.tombstonesForgotten(count: 4096, more: true)))
        #expect(forget(replica.version) == .cache(.tombstonesForgotten(count: 1024, more: false)))
        #expect(replica.machine.cache.names.isEmpty && replica.machine.cache.tombstones.isEmpty)
    }

    @Test func `names that ended wait for no catalog where none has taken anything`() {
        var replica = Replica()
        replica.run(.record([.init(kind: .leadershipStarted, subject: "n1")], term: nil))
        replica.bind("t/a", .action, 1)
        replica.change([.evict("t/a".bytes, version: nil)])
        #expect(replica.machine.cacheChore(now: 0) == .forgetTombstones(through: replica.version))
        let forgotten = replica.run(.cache(.forgetTombstones(through: replica.version)))
        #expect(forgotten == .cache(.tombstonesForgotten(count: 1, more: false)))
        #expect(replica.machine.cache.tombstones.isEmpty)
    }

    @Test func `a leader collects what has expired, and forgets what the catalog has seen`() {
        var replica = Replica()
        replica.attachCatalog()
        #expect(replica.machine.cacheChore(now: 99) == nil)
        for number in 0..<100 {
            let name = "t/\(number)" + String(repeating: "x", count: 1000)
            replica.bind(name, .action, 1, expiry: .at(UInt64(10 + number)), time: 1)
        }
        #expect(replica.machine.cacheChore(now: 9) == nil)
        guard case .expire(let first) = replica.machine.cacheChore(now: 10) else { return wrongAnswer() }
        #expect(first.count == 1)
        // No more than an entry takes.
        var rounds = 0
        while let chore = replica.machine.cacheChore(now: 200), rounds < 9 {
            #expect(throws: Never.self) { try chore.validate() }
            replica.run(.cache(chore), time: 200)
            rounds += 1
        }
        #expect(rounds == 2)
        #expect(replica.machine.cache.summary.tombstones == 100)
        replica.run(.acknowledgeOutbox(through: .all(of: replica.version)))
        guard let chore = replica.machine.cacheChore(now: 200) else { return wrongAnswer() }
        replica.run(.cache(chore))
        #expect(replica.machine.cache.names.isEmpty)
        #expect(replica.machine.cacheChore(now: 200) == nil)
    }

    @Test func `a request proposed twice has one effect`() {
        var replica = Replica()
        guard case .clientRegistered(let client) = replica.run(.registerClient) else { return wrongAnswer() }
        let request = RequestID(client: client, sequence: 1)
        let bind = [CacheChange.bind(.sample("t/a", .alias, 1))]
        let first = replica.change(bind, request: request)
        replica.bind("t/a", .alias, 2)
        #expect(replica.change(bind, request: request) == first)
        #expect(replica.output.results[0].isDuplicate)
        #expect(replica.output.cacheChanges.isEmpty)
        #expect(replica.binding("t/a")?.manifest == Digest(words: 2, 1, 2, 3))
    }

    @Test func `a bulk of names is bound by one entry, each with its own outcome`() {
        var replica = Replica()
        replica.bind("t/7", .action, 1)
        let binds = (0..<128).map { CacheBind.sample("t/\($0)", .action, 5) }
        let results = replica.change(binds.map(CacheChange.bind))
        #expect(results.map(\.word).filter { $0 == "bound" }.count == 127)
        #expect(results[7].word == "kept")
        #expect(replica.machine.cache.summary.live == 128)
        #expect(replica.machine.cache.record("t/9".bytes)?.version == replica.version)
        #expect(replica.output.cacheChanges.count == 127)
        // One that is the largest there can be fits an entry.
        let longest = binds.prefix(54).enumerated().map { place, bind in
            var bind = bind
            bind.name = "t/".bytes + [UInt8](repeating: UInt8(place), count: CacheLimits.nameBytes - 2)
            bind.lineage = bind.manifest
            bind.expiry = .at(1)
            bind.condition = .version(LogIndex(1))
            return bind
        }
        #expect(throws: Never.self) { try CacheCommand.bind(longest).validate() }
        var writer = ByteWriter()
        CacheCommand.bind(longest).encode(into: &writer)
        #expect(writer.bytes.count <= CacheLimits.commandBytes + 5)
        #expect(throws: CacheCommandError.tooLarge) { try CacheCommand.bind(longest + binds.prefix(9)).validate() }
    }

    @Test func `what breaks a limit is refused and changes nothing`() {
        var replica = Replica()
        func refused(_ command: CacheCommand) -> CacheCommandError? {
            guard case .refused(.invalid(.cache(let error))) = replica.run(.cache(command)) else { return nil }
            return error
        }
        func bind(_ change: (inout CacheBind) -> Void) -> CacheCommand {
            var bind = CacheBind.sample("t/a", .action, 1)
            change(&bind)
            return .bind([bind])
        }
        #expect(refused(.change([])) == .count)
        #expect(refused(.expire([])) == .count)
        for name in ["", "a", "/a"] { #expect(refused(bind { $0.name = name.bytes }) == .name) }
        let long = CacheBind.sample("t/" + String(repeating: "x", count: 1023), .action, 1)
        #expect(throws: CacheCommandError.name) { try CacheCommand.bind([long]).validate() }
        #expect(replica.run(.cache(.bind([long]))) == .refused(.malformed(.oversized(1025))))
        #expect(refused(.evict("x".bytes)) == .name)
        #expect(refused(.quarantine([], version: LogIndex(1))) == .name)
        #expect(refused(.noteTiers([.init("x".bytes, LogIndex(1), .all)])) == .name)
        #expect(refused(bind { $0.size = CacheLimits.artifactBytes + 1 }) == .size)
        #expect(refused(bind { $0.expiry = .after(.zero) }) == .expiry)
        #expect(refused(bind { $0.expiry = .after(CacheLimits.maximumLifetime + .seconds(1)) }) == .expiry)
        #expect(refused(bind { $0.expiry = .at(0) }) == .expiry)
        #expect(
            refused(.change([.bind(.sample("t/a", .action, 1)), .evict("t/a".bytes, version: nil)])) == .duplicateName)
        // More than may be are refused by the decoder.
        let many = (0...128).map { CacheBind.sample("t/\($0)", .action, 1) }
        #expect(replica.run(.cache(.bind(many))) == .refused(.malformed(.oversized(129))))
        #expect(replica.machine.cache.names.isEmpty)
        #expect(replica.machine.outbox.count == 0)
        for error in CacheCommandError.allCases { #expect(!error.message.isEmpty) }
    }
}

@Suite struct CacheStateTests {
    @Test func `names are listed in order, page by page, without what is not live`() {
        var replica = Replica()
        for number in 0..<20 { replica.bind("t/\(number + 10)", .action, 1) }
        replica.bind("u/1", .action, 1)
        replica.change([.evict("t/15".bytes, version: nil), .evict("t/11".bytes, version: nil)])
        replica.bind("t/9", .action, 1, expiry: .at(5), time: 6)
        func list(_ prefix: String, after: String? = nil, limit: Int) -> CachePage? {
            guard
                case .bindings(let page) = replica.machine.answer(
                    .bindings(prefix: prefix.bytes, after: after?.bytes, limit: limit)
                ).result
            else { return nil }
            return page
        }
        var found: [String] = []
        var after: String?
        repeat {
            guard let page = list("t/", after: after, limit: 3) else { return wrongAnswer() }
            #expect(page.bindings.count <= 3)
            found += page.bindings.map { String(decoding: $0.name, as: UTF8.self) }
            after = page.next.map { String(decoding: $0, as: UTF8.self) }
        } while after != nil
        #expect(found == (10..<30).filter { $0 != 11 && $0 != 15 }.map { "t/\($0)" })
        #expect(list("t/2", limit: 100)?.bindings.count == 10)
        #expect(list("t/2", after: "t/28", limit: 100)?.bindings.count == 1)
        #expect(list("v", limit: 10) == CachePage())
        #expect(replica.machine.cache.records(after: nil, limit: 100).count == 22)
        #expect(replica.machine.cache.records(after: "t/9".bytes, limit: 100).map(\.name) == ["u/1".bytes])
    }

    /// Changes of every kind over few names, so that they meet.
    static func random(_ random: inout Seeded, versions: UInt64) -> CacheCommand {
        let names = ["t/a", "t/b", "u/a", "t/\u{0}", "t/"].shuffled(using: &random).map(\.bytes)
        let version = LogIndex(
            UInt64.random(in: versions > 20 ? versions - 20...versions : 0...versions, using: &random))
        switch Int.random(in: 0..<8, using: &random) {
        case 0: return .expire(names.prefix(2).map { .init($0, version) })
        case 1: return .noteTiers(names.prefix(2).map { .init($0, version, TierSet(.catalog)) })
        case 2: return .forgetTombstones(through: version)
        default:
            return .change(
                names.prefix(Int.random(in: 1...3, using: &random)).map { name in
                    switch Int.random(in: 0..<6, using: &random) {
                    case 0: return .evict(name, version: Bool.random(using: &random) ? version : nil)
                    case 1: return .quarantine(name, version: version)
                    default:
                        let expiries: [CacheBind.Expiry] = [.never, .after(.seconds(1)), .at(versions * 1_000_000_000)]
                        let conditions: [CacheBind.Condition] = [.byKind, .version(nil), .version(version)]
                        return .bind(
                            CacheBind(
                                name: name, kind: .allCases.randomElement(using: &random)!,
                                manifest: Digest(words: .random(in: 0...3, using: &random), 0, 0, 0),
                                size: .random(in: 0...CacheLimits.artifactBytes, using: &random),
                                costMilliseconds: .random(in: 0 ... .max, using: &random),
                                mode: .allCases.randomElement(using: &random)!,
                                tiers: TierSet(rawValue: .random(in: 0...31, using: &random)),
                                lineage: Bool.random(using: &random) ? Digest(words: 1, 2, 3, 4) : nil,
                                expiry: expiries.randomElement(using: &random)!,
                                condition: conditions.randomElement(using: &random)!))
                    }
                })
        }
    }

    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func `a restored table is the same and goes on the same, and its sums are those of its names`(seed: UInt64) throws {
        var random = Seeded(seed)
        var replica = Replica()
        replica.run(.configure(.init(maximumOutboxRecords: seed % 2 == 0 ? 1 << 20 : 30)))
        var highest: [[UInt8]: LogIndex] = [:]
        for step in 0..<200 as Range<UInt64> {
            let command = Self.random(&random, versions: replica.version.rawValue)
            replica.run(.cache(command), time: step * 300_000_000)
            if step == 3 { replica.attachCatalog() }
            if step % 17 == 0 { replica.run(.acknowledgeOutbox(through: .all(of: replica.version))) }
            for change in replica.output.cacheChanges {
                // A version never repeats for a name, tiers aside.
                if case .noteTiers = command { continue }
                #expect(change.binding.version > highest[change.name] ?? .zero)
                #expect(command.changedNames.contains(change.name))
                highest[change.name] = change.binding.version
            }
            if step % 23 == 0 {
                let copy = try restored(replica.machine, piece: 77)
                #expect(copy.stateHash == replica.machine.stateHash)
                #expect(copy.cache.summary == replica.machine.cache.summary)
                #expect(copy.applyChain == replica.machine.applyChain)
                replica.machine = copy
            }
        }
        let table = replica.machine.cache
        table.names.checkInvariants()
        table.expiring.checkInvariants()
        table.tombstones.checkInvariants()
        let all = table.records(after: nil, limit: 100).map(\.binding)
        #expect(table.summary.live == all.count { $0.state == .live })
        #expect(table.summary.quarantined == all.count { $0.state == .quarantined })
        #expect(table.summary.tombstones == all.count { $0.state == .tombstone })
        #expect(table.summary.expiring == all.count { $0.expires != 0 })
        #expect(table.summary.bytes == all.reduce(0) { $0 + ($1.state == .tombstone ? 0 : $1.size) })
    }

    @Test func `a snapshot of format 6, which has no names, is restored`() throws {
        var replica = Replica()
        replica.put("key", "value")
        let stream = SnapshotEncoder(replica.machine).flatMap { $0 }
        let frames = try SnapshotFormatOne.frames(of: stream)
        guard frames.count == 2 else { return wrongAnswer() }
        var digest = Digest64(seed: 6)
        digest.add(frames[0])
        var hash = ByteWriter()
        hash.write(digest.value)
        let end = frames[1].dropLast(16) + hash.bytes
        let old = Array(stream[..<8]) + [6, 0] + SnapshotFormatOne.frame(frames[0]) + SnapshotFormatOne.frame(end)
        var decoder = SnapshotDecoder()
        try decoder.feed(old)
        let machine = try decoder.finish()
        #expect(machine.stateHash == replica.machine.stateHash)
        #expect(machine.cache.summary == CacheTable().summary)
    }

    @Test func `bindings survive their packing`() {
        for kind in Binding.Kind.allCases {
            for state in Binding.State.allCases {
                let binding = Binding(
                    kind: kind, state: state, manifest: Digest(words: 1, 2, 3, 4), version: LogIndex(.max),
                    costMilliseconds: .max, size: CacheLimits.artifactBytes, tiers: .all,
                    lineage: kind == .action ? Digest(words: 5, 6, 7, 8) : nil, expires: state == .live ? .max : 0)
                #expect(PackedBinding(binding).binding == binding)
            }
        }
        #expect(MemoryLayout<PackedBinding>.stride == 64)
    }

    @Test func `what happened to names is told to the catalog, with who asked`() {
        var replica = Replica()
        // There is nobody to be told yet.
        replica.bind("t/x", .alias, 1)
        #expect(replica.machine.outbox.count == 0 && replica.machine.cache.summary.unprojected == 1)
        replica.attachCatalog()
        replica.principal = "client/ann"
        replica.bind("t/a", .alias, 1, expiry: .at(77))
        let version = replica.version.rawValue
        replica.change([.evict("t/a".bytes, version: nil), .bind(.sample("t/b", .action, 2))])
        replica.run(
            .cache(
                .bind([
                    CacheBind(
                        name: "t/".bytes + [0xff], kind: .action, manifest: Digest(words: 1, 1, 2, 3), size: 1,
                        mode: .archived,
                        tiers: TierSet(.archive), lineage: Digest(words: 0, 0, 0, 1))
                ])))
        let records = replica.machine.outboxRecords(after: .zero, limit: 10)
        #expect(records.map(\.kind.name) == ["cache.bound", "cache.evicted", "cache.bound", "cache.bound"])
        #expect(records.allSatisfy { $0.actor == "client/ann" })
        #expect(records[0].subject == "t/a")
        #expect(
            records[0].fields.map { "\($0.name)=\($0.value)" } == [
                "version=\(version)", "kind=alias", "manifest=\(Digest(words: 1, 1, 2, 3))", "size=101", "cost_ms=7",
                "tiers=2", "mode=durable", "expires=77",
            ])
        #expect(records[1].fields == [.init("version", "\(version + 1)")])
        #expect(records[3].fields[1] == .init("name_hex", "742fff"))
        #expect(records[3].fields.last == .init("lineage", String(repeating: "0", count: 63) + "1"))
    }

    @Test func `with a full outbox nothing durable is bound, and what is not told is counted`() {
        var replica = Replica()
        replica.attachCatalog()
        replica.run(.configure(.init(maximumOutboxRecords: 3)))
        replica.bind("t/a", .alias, 1)
        replica.bind("t/b", .alias, 1)
        #expect(replica.run(.cache(.bind([.sample("t/c", .alias, 1)]))) == .refused(.outboxFull))
        #expect(replica.bind("t/c", .alias, 1, mode: .memory)?.word == "bound")
        #expect(replica.machine.outbox.count == 3 && replica.machine.cache.summary.unprojected == 1)
        for _ in 0..<2 {
            for name in ["t/a", "t/b", "t/c"] {
                #expect(replica.change([.evict(name.bytes, version: nil)]).first?.word == "evicted")
                replica.bind(name, .alias, 2, mode: .memory)
            }
        }
        #expect(replica.machine.outbox.count == 6)
        #expect(replica.machine.cache.summary.unprojected == 10)
        replica.run(.acknowledgeOutbox(through: .all(of: replica.version)))
        #expect(replica.bind("t/c", .alias, 3)?.word == "bound")
    }

    @Test func `names are keys of permissions under a prefix of their own`() {
        var replica = Replica()
        replica.principal = "node/n1"
        for command in [
            AuthCommand.addUser(name: "root", passwordHash: []), .grantRole(user: "root", role: "root"),
            .addUser(name: "ann", passwordHash: []), .addRole(name: "r"), .grantRole(user: "ann", role: "r"),
            .grantPermission(role: "r", .init(.prefix("_cache/t/".bytes), .readWrite)),
            .grantPermission(role: "r", .init(.prefix("_cache/u/".bytes), .read)),
            .grantPermission(role: "r", .init(.prefix("_cache/w/".bytes), .write)),
            .enable(secret: [UInt8](repeating: 1, count: 32)),
        ] { replica.run(.auth(command)) }
        replica.principal = "client/ann"
        #expect(replica.bind("t/a", .action, 1)?.word == "bound")
        for name in ["u/a", "w/a", "x/a"] {
            #expect(replica.run(.cache(.bind([.sample(name, .action, 1)]))) == .refused(.permissionDenied))
        }
        #expect(replica.run(.cache(.expire([.init("t/a".bytes, LogIndex(1))]))) == .refused(.permissionDenied))
        func answer(_ query: Query) -> QueryResult { replica.machine.answer(query, to: "client/ann").result }
        #expect(answer(.binding("t/a".bytes)) == .binding(replica.binding("t/a")))
        #expect(answer(.binding("u/a".bytes)) == .binding(nil))
        #expect(answer(.binding("w/a".bytes)) == .refused(.permissionDenied))
        #expect(answer(.bindings(prefix: "".bytes, after: nil, limit: 1)) == .refused(.permissionDenied))
        guard case .bindings(let page) = answer(.bindings(prefix: "t/".bytes, after: nil, limit: 1)) else {
            return wrongAnswer()
        }
        #expect(page.bindings.count == 1)
    }
}
