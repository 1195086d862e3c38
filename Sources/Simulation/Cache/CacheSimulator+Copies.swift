import CacheCore
import EsperTypes

// Putting copies where they belong, finding out where they are, and bringing them.
extension CacheSimulator {
    final class Gathering {
        var left: Int
        var holdings: [Digest: BlobHolding] = [:]
        var isCertain = true
        init(_ left: Int) { self.left = left }
    }

    typealias Holdings = [Digest: BlobHolding]

    // MARK: At a node

    /// What a push does at its target.
    mutating func take(_ bytes: Bytes, _ digest: Digest, at node: Int, isSynced: Bool) {
        nodes[node].flights.overtake(digest)
        remember(bytes, under: digest, at: node)
        if isSynced { nodes[node].disk[digest] = Copy(bytes: bytes, touched: now) }
    }

    /// What is there stays there for the time of a store.
    mutating func holdings(_ digests: [Digest], at node: Int) -> Holdings {
        var held: Holdings = [:]
        for digest in digests {
            if nodes[node].memory[digest] != nil { held[digest, default: BlobHolding()].memory.insert(Self.id(node)) }
            guard nodes[node].disk[digest] != nil else { continue }
            if mutant != .countsUntouched { nodes[node].disk[digest]?.touched = now }
            held[digest, default: BlobHolding()].synced.insert(Self.id(node))
        }
        return held
    }

    // MARK: Distributing

    mutating func distribute(
        _ blobs: [Digest: Bytes], from node: Int, mode: StoreMode, by deadline: Int,
        _ done: @escaping (inout CacheSimulator, Holdings) -> Void
    ) {
        if blobs.isEmpty { return done(&self, [:]) }
        let gathering = Gathering(blobs.count)
        for (digest, bytes) in blobs.sorted(by: { $0.key < $1.key }) {
            distribute(bytes, digest, from: node, mode: mode, by: deadline) { simulator, holding in
                gathering.holdings[digest] = holding
                gathering.left -= 1
                if gathering.left == 0 { done(&simulator, gathering.holdings) }
            }
        }
    }

    private mutating func distribute(
        _ bytes: Bytes, _ digest: Digest, from node: Int, mode: StoreMode, by deadline: Int,
        _ done: @escaping (inout CacheSimulator, BlobHolding) -> Void
    ) {
        nodes[node].flights.overtake(digest)
        remember(bytes, under: digest, at: node)
        let needsDisks =
            mode == .archived && !has(.archive) || mode == .durable && !has(.catalog) && !has(.archive)
        copyToNodes(bytes, digest, from: node, isSynced: needsDisks, by: deadline) { simulator, holding in
            simulator.fill(.redis, bytes, digest, from: node)
            switch mode {
            case .memory:
                simulator.fill(simulator.has(.catalog) ? .catalog : .archive, bytes, digest, from: node)
                done(&simulator, holding)
            case .durable:
                let kinds = [CacheTier.catalog, .archive].filter(simulator.has)
                simulator.put(bytes, digest, in: kinds[...], from: node, by: deadline) { simulator, kind in
                    var holding = holding
                    if let kind { holding.tiers.insert(TierSet(kind)) }
                    guard kind == nil, !needsDisks else { return done(&simulator, holding) }
                    simulator.copyToNodes(bytes, digest, from: node, isSynced: true, by: deadline) { simulator, more in
                        holding.formUnion(more)
                        done(&simulator, holding)
                    }
                }
            case .archived:
                let kinds = [CacheTier.archive].filter(simulator.has)
                simulator.put(bytes, digest, in: kinds[...], from: node, by: deadline) { simulator, kind in
                    var holding = holding
                    if let kind { holding.tiers.insert(TierSet(kind)) }
                    simulator.fill(.catalog, bytes, digest, from: node)
                    done(&simulator, holding)
                }
            }
        }
    }

    /// In the first of the tiers that takes it, each with half of the time that is left.
    private mutating func put(
        _ bytes: Bytes, _ digest: Digest, in kinds: ArraySlice<CacheTier>, from node: Int, by deadline: Int,
        _ done: @escaping (inout CacheSimulator, CacheTier?) -> Void
    ) {
        guard let kind = kinds.first else { return done(&self, nil) }
        let half = now + max(0, deadline - now) / 2
        askTier(node, kind, by: half, mayRepeat: true) {
            $0.put(bytes, digest, at: $1)
        } _: { simulator, answer in
            if answer != nil { return done(&simulator, kind) }
            simulator.put(bytes, digest, in: kinds.dropFirst(), from: node, by: deadline, done)
        }
    }

