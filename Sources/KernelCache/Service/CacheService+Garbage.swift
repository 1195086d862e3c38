import CacheCore
import EsperTypes
import RaftRuntime
import Synchronization

/// Throwing away what nobody wants.
extension CacheService {
    /// Deletes blobs of this node's disk that no name refers to and no store has wanted for the whole time of grace.
    ///
    /// Names are read first: a binding that is made meanwhile is of a store that holds its blobs, here too, since the gate of
    /// its closure asked this node or wrote here.
    func collectGarbage() async {
        guard let disk else { return }
        let old = disk.entries().filter { $0.idle >= options.garbageGrace }
        if old.isEmpty { return }
        guard let referenced = await referencedDigests() else { return }
        // Looked at again: a store may have come while the names were read.
        let candidates = disk.entries().map { (digest: $0.digest, idle: $0.idle) }
        let sizes = Dictionary(old.map { ($0.digest, $0.size) }) { $1 }
        let garbage = state.withLock { state in
            state.holds.garbage(candidates, referenced: referenced, grace: options.garbageGrace)
        }
        // And once more by whoever deletes: what a store has been told of meanwhile stays.
        let deleted = await disk.delete(garbage, idleFor: options.garbageGrace)
        for digest in deleted { memory.drop(digest) }
        counters.garbageBlobs.add(UInt64(deleted.count))
        counters.garbageBytes.add(deleted.reduce(0) { $0 + UInt64(sizes[$1] ?? 0) })
    }

    /// Nil when a manifest could not be read: then nothing is known to be garbage.
    private func referencedDigests() async -> Set<Digest>? {
        var referenced: Set<Digest> = []
        var after: [UInt8]?
        while true {
            let deadline = NodeClock.now() + .seconds(30)
            guard
                let page = try? await names.list(
                    prefix: [], after: after, limit: 1000, principal: "node/" + options.node, deadline: deadline)
            else { return nil }
            let manifests = page.bindings.map(\.binding.manifest)
            referenced.formUnion(manifests)
            let loaded = await loader.peek(manifests, deadline: deadline)
            guard loaded.unreached.isEmpty else { return nil }
            for blob in loaded.found.values {
                guard let manifest = try? Manifest(decoding: blob.bytes) else { continue }
                referenced.formUnion(manifest.blobs.map(\.digest))
            }
            guard page.more, let last = page.bindings.last?.name else { return referenced }
            after = last
        }
    }
}
