import CacheCore
import EsperTypes

// Writers and what the service does for them.
extension CacheSimulator {
    struct Artifact {
        var manifest: Manifest
        var encoded: Bytes
        var digest: Digest
        var blobs: [Digest: Bytes]
        var closure: [Digest] { [digest] + blobs.keys.sorted() }
    }

    /// What one writer made: two files of its own, and sometimes one that others have too. The same output is the same bytes.
    mutating func artifact(_ name: Bytes, output: Int) -> Artifact {
        var blobs: [Digest: Bytes] = [:]
        func file(_ name: String, _ bytes: Bytes) -> Manifest.File {
            let digest = Self.digest(bytes)
            blobs[digest] = bytes
            return Manifest.File(
                name: name, content: .blobs([BlobReference(digest: digest, size: UInt32(bytes.count))]))
        }
        var files = ["code", "meta"].enumerated().map { number, name in
            file(name, [UInt8(number), UInt8(output & 255), UInt8(output >> 8)])
        }
        if output % 3 == 0 { files.append(file("common", [9, UInt8(output % 2)])) }
        if mutant == .publishesFiles {
            var all = published[name] ?? files
            let part = random.int(in: 0...1)
            all[part] = files[part]
            published[name] = all
            files = all
        }
        let manifest = Manifest(writer: "w\(output)", files: files)
        let encoded = manifest.encoded()
        let digest = Self.digest(encoded)
        closures[digest] = [digest] + manifest.blobs.map(\.digest)
        return Artifact(manifest: manifest, encoded: encoded, digest: digest, blobs: blobs)
    }

    struct Writing {
        var name: Bytes
        var kind: Binding.Kind
        var mode: StoreMode
        /// Between sending the bytes and naming them.
        var pause = 0
        /// Stops before it has named anything, and with some of the bytes unsent.
        var crashes = false
        /// Names what it sent long ago, without asking what is missing.
        var isDirect = false
    }

    /// A client: asks what is missing, sends it, and has it named.
    mutating func write(
        _ artifact: Artifact, _ writing: Writing, at node: Int, _ done: @escaping (inout CacheSimulator, Bool) -> Void
    ) {
        guard nodes[node].isUp else { return done(&self, false) }
        if writing.isDirect { return store(artifact, writing, at: node, by: now + 20_000, done) }
        let deadline = now + 10_000
        let call = begin(node, by: deadline, "missing")
        find(artifact.blobs.keys.sorted(), at: node, by: deadline) { simulator, holdings in
            simulator.end(call)
            guard let holdings else { return done(&simulator, false) }
            let gate = simulator.gate([], .durable)
            var lacking = artifact.blobs.filter { !gate.isSatisfied(by: holdings[$0.key] ?? BlobHolding()) }
            if writing.crashes, let some = lacking.keys.min() { lacking[some] = nil }
            let sending = simulator.begin(node, by: simulator.now + 20_000, "add")
            simulator.add(lacking, writing.mode, at: node, by: simulator.now + 20_000) { simulator in
                simulator.end(sending)
                if writing.crashes { return }
                simulator.after(writing.pause) { simulator in
                    // Whoever is there takes it.
                    let up = (0..<3).filter { simulator.nodes[$0].isUp }
                    let last = up.contains(node) ? node : up.first
                    guard let last else { return done(&simulator, false) }
                    simulator.store(artifact, writing, at: last, by: simulator.now + 20_000, done)
                }
            }
        }
    }

    /// Claims the blobs, then looks where they are.
    private mutating func find(
        _ digests: [Digest], at node: Int, by deadline: Int, _ done: @escaping (inout CacheSimulator, Holdings?) -> Void
    ) {
        claim(digests, at: node, by: deadline) { simulator, claim in
            guard let claim else { return done(&simulator, nil) }
            simulator.locate(digests, from: node, by: deadline) { simulator, holdings in
                simulator.nodes[node].holds.note(holdings, under: claim)
                done(&simulator, holdings)
            }
        }
    }

    private mutating func add(
        _ blobs: [Digest: Bytes], _ mode: StoreMode, at node: Int, by deadline: Int,
        _ done: @escaping (inout CacheSimulator) -> Void
    ) {
        claim(blobs.keys.sorted(), at: node, by: deadline) { simulator, claim in
            guard let claim else { return done(&simulator) }
            simulator.distribute(blobs, from: node, mode: mode, by: deadline) { simulator, holdings in
                simulator.nodes[node].holds.note(holdings, under: claim)
                done(&simulator)
            }
        }
    }

