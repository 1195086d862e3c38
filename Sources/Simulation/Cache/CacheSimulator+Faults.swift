import CacheCore
import Coordination
import EsperTypes

// What happens, and its end.
extension CacheSimulator {
    mutating func act() {
        let up = (0..<3).filter { nodes[$0].isUp }
        guard let node = random.pick(up), let name = random.pick(names) else { return }
        switch random.int(in: 0...99) {
        case 0..<10:
            // Many write one action, each its own bytes.
            for _ in 0..<random.int(in: 1...8) { write(name, .action, at: random.pick(up)!) }
        case 10..<24: write(Array("t/alias".utf8), .alias, at: node)
        case 24..<34:
            for _ in 0..<random.int(in: 1...12) { read(name, at: random.pick(up)!, wantsToMake: true) }
        case 34..<51: read(random.chance(1, in: 2) ? name : Array("t/alias".utf8), at: node, wantsToMake: false)
        case 51..<54: moveShards()
        case 54..<64: evict(random.chance(1, in: 2) ? name : Array("t/alias".utf8), at: node)
        case 64..<70:
            let kind = random.pick([CacheTier.redis, .peer, .catalog, .archive])!
            evict(name, from: kind, at: node)
        case 70..<78: collectAmidStores(at: up)
        case 78..<81: demoteAmidStores(at: up)
        case 81..<85: sync(node, with: (node + random.int(in: 1...2)) % 3)
        case 85..<88: lose(at: node)
        case 88..<91: crash(node, for: 100...30_000)
        case 91..<94: nodes[node].isolatedUntil = now + random.int(in: 500...20_000)
        case 94..<97:
            if let tier = random.pick(tiers.indices) { tiers[tier].brokenUntil = now + random.int(in: 500...40_000) }
        default: damage(at: node)
        }
    }

    /// Writers come with what was sent long ago while all nodes collect.
    private mutating func collectAmidStores(at up: [Int]) {
        for name in names {
            after(random.int(in: 0...1000)) { $0.write(name, .alias, at: $0.random.pick(up)!) }
        }
        for number in 0..<12 {
            let name = Array("t/again\(number % 4)".utf8)
            let time = random.pick([1000, 3000, 6000, 30_000])!
            after(random.int(in: 0...time)) { $0.write(name, .alias, at: $0.random.pick(up)!, isDirect: true) }
        }
        for node in up {
            after(random.int(in: 0...1000)) { if $0.nodes[node].isUp { $0.collect(at: node) } }
            for kind in [CacheTier.catalog, .archive] {
                after(random.int(in: 0...3000)) { if $0.nodes[node].isUp { $0.collect(from: kind, at: node) } }
            }
        }
        // Once or twice within a collection.
        let node = random.pick(up)!
        for _ in 0..<random.int(in: 0...2) {
            after(random.int(in: 0...4000)) { if $0.nodes[node].isUp { $0.crash(node, for: 50...1000) } }
        }
    }

    /// Two nodes move what is unused, while some of it is wanted again.
    private mutating func demoteAmidStores(at up: [Int]) {
        if let archive = tiers.firstIndex(where: { $0.kind == .archive }) {
            tiers[archive].lies = random.chance(1, in: 2)
        }
        for node in up.prefix(2) { after(random.int(in: 0...2000)) { if $0.nodes[node].isUp { $0.demote(at: node) } } }
        let name = random.pick(names)!
        after(random.int(in: 0...1000)) { $0.write(name, .alias, at: $0.random.pick(up)!) }
    }

    /// Every name gets another coordinator, of which each node hears at its own time, while all want to make what is missing.
    private mutating func moveShards() {
        mapEpoch += 1
        // Whoever has the right from the one before goes on.
        for name in names { rights[name, default: 1] += 1 }
        for node in nodes.indices {
            hear(of: mapEpoch, at: node, in: random.chance(1, in: 2) ? random.int(in: 1000...20_000) : 0)
        }
        let name = random.pick(names)!
        for node in nodes.indices {
            after(random.int(in: 0...3000)) {
                if $0.nodes[node].isUp { $0.read(name, at: node, wantsToMake: true) }
            }
        }
    }

    private mutating func hear(of epoch: UInt64, at node: Int, in delay: Int) {
        after(delay) { simulator in
            guard simulator.answers(node) else { return simulator.hear(of: epoch, at: node, in: 500) }
            simulator.nodes[node].mapEpoch = max(simulator.nodes[node].mapEpoch, epoch)
        }
    }

    mutating func read(_ name: Bytes, at node: Int, wantsToMake: Bool) {
        let deadline = now + random.int(in: 500...60_000)
        retrieve(name, at: node, wantsToMake: wantsToMake, by: deadline) { simulator, got in
            if case .make(let number) = got { simulator.make(name, number, at: node) }
        }
    }

    private mutating func write(_ name: Bytes, _ kind: Binding.Kind, at node: Int, isDirect: Bool = false) {
        // What was stored before, or sent and never named, may come again.
        let old = outputs > 0 && (isDirect || random.chance(1, in: 2))
        if !old { outputs += 1 }
        let artifact = artifact(name, output: old ? random.int(in: max(1, outputs - 40)...outputs) : outputs)
        var writing = Writing(name: name, kind: kind, mode: random.pick([.memory, .durable, .durable, .archived])!)
        writing.pause = random.chance(1, in: 8) ? random.int(in: 1...26) * Self.hour : random.int(in: 0...3000)
        writing.crashes = random.chance(1, in: 6)
        writing.isDirect = isDirect
        write(artifact, writing, at: node) { _, _ in }
    }

