import CacheCore
import Coordination
import EsperTypes

// Throwing away what nobody wants.
extension CacheSimulator {
    /// Whatever is bound at some time after the call, and what it refers to; nil: it is not known of all.
    mutating func readNames(
        at node: Int, by deadline: Int, _ done: @escaping (inout CacheSimulator, Set<Digest>?) -> Void
    ) {
        ask(node, by: deadline, { $0.table.bindings(prefix: [], after: nil, limit: 1000, now: 0) }) { simulator, page in
            guard let page else { return done(&simulator, nil) }
            let boot = simulator.nodes[node].boot
            let manifests = page.bindings.map(\.binding.manifest)
            // Reading all manifests takes its time, in which stores come and names are bound.
            simulator.after(simulator.random.int(in: 0...1000)) { simulator in
                guard simulator.nodes[node].boot == boot else { return }
                simulator.load(manifests, at: node, by: deadline) { simulator, loaded in
                    var referenced = Set(manifests)
                    for outcome in loaded.values {
                        switch outcome {
                        case .found(let bytes):
                            referenced.formUnion((try? Manifest(decoding: bytes))?.blobs.map(\.digest) ?? [])
                        case .lost: break
                        case .unreached: return done(&simulator, nil)
                        }
                    }
                    done(&simulator, referenced)
                }
            }
        }
    }

    // MARK: On a node's disk

    mutating func collect(at node: Int) {
        sweep(node)
        let early = garbage(at: node)
        if early.isEmpty { return }
        readNames(at: node, by: now + 30_000) { simulator, referenced in
            guard let referenced else { return }
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

    mutating func sweep(_ node: Int) {
        nodes[node].holds.sweep(instant, claimsOlderThan: .milliseconds(Self.addHold))
    }

    /// Whatever names refer to.
    private func garbage(at node: Int) -> [Digest] {
        let candidates = nodes[node].disk.sorted { $0.key < $1.key }.map {
            (digest: $0.key, idle: Duration.milliseconds(now - $0.value.touched))
        }
        return nodes[node].holds.garbage(candidates, referenced: [], grace: .milliseconds(Self.grace))
    }

    // MARK: In the tiers that all nodes share

    /// The blobs that the node coordinates.
    mutating func collect(from kind: CacheTier, at node: Int) {
        guard has(kind) else { return }
        askTier(node, kind, by: now + 30_000) { tier, now in
            tier.idle(for: Self.grace, at: now).filter { Self.writers(of: $0)[0] == node }
        } _: { simulator, old in
            guard let old, !old.isEmpty else { return }
            simulator.readNames(at: node, by: simulator.now + 30_000) { simulator, referenced in
                guard let referenced else { return }
                let garbage = old.filter { !referenced.contains($0) }
                if garbage.isEmpty { return }
                let round = GarbageRound(
                    garbage, id: CollectionID(collector: Self.id(node), number: simulator.random.next()),
                    members: Set((0..<3).map(Self.id)),
                    deadline: Self.instant(simulator.now + Self.collectionTime))
                simulator.follow(round, of: kind, at: node)
            }
        }
    }

    private mutating func follow(_ round: GarbageRound, of kind: CacheTier, at node: Int) {
        var round = round
        switch round.step {
        case .ask(let id):
            let asked = Int(id.rawValue) - 1
            if mutant == .asksItself, asked != node {
                round.answered(wanted: [])
                return follow(round, of: kind, at: node)
            }
            askNode(node, asked, by: now + 5000, mayRepeat: true) { [round] simulator in
                simulator.condemn(round, at: asked)
            } _: { [round] simulator, wanted in
                var round = round
                if let wanted {
                    round.answered(wanted: wanted)
                } else if simulator.mutant == .ignoresSilence {
                    round.answered(wanted: [])
                } else {
                    round.silent()
                }
                simulator.follow(round, of: kind, at: node)
            }
        case .readNames:
            readNames(at: node, by: now + 30_000) { [round] simulator, referenced in
                var round = round
                round.namesRead(
                    referenced, members: Set((0..<3).map(Self.id)),
                    now: simulator.instant, isOwn: { _ in true })
                simulator.follow(round, of: kind, at: node)
            }
        case .delete(let doomed):
            let limit = min(now + 30_000, Int(round.deadline.nanoseconds / 1_000_000))
            let isSlow = !isCalm && random.chance(1, in: 4)
            askTier(node, kind, by: limit, mayRepeat: true, isSlow: isSlow) { tier, now in
                tier.remove(doomed, idleFor: Self.grace, at: now)
            } _: { [round] simulator, count in
                simulator.report.collectedBelow += count ?? 0
                var round = round
                // The catalog leaves what was used since.
                round.deleted(isOver: count != nil || kind == .catalog)
                simulator.follow(round, of: kind, at: node)
            }
        case .tell(let id):
            let told = Int(id.rawValue) - 1
            askNode(node, told, by: now + 5000, mayRepeat: true) { [round] simulator -> Void? in
                simulator.nodes[told].holds.reprieve(round.digests, by: round.id)
                simulator.notePromises(told)
                return ()
            } _: { [round] simulator, _ in
                var round = round
                round.told()
                simulator.follow(round, of: kind, at: node)
            }
        case .done: break
        }
    }

    private mutating func condemn(_ round: GarbageRound, at node: Int) -> Set<Digest> {
        sweep(node)
        let wanted = nodes[node].holds.condemn(
            round.digests, by: round.id, until: Self.instant(now + Self.condemnation), now: instant)
        notePromises(node)
        return wanted
    }

    /// On its disk.
    private mutating func notePromises(_ node: Int) {
        nodes[node].promises = nodes[node].holds.promises(at: instant)
    }

    // MARK: Stores

    mutating func claim(
        _ digests: [Digest], at node: Int, by deadline: Int,
        _ done: @escaping (inout CacheSimulator, BlobHolds.Claim?) -> Void
    ) {
        sweep(node)
        let claim = nodes[node].holds.claim(digests, now: instant)
        awaitReprieve(digests, at: node, by: deadline) { simulator, isFree in done(&simulator, isFree ? claim : nil) }
    }

    mutating func awaitReprieve(
        _ digests: [Digest], at node: Int, by deadline: Int, _ done: @escaping (inout CacheSimulator, Bool) -> Void
    ) {
        let isCondemned = digests.contains { nodes[node].holds.isCondemned($0, now: instant) }
        guard isCondemned, mutant != .waitsForNobody else { return done(&self, true) }
        guard now + 200 < deadline else { return done(&self, false) }
        let boot = nodes[node].boot
        after(200) { simulator in
            if simulator.nodes[node].boot == boot { simulator.awaitReprieve(digests, at: node, by: deadline, done) }
        }
    }
}