    func gate(_ closure: [Digest], _ mode: StoreMode) -> ClosureGate {
        ClosureGate(closure, mode: mode, members: 3, copies: Self.copies, hasArchive: has(.archive))
    }

    private mutating func store(
        _ artifact: Artifact, _ writing: Writing, at node: Int, by deadline: Int,
        _ done: @escaping (inout CacheSimulator, Bool) -> Void
    ) {
        let call = begin(node, by: deadline, "store")
        let closure = artifact.closure
        let until = Self.instant(deadline + Self.settling)
        let holder = mutant == .storesUnheld ? nil : nodes[node].holds.hold(closure, until: until, now: instant)
        let finish: (inout CacheSimulator, Bool?) -> Void = { simulator, isStored in
            simulator.end(call)
            // What may be bound yet is held until then.
            if let holder, isStored != nil {
                simulator.nodes[node].holds.release(holder)
            }
            done(&simulator, isStored ?? false)
        }
        if mutant == .bindsBeforeClosure {
            return bind(artifact, writing, at: node, by: deadline) { simulator, isStored in
                simulator.secure(artifact, writing, at: node, by: deadline) { simulator, _ in
                    finish(&simulator, isStored)
                }
            }
        }
        awaitReprieve(closure, at: node, by: deadline) { simulator, isFree in
            guard isFree else { return finish(&simulator, false) }
            simulator.secure(artifact, writing, at: node, by: deadline) { simulator, isOpen in
                guard isOpen || simulator.mutant == .bindsWithoutGate else { return finish(&simulator, false) }
                simulator.bind(artifact, writing, at: node, by: deadline, finish)
            }
        }
    }

    /// Whether every blob is held as the mode asks.
    private mutating func secure(
        _ artifact: Artifact, _ writing: Writing, at node: Int, by deadline: Int,
        _ done: @escaping (inout CacheSimulator, Bool) -> Void
    ) {
        let closure = closures[artifact.digest]!
        var gate = gate(closure, writing.mode)
        sweep(node)
        for digest in closure {
            if let known = nodes[node].holds.evidence(of: digest) { gate.note(digest, known) }
        }
        let opening = gate
        distribute([artifact.digest: artifact.encoded], from: node, mode: writing.mode, by: deadline) {
            simulator, holdings in
            var gate = opening
            for (digest, holding) in holdings { gate.note(digest, holding) }
            let lacking = gate.lacking.filter { $0 != artifact.digest }
            if lacking.isEmpty { return done(&simulator, gate.isOpen) }
            simulator.locate(lacking, from: node, by: deadline) { simulator, holdings in
                for (digest, holding) in holdings { gate.note(digest, holding) }
                let lacking = gate.lacking.filter { $0 != artifact.digest }
                if lacking.isEmpty { return done(&simulator, gate.isOpen) }
                simulator.load(lacking, at: node, by: deadline) { simulator, loaded in
                    var blobs: [Digest: Bytes] = [:]
                    for case (let digest, .found(let bytes)) in loaded { blobs[digest] = bytes }
                    simulator.distribute(blobs, from: node, mode: writing.mode, by: deadline) { simulator, holdings in
                        for (digest, holding) in holdings { gate.note(digest, holding) }
                        done(&simulator, gate.isOpen)
                    }
                }
            }
        }
    }

    private mutating func bind(
        _ artifact: Artifact, _ writing: Writing, at node: Int, by deadline: Int,
        _ done: @escaping (inout CacheSimulator, Bool?) -> Void
    ) {
        let bind = CacheBind(
            name: writing.name, kind: writing.kind, manifest: artifact.digest, size: artifact.manifest.size,
            mode: writing.mode, tiers: [])
        // The change is on its way, and whoever asked for it is not there any more.
        let isOrphan = !isCalm && random.chance(1, in: 12)
        if isOrphan { after(random.int(in: 0...100)) { if $0.nodes[node].isUp { $0.crash(node, for: 50...1000) } } }
        change(.bind(bind), at: node, by: deadline, isSlow: isOrphan) { simulator, result in
            switch result {
            case .bound, .kept:
                simulator.report.stores += 1
                let name = writing.name
                simulator.decide(.stored, name, at: node)
                if node != Self.coordinator(of: name, at: simulator.nodes[node].mapEpoch) {
                    simulator.exchange(name, .stored, from: node, by: simulator.now + 1000) { _, _ in }
                }
                done(&simulator, true)
            case nil: done(&simulator, nil)
            default: done(&simulator, false)
            }
        }
    }
}
