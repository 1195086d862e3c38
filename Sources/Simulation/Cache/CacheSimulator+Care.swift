import CacheCore
import Coordination
import EsperTypes

// Throwing away and comparing.
extension CacheSimulator {
    // MARK: Evicting

    mutating func evict(_ name: Bytes, at node: Int) {
        let deadline = now + 5000
        let call = begin(node, by: deadline, "evict")
        let told: (inout CacheSimulator, LogIndex) -> Void = { simulator, version in
            simulator.report.evictions += 1
            simulator.evictedThrough[name] = max(simulator.evictedThrough[name] ?? version, version)
            simulator.nodes[node].hot[name] = nil
            simulator.end(call)
        }
        if mutant == .evictsBeforeCommit, let binding = table.binding(name, now: 0), binding.state == .live {
            told(&self, binding.version)
            // To the caller it is gone.
            history[name, default: []].append(Past(since: now, binding: Self.gone(binding)))
            change(.evict(name, version: nil), at: node, by: deadline) { _, _ in }
            return
        }
        change(.evict(name, version: nil), at: node, by: deadline) { simulator, result in
            guard case .evicted(let binding?) = result else { return simulator.end(call) }
            told(&simulator, binding.version)
        }
    }

    private static func gone(_ binding: Binding) -> Binding {
        var binding = binding
        binding.state = .tombstone
        return binding
    }

    /// An operator empties a tier, or a node's disk, of what a name stands for; only what the next tier has.
    mutating func evict(_ name: Bytes, from kind: CacheTier, at node: Int) {
        let deadline = now + 10_000
        look(name, at: node, by: deadline) { simulator, answer in
            guard let binding = answer ?? nil, let closure = simulator.closures[binding.manifest] else { return }
            simulator.locate(closure, from: node, by: deadline) { simulator, holdings in
                let isSafe = closure.allSatisfy { digest in
                    let holding = holdings[digest] ?? BlobHolding()
                    return switch kind {
                    case .memory: true
                    case .redis: !holding.synced.isEmpty || !holding.tiers.isEmpty
                    case .peer: !holding.tiers.isEmpty
                    case .catalog: holding.tiers.contains(TierSet(.archive))
                    case .archive: false
                    }
                }
                guard isSafe || simulator.mutant == .evictsUnchecked else { return }
                if kind == .peer {
                    for digest in closure { simulator.nodes[node].disk[digest] = nil }
                    return simulator.checkKept()
                }
                guard simulator.has(kind) else { return }
                simulator.askTier(node, kind, by: deadline) { tier -> Void? in
                    for digest in closure { tier.blobs[digest] = nil }
                    return ()
                } _: { simulator, _ in
                    simulator.checkKept()
                }
            }
        }
    }

    // MARK: Garbage

    mutating func collect(at node: Int) {
        nodes[node].holds.sweep(instant)
        let early = garbage(at: node)
        if early.isEmpty { return }
        let deadline = now + 30_000
        ask(node, by: deadline, { $0.table.bindings(prefix: [], after: nil, limit: 1000, now: 0) }) { simulator, page in
            guard let page else { return }
            let boot = simulator.nodes[node].boot
            // Reading all manifests takes its time, in which stores come and names are bound.
            simulator.after(simulator.random.int(in: 0...1000)) { simulator in
                guard simulator.nodes[node].boot == boot else { return }
                simulator.collect(at: node, page.bindings.map(\.binding.manifest), early: early)
            }
        }
    }

    private mutating func collect(at node: Int, _ manifests: [Digest], early: [Digest]) {
        load(manifests, at: node, by: now + 30_000) { simulator, loaded in
            var referenced = Set(manifests)
            for outcome in loaded.values {
                switch outcome {
                case .found(let bytes):
                    referenced.formUnion((try? Manifest(decoding: bytes))?.blobs.map(\.digest) ?? [])
                case .lost: break
                case .unreached: return
                }
            }
            let isEarly = simulator.mutant == .collectsAtFirstLook
            let found = (isEarly ? early : simulator.garbage(at: node)).filter { !referenced.contains($0) }
            let delete: Step = { simulator in
                for digest in found {
                    simulator.report.collected += 1
                    simulator.nodes[node].disk[digest] = nil
                    simulator.nodes[node].memory[digest] = nil
                }
                simulator.checkKept()
            }
            if simulator.mutant == .deletesLate { simulator.after(2000, delete) } else { delete(&simulator) }
        }
    }

    /// Whatever names refer to.
    private func garbage(at node: Int) -> [Digest] {
        let candidates = nodes[node].disk.sorted { $0.key < $1.key }.map {
            (digest: $0.key, idle: Duration.milliseconds(now - $0.value.touched))
        }
        return nodes[node].holds.garbage(candidates, referenced: [], grace: .milliseconds(Self.grace))
    }

    // MARK: Comparing

    /// Of what belongs to both.
    func tree(of node: Int, with other: Int) -> ShardTree {
        let items = nodes[node].disk.filter { Set(Self.writers(of: $0.key)) == [node, other] }
        return ShardTree(
            items.map { MerkleItem(BlobReference(digest: $0.key, size: UInt32($0.value.bytes.count))) })
    }

    /// Union of the two: what one lacks, the other gives.
    mutating func sync(_ node: Int, with other: Int) {
        if mutant == .neverRepairs { return }
        askNode(node, other, by: now + 10_000, { $0.tree(of: other, with: node) }) { simulator, theirs in
            guard let theirs else { return }
            let mine = simulator.tree(of: node, with: other)
            for range in mine.differences(from: theirs) {
                let (own, far) = (Set(mine.items(in: range).map(\.key)), Set(theirs.items(in: range).map(\.key)))
                if simulator.mutant == .repairsByDeleting {
                    for digest in own.subtracting(far) { simulator.nodes[node].disk[digest] = nil }
                    simulator.checkKept()
                    continue
                }
                for digest in far.subtracting(own).sorted() { simulator.fetch(digest, from: other, to: node) }
                for digest in own.subtracting(far).sorted() {
                    guard let bytes = simulator.nodes[node].disk[digest]?.bytes else { continue }
                    simulator.report.repaired += 1
                    simulator.push(bytes, digest, from: node, to: other, isSynced: true, by: simulator.now + 5000) {
                        _, _ in
                    }
                }
            }
        }
    }

    private mutating func fetch(_ digest: Digest, from other: Int, to node: Int) {
        askNode(node, other, by: now + 5000, { $0.nodes[other].disk[digest]?.bytes }) { simulator, bytes in
            guard let bytes else { return }
            simulator.report.repaired += 1
            simulator.nodes[node].disk[digest] = Copy(bytes: bytes, touched: simulator.now)
        }
    }
}
