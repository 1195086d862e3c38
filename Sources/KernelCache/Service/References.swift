import CacheCore
import EsperTypes
import RaftRuntime
import Synchronization

/// What names refer to: asked for again and again, with each manifest read once.
final class References: Sendable {
    private let service: CacheService
    private let isWanted: @Sendable (Digest) -> Bool
    private let closures = Mutex<[Digest: [Digest]]>([:])

    /// - Parameter isWanted: of which digests to tell; nothing is kept of the others.
    init(_ service: CacheService, to isWanted: @escaping @Sendable (Digest) -> Bool = { _ in true }) {
        self.service = service
        self.isWanted = isWanted
    }

    /// Manifests and the blobs that they name, of everything that is bound at some moment after the call, each with the tiers that
    /// had it when one of its names was bound; nil when a manifest could not be read, or not by the deadline: then nothing is known not to
    /// be wanted.
    ///
    /// - Parameter pause: after each page.
    func read(by limit: Instant = .distantFuture, pause: Duration = .zero) async -> [Digest: TierSet]? {
        var referenced: [Digest: TierSet] = [:]
        var after: [UInt8]?
        while true {
            let deadline = min(limit, NodeClock.now() + .seconds(30))
            guard
                let page = try? await service.names.list(
                    prefix: [], after: after, limit: 1000, principal: "node/" + service.options.node,
                    deadline: deadline)
            else { return nil }
            let unread = closures.withLock { closures in
                Set(page.bindings.map(\.binding.manifest)).filter { closures[$0] == nil }
            }
            let loaded = await service.loader.peek(Array(unread), deadline: deadline)
            guard loaded.unreached.isEmpty else { return nil }
            closures.withLock { closures in
                for (digest, blob) in loaded.found {
                    closures[digest] = (try? Manifest(decoding: blob.bytes))?.blobs.map(\.digest).filter(isWanted) ?? []
                }
                for binding in page.bindings.map(\.binding) {
                    if isWanted(binding.manifest) {
                        referenced[binding.manifest, default: []].formUnion(binding.tiers)
                    }
                    for digest in closures[binding.manifest] ?? [] {
                        referenced[digest, default: []].formUnion(binding.tiers)
                    }
                }
            }
            guard page.more, let last = page.bindings.last?.name else { return referenced }
            after = last
            // Cancelled: the next page is not read.
            if pause > .zero, (try? await Task.sleep(for: pause)) == nil { return nil }
        }
    }
}