    mutating func crash(_ node: Int, for time: ClosedRange<Int>) {
        report.crashes += 1
        nodes[node].isUp = false
        nodes[node].boot += 1
        after(random.int(in: time)) { $0.restart(node) }
    }

    /// With its disk; everything on it counts as used now.
    private mutating func restart(_ node: Int) {
        var new = Node(tokens: newTokens(nodes[node].boot * 3 + node))
        new.boot = nodes[node].boot
        new.isolatedUntil = nodes[node].isolatedUntil
        new.disk = nodes[node].disk.mapValues { Copy(bytes: $0.bytes, touched: now) }
        new.promises = nodes[node].promises
        new.mapEpoch = nodes[node].mapEpoch
        new.holds.restarted(
            mutant == .forgetsPromises ? CondemnedBlobs() : new.promises, at: instant,
            quiet: .milliseconds(mutant == .startsAtOnce ? 0 : Self.settling),
            condemnation: .milliseconds(Self.condemnation))
        nodes[node] = new
        for name in outstanding[node].keys { rights[name, default: 1] += 1 }
        outstanding[node] = [:]
    }

    /// A disk loses a copy, never the last one; nor the last but for garbage, which somebody may be about to name.
    private mutating func lose(at node: Int) {
        for digest in nodes[node].disk.keys.sorted() where random.chance(1, in: 2) {
            let copy = nodes[node].disk.removeValue(forKey: digest)
            let isNamed = durable.values.contains { closures[$0]!.contains(digest) }
            let isSafe =
                isNamed
                ? isKept(digest)
                : nodes.contains { $0.disk[digest].map { now - $0.touched < Self.grace } ?? false }
            if isSafe { lostAt[digest] = now } else { nodes[node].disk[digest] = copy }
        }
    }

    /// The memory of a node is needed for something else, and bits of the tiers change, never of one of the last two copies. Whoever reads them
    /// has them discarded, while others put them there again and lose copies of their own.
    private mutating func damage(at node: Int) {
        nodes[node].memory = [:]
        for tier in tiers.indices {
            for digest in tiers[tier].blobs.keys.sorted() where random.chance(1, in: 2) {
                let sound = tiers[tier].blobs[digest]!
                tiers[tier].rot(digest)
                // One of the others may be on its way out because this one was there.
                if copies(of: digest) < 2, tiers[tier].kind != .redis { tiers[tier].blobs[digest] = sound }
            }
        }
        for name in names + (0..<4).map({ Array("t/again\($0)".utf8) }) {
            for _ in 0..<2 {
                after(random.int(in: 0...2000)) {
                    if $0.nodes[node].isUp { $0.read(name, at: node, wantsToMake: false) }
                }
                after(random.int(in: 0...4000)) { $0.write(name, .alias, at: node, isDirect: true) }
            }
        }
        for other in 0..<3 { after(random.int(in: 3000...9000)) { $0.lose(at: other) } }
    }

    // MARK: The end

    mutating func settle() {
        guard report.violation == nil else { return }
        isCalm = true
        for node in nodes.indices {
            nodes[node].isolatedUntil = 0
            if !nodes[node].isUp { restart(node) }
            nodes[node].mapEpoch = mapEpoch
        }
        for tier in tiers.indices { tiers[tier].brokenUntil = 0 }
        drain(until: now + 200_000)
        for _ in 0..<2 {
            for node in 0..<3 { for other in 0..<3 where other != node { sync(node, with: other) } }
            drain(until: now + 20_000)
        }
        let wanted = Set(durable.values.flatMap { closures[$0]! })
        for node in 0..<3 {
            let other = (node + 1) % 3
            let (mine, theirs) = (
                tree(of: node, with: other, wanted: wanted), tree(of: other, with: node, wanted: wanted)
            )
            if mine.node != theirs.node {
                violate(.settles, "nodes \(node) and \(other) keep different copies")
            }
        }
        throwAway()
        for name in names + [Array("t/alias".utf8)] {
            let isBound = durable[name] != nil
            let node = random.int(in: 0...2)
            retrieve(name, at: node, wantsToMake: true, by: now + 30_000) { simulator, got in
                switch got {
                case .found: break
                case .make(let number) where !isBound: simulator.make(name, number, at: node)
                case .make, .absent, .failed:
                    simulator.violate(.settles, "\(String(decoding: name, as: UTF8.self)) is \(got)")
                }
            }
        }
        drain(until: now + 60_000)
    }

    /// What names refer to.
    private var wanted: Set<Digest> {
        let manifests = table.bindings(prefix: [], after: nil, limit: 1000, now: 0).bindings.map(\.binding.manifest)
        return Set(manifests.flatMap { closures[$0]! })
    }

    /// What nothing refers to goes in the end, though holders give each other what they lack.
    private mutating func throwAway() {
        for _ in 0..<2 {
            drain(until: now + Self.grace + Self.hour)
            for node in 0..<3 {
                collect(at: node)
                drain(until: now + 20_000)
                for kind in [CacheTier.catalog, .archive] {
                    collect(from: kind, at: node)
                    drain(until: now + 20_000)
                }
                for other in 0..<3 where other != node { sync(node, with: other) }
                drain(until: now + 20_000)
            }
        }
        let wanted = wanted
        let kept = nodes.map(\.disk) + tiers.filter { $0.kind != .redis }.map(\.blobs)
        if kept.contains(where: { !wanted.isSuperset(of: $0.keys) }) {
            violate(.gone, "what nothing refers to is kept")
        }
    }
}
