import Coordination
import EsperTypes
import Testing

@Suite struct WatchTests {
    /// Runs commands and publishes, as the runtime does.
    struct Node {
        var replica = Replica()
        var registry = WatchRegistry()
        var deliveries: [WatchDelivery] = []

        mutating func put(_ key: String, _ value: String = "") {
            replica.put(key, value)
            publish()
        }

        mutating func run(_ command: Command) {
            replica.run(command)
            publish()
        }

        mutating func publish() {
            registry.publish(replica.output.events, through: replica.machine.revision, into: &deliveries)
        }

        mutating func watch(_ request: WatchRequest, credit: Int = 1 << 20) -> WatchID {
            registry.add(request, credit: credit, at: replica.machine.revision)
        }

        mutating func catchUp(_ budget: Int = 1000) {
            registry.catchUp(from: replica.machine, maximumEvents: budget, into: &deliveries)
        }

        func events(_ watcher: WatchID) -> [WatchEvent] {
            var found: [WatchEvent] = []
            for delivery in deliveries where delivery.watcher == watcher {
                if case .events(let events, _) = delivery.content { found += events }
            }
            return found
        }

        func keys(_ watcher: WatchID) -> [String] {
            events(watcher).map { String(decoding: $0.key, as: UTF8.self) }
        }
    }

    @Test func `watchers see their keys, prefixes and ranges, and nothing else`() {
        var node = Node()
        let key = node.watch(.init(.key("b".bytes)))
        let prefix = node.watch(.init(.prefix("b".bytes)))
        let range = node.watch(.init(.keys(from: "aa".bytes, before: "ba".bytes)))
        let rest = node.watch(.init(.from("bb".bytes)))
        let all = node.watch(.init(.all))
        for name in ["a", "aa", "b", "ba", "bb", "c"] { node.put(name) }
        #expect(node.keys(key) == ["b"])
        #expect(node.keys(prefix) == ["b", "ba", "bb"])
        #expect(node.keys(range) == ["aa", "b"])
        #expect(node.keys(rest) == ["bb", "c"])
        #expect(node.keys(all) == ["a", "aa", "b", "ba", "bb", "c"])
        node.registry.remove(all)
        node.put("a")
        #expect(node.keys(all).count == 6)
    }

    @Test func `filters and previous values are as asked for`() {
        var node = Node()
        let puts = node.watch(.init(.all, skipsDeletions: true))
        let deletions = node.watch(.init(.all, skipsPuts: true, includesPrevious: true))
        node.put("a", "1")
        node.run(.delete(.init(.key("a".bytes))))
        #expect(node.events(puts).map(\.isDeletion) == [false])
        #expect(node.events(deletions).map(\.previous?.value) == ["1".bytes])
        #expect(node.events(puts)[0].previous == nil)
    }

    @Test func `a watch from the past goes on into the present without gap or duplicate`() {
        var node = Node()
        for value in 0..<10 { node.put("a", "\(value)") }
        let watcher = node.watch(.init(.key("a".bytes), fromRevision: Revision(5)))
        #expect(node.registry.needsCatchUp)
        node.catchUp(3)
        node.put("a", "between")
        while node.registry.needsCatchUp { node.catchUp(3) }
        node.put("a", "after")
        #expect(node.events(watcher).map(\.revision.rawValue) == Array(5...13))
        #expect(node.registry.progress(of: watcher) == Revision(13))
    }

    @Test func `a watch of the future waits for its revision`() {
        var node = Node()
        let watcher = node.watch(.init(.all, fromRevision: Revision(4)))
        for name in ["a", "b", "c"] { node.put(name) }
        #expect(node.keys(watcher) == ["c"])
    }

    @Test func `a watch of compacted history is cancelled and told where to start`() {
        var node = Node()
        for _ in 0..<5 { node.put("a") }
        node.run(.compact(through: Revision(4)))
        let watcher = node.watch(.init(.all, fromRevision: Revision(3)))
        let next = node.watch(.init(.all, fromRevision: Revision(4)))
        node.catchUp()
        #expect(node.deliveries.filter { $0.watcher == watcher }.map(\.content) == [.compacted(at: Revision(4))])
        #expect(node.registry.progress(of: watcher) == nil)
        #expect(node.events(next).map(\.revision.rawValue) == [4, 5, 6])
    }

