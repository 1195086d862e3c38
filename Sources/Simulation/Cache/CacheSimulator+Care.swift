import CacheCore
import Coordination
import EsperTypes

// Evicting and comparing.
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
            // What is below stays while this goes.
            let until = Self.instant(deadline + Self.settling)
            _ = simulator.nodes[node].holds.hold(closure, until: until, now: simulator.instant)
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
                simulator.askTier(node, kind, by: deadline) { tier, _ -> Void? in
                    for digest in closure { tier.blobs[digest] = nil }
                    return ()
                } _: { _, _ in
                }
            }
        }
    }

    // MARK: Comparing

    /// Of what belongs to both.
    ///
    /// - Parameter wanted: nil: all of it.
    func tree(of node: Int, with other: Int, wanted: Set<Digest>? = nil) -> ShardTree {
        let items = nodes[node].disk.filter {
            Set(Self.writers(of: $0.key)) == [node, other] && wanted?.contains($0.key) ?? true
        }
        return ShardTree(
            items.map { MerkleItem(BlobReference(digest: $0.key, size: UInt32($0.value.bytes.count))) })
    }

    /// Union of the two: what one lacks, the other gives, as far as names refer to it.
    mutating func sync(_ node: Int, with other: Int) {
        if mutant == .neverRepairs { return }
        readNames(at: node, by: now + 30_000) { simulator, wanted in
            if let wanted { simulator.sync(node, with: other, wanted) }
        }
    }

    private mutating func sync(_ node: Int, with other: Int, _ wanted: Set<Digest>) {
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
                let owed = ShardRepair(mine: own, theirs: far) {
                    wanted.contains($0) || simulator.mutant == .repairsUnwanted
                }
                for digest in owed.missing { simulator.fetch(digest, from: other, to: node) }
                for digest in owed.given {
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