    mutating func fill(_ kind: CacheTier, _ bytes: Bytes, _ digest: Digest, from node: Int) {
        guard has(kind) else { return }
        askTier(node, kind, by: now + 10_000, mayRepeat: true) {
            $0.put(bytes, digest, at: $1)
        } _: { _, _ in
        }
    }

    /// To the writers of the shard; where one does not answer, to the third node.
    private mutating func copyToNodes(
        _ bytes: Bytes, _ digest: Digest, from node: Int, isSynced: Bool, by deadline: Int,
        _ done: @escaping (inout CacheSimulator, BlobHolding) -> Void
    ) {
        let writers = Self.writers(of: digest)
        let gathering = Gathering(writers.count)
        for target in writers {
            push(bytes, digest, from: node, to: target, isSynced: isSynced, by: deadline) { simulator, more in
                gathering.holdings[digest, default: BlobHolding()].formUnion(more)
                gathering.left -= 1
                guard gathering.left == 0 else { return }
                var holding = gathering.holdings[digest]!
                if simulator.nodes[node].memory[digest] != nil { holding.memory.insert(Self.id(node)) }
                let count = isSynced ? holding.synced.count : holding.memory.union(holding.synced).count
                guard count < Self.copies else { return done(&simulator, holding) }
                let rest = (0..<3).first { !writers.contains($0) }!
                simulator.push(bytes, digest, from: node, to: rest, isSynced: isSynced, by: deadline) {
                    holding.formUnion($1)
                    done(&$0, holding)
                }
            }
        }
    }

    mutating func push(
        _ bytes: Bytes, _ digest: Digest, from node: Int, to target: Int, isSynced: Bool, by deadline: Int,
        _ done: @escaping (inout CacheSimulator, BlobHolding) -> Void
    ) {
        askNode(node, target, by: min(deadline, now + 5000)) { simulator in
            simulator.take(bytes, digest, at: target, isSynced: isSynced)
            return BlobHolding(memory: [Self.id(target)], synced: isSynced ? [Self.id(target)] : [])
        } _: { simulator, holding in
            done(&simulator, holding ?? BlobHolding())
        }
    }

    // MARK: Locating

    /// Who has what; those who are asked keep it for the time of a store.
    mutating func locate(
        _ digests: [Digest], from node: Int, by deadline: Int,
        _ done: @escaping (inout CacheSimulator, Holdings) -> Void
    ) {
        let others = (0..<3).filter { $0 != node }
        let kinds = tiers.map(\.kind).filter { $0 != .redis }
        let gathering = Gathering(others.count + kinds.count)
        gathering.holdings = holdings(digests, at: node)
        let limit = min(deadline, now + 5000)
        let note: (inout CacheSimulator, Holdings?) -> Void = { simulator, more in
            for (digest, holding) in more ?? [:] {
                gathering.holdings[digest, default: BlobHolding()].formUnion(holding)
            }
            gathering.left -= 1
            if gathering.left == 0 { done(&simulator, gathering.holdings) }
        }
        for other in others { askNode(node, other, by: limit, { $0.holdings(digests, at: other) }, note) }
        for kind in kinds {
            askTier(node, kind, by: limit) { tier, now -> Holdings? in
                let held = tier.keep(digests, at: now)
                return Dictionary(uniqueKeysWithValues: held.map { ($0, BlobHolding(tiers: TierSet(kind))) })
            } _: {
                note(&$0, $1)
            }
        }
    }

    // MARK: Loading

    enum Loaded {
        case found(Bytes)
        case lost
        case unreached
    }

    mutating func load(
        _ digests: [Digest], at node: Int, by deadline: Int,
        _ done: @escaping (inout CacheSimulator, [Digest: Loaded]) -> Void
    ) {
        if digests.isEmpty { return done(&self, [:]) }
        let left = Box(Set(digests))
        let loaded = Box<[Digest: Loaded]>([:])
        for digest in left.value.sorted() {
            load(digest, at: node, by: deadline) { simulator, outcome in
                left.value.remove(digest)
                loaded.value[digest] = outcome
                if left.value.isEmpty { done(&simulator, loaded.value) }
            }
        }
    }

    final class Box<Value> {
        var value: Value
        init(_ value: Value) { self.value = value }
    }