    @Test func `a watch from the compacted revision misses nothing of it, whenever it begins and wherever`() throws {
        var node = Node()
        for name in ["gone", "kept", "other"] { node.put(name) }
        node.run(
            .transaction(
                .init(success: [
                    .put(.init(key: "new".bytes, value: "1".bytes)), .delete(.init(.key("gone".bytes))),
                    .put(.init(key: "kept".bytes, value: "2".bytes)),
                ])))
        node.put("last")
        node.run(.compact(through: Revision(5)))
        let compacted = node.replica.machine
        for _ in 0..<9 { node.run(.registerClient) }
        let machines = try [compacted, node.replica.machine, restored(compacted), restored(node.replica.machine)]
        for machine in machines {
            var other = Node(replica: Replica(machine))
            let watcher = other.watch(.init(.all, fromRevision: Revision(5), includesPrevious: true))
            other.catchUp()
            #expect(other.keys(watcher) == ["gone", "kept", "new", "last"])
            #expect(other.events(watcher).map(\.isDeletion) == [true, false, false, false])
            #expect(other.events(watcher).allSatisfy { $0.previous == nil })
            #expect(try restored(machine).stateHash == machine.stateHash)
            #expect(Replica(machine).get("kept", at: Revision(5)) == "2")
        }
        // What is compacted next forgets it too.
        node.run(.compact(through: Revision(6)))
        for _ in 0..<9 { node.run(.registerClient) }
        #expect(node.replica.machine.keyspace.log.count == 1)
        #expect(node.replica.machine.keyspace.superseded.isEmpty)
    }

    @Test func `a slow reader costs nothing and gets everything later`() {
        var node = Node()
        let watcher = node.watch(.init(.all), credit: 200)
        for _ in 0..<20 { node.put("key", String(repeating: "x", count: 50)) }
        let told = node.events(watcher).count
        #expect(told == 2, "117 bytes each: the second overdraws")
        #expect(!node.registry.needsCatchUp)
        node.registry.addCredit(300, to: watcher)
        node.catchUp()
        #expect(node.events(watcher).count == 5)
        node.registry.addCredit(1 << 20, to: watcher)
        node.catchUp()
        node.put("key")
        #expect(node.events(watcher).map(\.revision.rawValue) == Array(2...22))
    }

