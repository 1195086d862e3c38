import CacheCore
import Coordination
import EsperTypes

// What names stand for, as everybody agrees on it, and what is true of them.
extension CacheSimulator {
    /// What a name stood for from a time on.
    struct Past {
        var since: Int
        var binding: Binding
    }

    mutating func change(
        _ change: CacheChange, at node: Int, by deadline: Int, isSlow: Bool = false,
        _ done: @escaping (inout CacheSimulator, CacheChangeResult?) -> Void
    ) {
        ask(node, by: deadline, isSlow: isSlow, { $0.commit(change) }, done)
    }

    private mutating func commit(_ change: CacheChange) -> CacheChangeResult? {
        let name = change.name
        let before = table.binding(name, now: 0)
        var events: [CacheEvent] = []
        func apply(_ change: CacheChange) -> CacheChangeResult? {
            index = LogIndex(index.rawValue + 1)
            let result = table.apply(.change([change]), index: index, now: 0, settled: LogIndex(0), into: &events)
            guard case .changed(let results) = result else { return nil }
            return results.first
        }
        if mutant == .lastWriterWins, case .bind = change { _ = apply(.evict(name, version: nil)) }
        let result = apply(change)
        guard let record = table.record(name), record.version == index else { return result }
        history[name, default: []].append(Past(since: now, binding: record))
        if let before, before.state == .live, record.state == .live, before.kind == .action {
            violate(.firstWriter, "version \(record.version) replaces an action")
        }
        if before?.state == .live, record.state != .live { rights[name, default: 1] += 1 }
        switch change {
        case .bind(let bind): durable[name] = bind.mode == .memory ? nil : bind.manifest
        case .evict: durable[name] = nil
        case .quarantine:
            if let manifest = durable.removeValue(forKey: name), closures[manifest]!.allSatisfy(isKept),
                !closures[manifest]!.contains(where: { now - lostAt[$0, default: -100_000] < 60_000 })
            {
                violate(.kept, "a name is quarantined though every blob is kept")
            }
        }
        checkKept()
        return result
    }

    mutating func look(
        _ name: Bytes, at node: Int, by deadline: Int, _ done: @escaping (inout CacheSimulator, Binding??) -> Void
    ) {
        ask(node, by: deadline, { .some($0.table.binding(name, now: 0)) }, done)
    }

    // MARK: Rules

    func isKept(_ digest: Digest) -> Bool { copies(of: digest) > 0 }

    /// Right ones, where they last.
    func copies(of digest: Digest) -> Int {
        nodes.count { $0.disk[digest] != nil }
            + tiers.count { $0.kind != .redis && $0.blobs[digest].map { !$0.isDamaged } ?? false }
    }

    mutating func checkKept() {
        for (name, manifest) in durable {
            guard let lost = closures[manifest]!.first(where: { !isKept($0) }) else { continue }
            let part = lost == manifest ? "its manifest" : "a blob"
            return violate(.kept, "\(String(decoding: name, as: UTF8.self)) is bound and \(part) is nowhere")
        }
    }

    /// A read from `start` until now has told that the name stood for this version; nil: for nothing live.
    mutating func checkRead(_ name: Bytes, from start: Int, _ version: LogIndex?) {
        let past = history[name] ?? []
        var isTrue = false
        if past.first.map({ $0.since >= start }) ?? true, version == nil { isTrue = true }
        for (number, one) in past.enumerated() {
            let end = number + 1 < past.count ? past[number + 1].since : Int.max
            let isLive = one.binding.state == .live
            let says = version == nil ? !isLive : isLive && one.binding.version == version
            if says, one.since <= now, end >= start { isTrue = true }
        }
        if isTrue { return }
        if let version, evictedThrough[name].map({ $0 >= version }) ?? false {
            return violate(.evicted, "version \(version) is read though it was evicted before")
        }
        violate(.register, "a read from \(start) on tells \(version.map { "version \($0)" } ?? "absence")")
    }

    mutating func checkBytes(_ manifest: Manifest, _ blobs: [Digest: Bytes]) {
        var writers: Set<Bytes> = []
        for (digest, bytes) in blobs.sorted(by: { $0.key < $1.key }) {
            if Self.digest(bytes) != digest { violate(.bytes, "other bytes are returned under \(digest)") }
            if bytes.count == 3 { writers.insert(Array(bytes[1...])) }
        }
        if writers.count > 1 { violate(.writers, "files of \(writers.count) writers in one artifact") }
    }
}
