import CacheCore
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
        case 34..<54: read(random.chance(1, in: 2) ? name : Array("t/alias".utf8), at: node, wantsToMake: false)
        case 54..<64: evict(random.chance(1, in: 2) ? name : Array("t/alias".utf8), at: node)
        case 64..<70:
            let kind = random.pick([CacheTier.redis, .peer, .catalog, .archive])!
            evict(name, from: kind, at: node)
        case 70..<78: collectAmidStores(at: up)
        case 78..<84: sync(node, with: (node + random.int(in: 1...2)) % 3)
        case 84..<88: lose(at: node)
        case 88..<91: crash(node)
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
        for node in up { after(random.int(in: 0...1000)) { if $0.nodes[node].isUp { $0.collect(at: node) } } }
    }

    mutating func read(_ name: Bytes, at node: Int, wantsToMake: Bool) {
        let deadline = now + random.int(in: 500...60_000)
        retrieve(name, at: node, wantsToMake: wantsToMake, by: deadline) { simulator, got in
            if case .make(let number) = got { simulator.make(name, number, at: node) }
        }
    }

    private mutating func write(_ name: Bytes, _ kind: Binding.Kind, at node: Int) {
        // What was stored before, or sent and never named, may come again.
        let old = outputs > 0 && random.chance(1, in: 2)
        if !old { outputs += 1 }
        let artifact = artifact(name, output: old ? random.int(in: max(1, outputs - 40)...outputs) : outputs)
        var writing = Writing(name: name, kind: kind, mode: random.pick([.memory, .durable, .durable, .archived])!)
        writing.pause = random.chance(1, in: 8) ? random.int(in: 1...26) * Self.hour : random.int(in: 0...3000)
        writing.crashes = random.chance(1, in: 6)
        write(artifact, writing, at: node) { _, _ in }
    }

    private mutating func crash(_ node: Int) {
        report.crashes += 1
        nodes[node].isUp = false
        nodes[node].boot += 1
        after(random.int(in: 100...30_000)) { $0.restart(node) }
    }

    /// With its disk; everything on it counts as used now.
    private mutating func restart(_ node: Int) {
        var new = Node(tokens: newTokens(nodes[node].boot * 3 + node))
        new.boot = nodes[node].boot
        new.isolatedUntil = nodes[node].isolatedUntil
        new.disk = nodes[node].disk.mapValues { Copy(bytes: $0.bytes, touched: now) }
        nodes[node] = new
        for name in outstanding[node].keys { rights[name, default: 1] += 1 }
        outstanding[node] = [:]
    }

    /// A disk loses a copy, never the last one.
    private mutating func lose(at node: Int) {
        for digest in nodes[node].disk.keys.sorted() where random.chance(1, in: 2) {
            let copy = nodes[node].disk.removeValue(forKey: digest)
            if isKept(digest) { lostAt[digest] = now } else { nodes[node].disk[digest] = copy }
        }
    }

    /// Bits of Redis change, or the memory of a node is needed for something else.
    private mutating func damage(at node: Int) {
        nodes[node].memory = [:]
        guard let redis = tiers.firstIndex(where: { $0.kind == .redis }) else { return }
        for digest in tiers[redis].blobs.keys.sorted() where random.chance(1, in: 2) {
            tiers[redis].blobs[digest]?[0] ^= 64
        }
    }

    // MARK: The end

    mutating func settle() {
        guard report.violation == nil else { return }
        isCalm = true
        for node in nodes.indices {
            nodes[node].isolatedUntil = 0
            if !nodes[node].isUp { restart(node) }
        }
        for tier in tiers.indices { tiers[tier].brokenUntil = 0 }
        drain(until: now + 200_000)
        for _ in 0..<2 {
            for node in 0..<3 { for other in 0..<3 where other != node { sync(node, with: other) } }
            drain(until: now + 20_000)
        }
        for node in 0..<3 {
            let other = (node + 1) % 3
            if tree(of: node, with: other).node != tree(of: other, with: node).node {
                violate(.settles, "nodes \(node) and \(other) keep different copies")
            }
        }
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
}