    private mutating func load(
        _ digest: Digest, at node: Int, by deadline: Int, _ done: @escaping (inout CacheSimulator, Loaded) -> Void
    ) {
        if let bytes = nodes[node].memory[digest] { return done(&self, .found(bytes)) }
        let waiter = nodes[node].nextWaiter
        let boot = nodes[node].boot
        nodes[node].nextWaiter += 1
        nodes[node].waits[waiter] = done
        let flight: UInt64
        switch nodes[node].flights.join(digest, waiter) {
        case .lead(let number):
            flight = number
            let plan = RetrievalPlan(
                [digest], sources: sources(of: digest, at: node), deadline: Self.instant(now + Self.loadLimit))
            after(0) { if $0.nodes[node].boot == boot { $0.follow(plan, digest, flight, at: node) } }
        case .wait(let number): flight = number
        case .refuse: preconditionFailure("fewer than a thousand wait")
        }
        at(max(now, deadline)) { simulator in
            guard simulator.nodes[node].boot == boot,
                let wait = simulator.nodes[node].waits.removeValue(forKey: waiter)
            else { return }
            _ = simulator.nodes[node].flights.leave(flight, waiter)
            wait(&simulator, .unreached)
        }
    }

    private func sources(of digest: Digest, at node: Int) -> [(source: RetrievalPlan.Source, digests: Set<Digest>?)] {
        let writers = Self.writers(of: digest).filter { $0 != node }
        var sources: [RetrievalPlan.Source] = [.disk] + writers.map { .peer(Self.id($0)) }
        for tier in tiers {
            switch tier.kind {
            case .redis: sources.append(.redis)
            case .catalog: sources.append(.catalog)
            case .archive: sources.append(.archive)
            case .memory, .peer: break
            }
        }
        sources += (0..<3).filter { $0 != node && !writers.contains($0) }.map { .peer(Self.id($0)) }
        return sources.map { ($0, nil) }
    }

    private mutating func follow(_ plan: RetrievalPlan, _ digest: Digest, _ flight: UInt64, at node: Int) {
        var plan = plan
        guard let step = plan.next(now: instant) else {
            return finish(flight, plan.lost.isEmpty ? .unreached : .lost, at: node)
        }
        let limit = Int(step.deadline.nanoseconds / 1_000_000)
        // The first optional: no answer; the second: not there.
        let done: (inout CacheSimulator, Bytes??) -> Void = { simulator, answer in
            var plan = plan
            switch answer {
            case .none where simulator.mutant != .takesFailureForAbsence: plan.failed(step, found: [Digest]())
            case .none, .some(.none): plan.answered(step, found: [Digest]())
            case .some(.some(let bytes)) where Self.digest(bytes) != digest && simulator.mutant != .believesBytes:
                plan.answered(step, found: [Digest]())
                simulator.discard(digest, in: step.source.tier, from: node)
            case .some(.some(let bytes)):
                plan.answered(step, found: [digest])
                simulator.remember(bytes, under: digest, at: node)
                simulator.finish(flight, .found(bytes), at: node)
                if step.source == .catalog || step.source == .archive {
                    simulator.fill(.redis, bytes, digest, from: node)
                }
                if step.source == .archive { simulator.fill(.catalog, bytes, digest, from: node) }
                return
            }
            simulator.follow(plan, digest, flight, at: node)
        }
        switch step.source {
        case .disk: done(&self, .some(nodes[node].disk[digest]?.bytes))
        case .peer(let id):
            let peer = Int(id.rawValue) - 1
            askNode(
                node, peer, by: limit,
                { .some($0.nodes[peer].memory[digest] ?? $0.nodes[peer].disk[digest]?.bytes) }, done)
        case .redis, .catalog, .archive:
            askTier(node, step.source.tier, by: limit, { tier, now in .some(tier.get(digest, at: now)) }, done)
        }
    }

    /// Wrong bytes are no bytes, and are to go.
    private mutating func discard(_ digest: Digest, in kind: CacheTier, from node: Int) {
        askTier(node, kind, by: now + 10_000, mayRepeat: true) { tier, _ -> Void? in
            tier.discard(damaged: [digest])
        } _: { _, _ in
        }
    }

    private mutating func finish(_ flight: UInt64, _ outcome: Loaded, at node: Int) {
        for waiter in nodes[node].flights.finish(flight) {
            if let wait = nodes[node].waits.removeValue(forKey: waiter) { wait(&self, outcome) }
        }
    }
}
