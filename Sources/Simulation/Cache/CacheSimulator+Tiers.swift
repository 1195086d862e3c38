import CacheCore
import EsperTypes

// What the tiers do that all nodes share.
extension CacheSimulator {
    struct Copy {
        var bytes: Bytes
        /// In the archive: when it was created.
        var touched: Int
        var isDamaged = false
        /// The archive has it, as the catalog was told.
        var isArchived = false
    }

    struct Tier {
        var kind: CacheTier
        var blobs: [Digest: Copy] = [:]
        var brokenUntil = 0
        /// The next who asks before a demotion is told of everything.
        var lies = false

        /// What is there stays when it is right.
        mutating func put(_ bytes: Bytes, _ digest: Digest, at now: Int) {
            guard let copy = blobs[digest], !copy.isDamaged else {
                blobs[digest] = Copy(bytes: bytes, touched: now)
                return
            }
            if kind == .catalog { blobs[digest]?.touched = now }
        }

        /// - Returns: those that it has. Of damaged ones it knows, since nobody could count on the others otherwise.
        func has(_ digests: [Digest]) -> Set<Digest> {
            Set(digests.filter { blobs[$0].map { !$0.isDamaged } ?? false })
        }

        mutating func keep(_ digests: [Digest], at now: Int) -> Set<Digest> {
            let there = has(digests)
            if kind == .catalog { for digest in there { blobs[digest]?.touched = now } }
            return there
        }

        mutating func get(_ digest: Digest, at now: Int) -> Bytes? {
            if kind == .catalog { blobs[digest]?.touched = now }
            return blobs[digest]?.bytes
        }

        mutating func discard(damaged digests: [Digest]) {
            for digest in digests where blobs[digest]?.isDamaged ?? false { blobs[digest] = nil }
        }

        /// The unused, or in the archive the old.
        func idle(for time: Int, at now: Int) -> [Digest] {
            blobs.filter { now - $0.value.touched >= time }.keys.sorted()
        }

        /// The archive does not look again.
        mutating func remove(_ digests: [Digest], idleFor time: Int, at now: Int) -> Int {
            var count = 0
            for digest in digests {
                guard let copy = blobs[digest], kind == .archive || now - copy.touched >= time else { continue }
                blobs[digest] = nil
                count += 1
            }
            return count
        }

        mutating func mark(_ digests: [Digest], unusedFor time: Int, at now: Int) -> Set<Digest> {
            let unused = digests.filter { blobs[$0].map { now - $0.touched >= time } ?? false }
            for digest in unused { blobs[digest]?.isArchived = true }
            return Set(unused)
        }

        mutating func drop(_ digests: [Digest], unusedFor time: Int, at now: Int) -> Set<Digest> {
            let unused = digests.filter { blobs[$0].map { $0.isArchived && now - $0.touched >= time } ?? false }
            for digest in unused { blobs[digest] = nil }
            return Set(unused)
        }

        mutating func rot(_ digest: Digest) {
            guard var copy = blobs[digest], !copy.isDamaged else { return }
            copy.bytes[0] ^= 64
            copy.isDamaged = true
            blobs[digest] = copy
        }
    }

    // MARK: Demotion

    /// A node moves what nobody uses from the catalog to the archive, and may crash at every step.
    mutating func demote(at node: Int) {
        guard has(.catalog), has(.archive) else { return }
        askTier(node, .catalog, by: now + 30_000) { tier, now in
            tier.idle(for: Self.demoteAfter, at: now)
        } _: { simulator, cold in
            if let cold, !cold.isEmpty { simulator.follow(DemotionBatch(cold), at: node) }
        }
    }

    private mutating func follow(_ batch: DemotionBatch, at node: Int) {
        if !isCalm, random.chance(1, in: 20) { return crash(node, for: 100...5000) }
        switch batch.step {
        case .read(let digests):
            step(batch, at: node, .catalog) { tier, _ in
                tier.blobs.filter { digests.contains($0.key) }.mapValues(\.bytes)
            } _: { batch, found in
                batch.read(found) { Self.digest($1) == $0 }
            }
        case .discard(let damaged):
            step(batch, at: node, .catalog) { tier, _ in
                tier.discard(damaged: damaged)
            } _: { batch, _ in
                batch.discarded()
            }
        case .find(let digests):
            step(batch, at: node, .archive, Self.ask(for: digests)) { batch, there in batch.found(there) }
        case .copy(let digests):
            let put = { (tier: inout Tier, now: Int) in
                for digest in digests { tier.put(batch.blobs[digest]!, digest, at: now) }
            }
            guard mutant == .dropsUnread else {
                return step(batch, at: node, .archive, put) { batch, _ in batch.copied() }
            }
            askTier(node, .archive, by: now + 30_000, { put(&$0, $1) }, { _, _ in })
            var batch = batch
            batch.copied()
            follow(batch, at: node)
        case .confirm(let digests):
            if mutant == .dropsUnread || mutant == .trustsHead {
                var batch = batch
                batch.confirmed(Set(digests))
                return follow(batch, at: node)
            }
            step(batch, at: node, .archive, Self.ask(for: digests)) { batch, there in batch.confirmed(there) }
        case .readBack(let digests):
            if mutant == .dropsUnread || mutant == .trustsHead {
                var batch = batch
                batch.readBack(batch.blobs)
                return follow(batch, at: node)
            }
            step(batch, at: node, .archive) { tier, _ in
                tier.blobs.filter { digests.contains($0.key) }.mapValues(\.bytes)
            } _: { batch, copies in
                batch.readBack(copies)
            }
        case .mark(let digests):
            step(batch, at: node, .catalog) { tier, now in
                tier.mark(digests, unusedFor: Self.demoteAfter, at: now)
            } _: { batch, unused in
                batch.marked(unused)
            }
        case .drop(let digests):
            step(batch, at: node, .catalog) { tier, now in
                tier.drop(digests, unusedFor: Self.demoteAfter, at: now)
            } _: { batch, unused in
                batch.dropped(unused)
            }
        case .done: report.demoted += batch.moved.count
        }
    }

    private static func ask(for digests: [Digest]) -> (inout Tier, Int) -> Set<Digest> {
        { tier, _ in
            defer { tier.lies = false }
            return tier.lies ? Set(digests) : tier.has(digests)
        }
    }

    /// Goes on when there is an answer.
    private mutating func step<Answer>(
        _ batch: DemotionBatch, at node: Int, _ kind: CacheTier, _ effect: @escaping (inout Tier, Int) -> Answer,
        _ take: @escaping (inout DemotionBatch, Answer) -> Void
    ) {
        askTier(node, kind, by: now + 30_000, { effect(&$0, $1) }) { simulator, answer in
            guard let answer else { return }
            var batch = batch
            take(&batch, answer)
            simulator.follow(batch, at: node)
        }
    }
}