    @Test func `watches of one reader share what may be on the way to it, and none that is read waits`() {
        var node = Node()
        node.registry = WatchRegistry(readerBytes: 1000)
        let unread = (0..<100).map { _ in
            node.registry.add(.init(.all), credit: 1 << 20, reader: 7, at: node.replica.machine.revision)
        }
        let alone = node.watch(.init(.all))
        for _ in 0..<20 { node.put("key", String(repeating: "x", count: 50)) }
        // 117 bytes each: nine in the window, and one for each watch.
        #expect(node.registry.undeliveredBytes <= (9 + 100 + 20) * 117)
        #expect(unread.allSatisfy { !node.events($0).isEmpty })
        #expect(node.events(alone).count == 20)
        #expect(node.registry.count(of: 7) == 100)
        node.catchUp()
        #expect(!node.registry.needsCatchUp)
        // One that is read goes on, while the others are not.
        var seen = 0
        while node.events(unread[99]).count > seen {
            let events = node.events(unread[99])
            node.registry.addCredit(events[seen...].reduce(0) { $0 + $1.cost }, to: unread[99])
            seen = events.count
            node.catchUp()
        }
        #expect(node.events(unread[99]).map(\.revision.rawValue) == Array(2...21))
        // Then all are, each a little at a time.
        var read = [Int](repeating: 0, count: 100)
        while node.registry.undeliveredBytes > 20 * 117 {
            for (position, watcher) in unread.enumerated() {
                let events = node.events(watcher)
                node.registry.addCredit(events[read[position]...].reduce(0) { $0 + $1.cost }, to: watcher)
                read[position] = events.count
            }
            node.catchUp()
        }
        for watcher in unread { #expect(node.events(watcher).map(\.revision.rawValue) == Array(2...21)) }
        node.registry.remove(alone)
        for watcher in unread { node.registry.remove(watcher) }
        #expect(node.registry.undeliveredBytes == 0 && node.registry.count(of: 7) == 0)
    }

    @Test func `what a watch that ends had on the way makes room for the others of its reader`() {
        var node = Node()
        node.registry = WatchRegistry(readerBytes: 500)
        let first = node.registry.add(.init(.all), credit: 1 << 20, reader: 7, at: node.replica.machine.revision)
        for _ in 0..<20 { node.put("key", String(repeating: "x", count: 50)) }
        let second = node.registry.add(
            .init(.all, fromRevision: Revision(2)), credit: 1 << 20, reader: 7, at: node.replica.machine.revision)
        node.catchUp()
        #expect(node.events(second).count == 1)
        node.registry.remove(first)
        node.catchUp()
        #expect(node.events(second).count > 3)
    }

    @Test func `one revision stays together, and says so when it has to be cut`() {
        var node = Node()
        let watcher = node.watch(.init(.all, fromRevision: Revision(1)), credit: 4 << 20)
        let session = node.replica.session()
        for key in 0..<40 {
            node.run(.put(.init(key: "k\(key)".bytes, value: [UInt8](repeating: 1, count: 50_000), session: session)))
        }
        node.deliveries = []
        let late = node.watch(.init(.all, fromRevision: Revision(42), includesPrevious: true), credit: 16 << 20)
        node.run(.revokeSession(session))
        while node.registry.needsCatchUp { node.catchUp() }
        let pieces = node.deliveries.filter { $0.watcher == late }
        #expect(node.events(late).count == 40)
        for (position, piece) in pieces.enumerated() {
            guard case .events(_, let continues) = piece.content else { continue }
            #expect(continues == (position < pieces.count - 1))
        }
        _ = watcher
    }

    @Test func `after a restored snapshot watchers go on from its history`() throws {
        var node = Node()
        let watcher = node.watch(.init(.all))
        node.put("a")
        var ahead = Replica(node.replica.machine)
        for name in ["b", "c"] { ahead.put(name, "") }
        node.replica = Replica(try restored(ahead.machine))
        node.registry.stateRestored(at: node.replica.machine.revision)
        node.catchUp()
        node.put("d")
        #expect(node.keys(watcher) == ["a", "b", "c", "d"])
    }

    @Test(arguments: 1...15 as ClosedRange<UInt64>)
    func `every watcher gets every event of its range once and in order, however slow`(seed: UInt64) {
        var random = Seeded(seed)
        var node = Node()
        var requests: [(WatchID, WatchRequest, first: Revision)] = []
        let names = ["a", "ab", "abc", "b", "c", "ca"]
        var all: [WatchEvent] = []
        for step in 0..<300 {
            node.replica.output.removeAll()
            var events: [WatchEvent] = []
            for _ in 0..<Int.random(in: 0...3, using: &random) {
                let key = names.randomElement(using: &random)!.bytes
                switch Int.random(in: 0..<3, using: &random) {
                case 0: node.replica.run(.delete(.init(.keys(from: key, before: "z".bytes))))
                default: node.replica.run(.put(.init(key: key, value: "\(step)".bytes)))
                }
                events += node.replica.output.events
            }
            all += events
            node.registry.publish(events, through: node.replica.machine.revision, into: &node.deliveries)
            if requests.count < 25, Bool.random(using: &random) {
                let name = names.randomElement(using: &random)!.bytes
                let ranges: [KeyRange] = [
                    .key(name), .prefix(name), .from(name), .all, .keys(from: "aa".bytes, before: name + [0x7f]),
                ]
                let revision = node.replica.machine.revision
                let from = UInt64.random(in: 0...revision.rawValue + 4, using: &random)
                let request = WatchRequest(
                    ranges.randomElement(using: &random)!, fromRevision: Revision(from),
                    skipsDeletions: Int.random(in: 0..<4, using: &random) == 0, includesPrevious: true)
                let id = node.watch(request, credit: Int.random(in: 0...300, using: &random))
                requests.append((id, request, from == 0 ? revision.next : Revision(from)))
            }
            if let (id, _, _) = requests.randomElement(using: &random) {
                node.registry.addCredit(Int.random(in: 0...900, using: &random), to: id)
            }
            if Int.random(in: 0..<3, using: &random) == 0 { node.catchUp(Int.random(in: 1...20, using: &random)) }
        }
        for (id, _, _) in requests { node.registry.addCredit(1 << 30, to: id) }
        while node.registry.needsCatchUp { node.catchUp(50) }
        for (id, request, first) in requests {
            let expected = all.filter {
                $0.revision >= first && request.range.contains($0.key) && !($0.isDeletion && request.skipsDeletions)
            }
            #expect(node.events(id) == expected, "seed \(seed) \(request)")
        }
    }

    @Test func `many ranges are matched as a naive list matches them`() {
        var random = Seeded(3)
        var node = Node()
        var watched: [(WatchID, KeyRange)] = []
        for _ in 0..<400 {
            let low = "\(Int.random(in: 100..<999, using: &random))".bytes
            let high = "\(Int.random(in: 100..<999, using: &random))".bytes
            let range: KeyRange =
                switch Int.random(in: 0..<5, using: &random) {
                case 0: .key(low)
                case 1: .prefix(Array(low.dropLast()))
                case 2: .from(low)
                default: .keys(from: low, before: high)
                }
            watched.append((node.watch(.init(range), credit: 1 << 30), range))
        }
        for _ in 0..<150 {
            let gone = watched.remove(at: Int.random(in: watched.indices, using: &random))
            node.registry.remove(gone.0)
        }
        for _ in 0..<100 {
            let key = "\(Int.random(in: 100..<999, using: &random))".bytes
            node.deliveries = []
            node.run(.put(.init(key: key, value: [])))
            let expected = watched.filter { $0.1.contains(key) }.map(\.0).sorted()
            #expect(node.deliveries.map(\.watcher).sorted() == expected)
        }
    }
}
