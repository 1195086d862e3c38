public import CacheCore
public import EsperTypes
internal import Synchronization

/// The values that this node keeps in its memory: blobs and manifests by digest, and small values by name and version for
/// doors that answer at once.
///
/// Every method may be called from any thread, and takes one lock of many for well below a microsecond (a put that has to
/// make room: for at most half a millisecond). A value under a digest is never stale, and one under a name is valid for the
/// one version that it was put with: whoever knows the version that counts needs no invalidation.
///
/// What is accounted never exceeds the limit. A value handed out lives on with whoever holds it.
public final class MemoryTier: Sendable {
    public struct Options: Sendable {
        public var limitBytes: UInt64
        public var policy: EvictionPolicy
        /// Keeps chosen names from sharing a hash; a random number at every start.
        public var seed: UInt64

        public init(limitBytes: UInt64 = 256 << 20, policy: EvictionPolicy = .s3fifo, seed: UInt64) {
            self.limitBytes = limitBytes
            self.policy = policy
            self.seed = seed
        }

        /// A power of two up to 64, so that a stripe takes values of a mebibyte if the limit allows.
        var stripes: Int {
            var stripes = 64
            while stripes > 1, limitBytes / UInt64(stripes) < MemoryStripe.largestShare << 20 { stripes /= 2 }
            return stripes
        }
    }

    /// An object of its own each: no two stand on one line of the processor's cache.
    final class Stripe: Sendable {
        let state: Mutex<MemoryStripe>

        init(_ state: consuming sending MemoryStripe) { self.state = Mutex(state) }
    }

    public let options: Options
    let stripes: [Stripe]
    private let mask: UInt64
    private let limit: Atomic<UInt64>
    private let shadows: Mutex<ShadowCaches>

    public init(_ options: Options) {
        self.options = options
        let count = options.stripes
        stripes = (0..<count).map { _ in
            Stripe(MemoryStripe(policy: options.policy, limit: options.limitBytes / UInt64(count)))
        }
        mask = UInt64(count - 1)
        limit = Atomic(options.limitBytes)
        shadows = Mutex(ShadowCaches(limit: options.limitBytes))
    }

    // MARK: By digest

    public func get(_ digest: Digest) -> [UInt8]? {
        let hash = Self.hash(digest)
        return stripe(hash).state.withLock { $0.get(digest, hash: hash) }
    }

    /// Without counting as a use.
    public func contains(_ digest: Digest) -> Bool {
        let hash = Self.hash(digest)
        return stripe(hash).state.withLock { $0.contains(digest, hash: hash) }
    }

    /// Likewise.
    public func peek(_ digest: Digest) -> [UInt8]? {
        let hash = Self.hash(digest)
        return stripe(hash).state.withLock { $0.peek(digest, hash: hash) }
    }

    /// Keeps bytes that are known to have this digest.
    @discardableResult
    public func put(_ bytes: [UInt8], under digest: Digest, costMilliseconds: UInt32 = 0) -> MemoryAdmission {
        let hash = Self.hash(digest)
        let bytes = Self.compact(bytes)
        return admit(hash) { $0.put(bytes, under: digest, hash: hash, costMilliseconds: costMilliseconds) }
    }

    /// - Returns: The bytes given back; 0: it was not here.
    @discardableResult
    public func drop(_ digest: Digest) -> UInt64 {
        let hash = Self.hash(digest)
        return stripe(hash).state.withLock { $0.drop(digest, hash: hash) }
    }

    // MARK: By name

    /// What was put under exactly this version of the name.
    public func value(of name: [UInt8], version: LogIndex) -> [UInt8]? {
        let hash = KeyHash.hash(name, seed: options.seed)
        return stripe(hash).state.withLock { $0.value(of: name, version: version, hash: hash) }
    }

    /// Keeps the content of a name at one version of it, as a copy of its own beside the blob's.
    @discardableResult
    public func put(
        _ bytes: [UInt8], of name: [UInt8], version: LogIndex, costMilliseconds: UInt32 = 0
    ) -> MemoryAdmission {
        precondition(!name.isEmpty, "a name has at least one byte")
        let hash = KeyHash.hash(name, seed: options.seed)
        let bytes = Self.compact(bytes)
        return admit(hash) {
            $0.put(bytes, of: name, version: version, hash: hash, costMilliseconds: costMilliseconds)
        }
    }

    /// - Returns: The bytes given back; 0: it was not here.
    @discardableResult
    public func drop(name: [UInt8]) -> UInt64 {
        let hash = KeyHash.hash(name, seed: options.seed)
        return stripe(hash).state.withLock { $0.drop(name: name, hash: hash) }
    }

    // MARK: All of it

    public var limitBytes: UInt64 { limit.load(ordering: .relaxed) }

    /// What lies above a lower limit goes step by step, from now on and with ``maintain(budget:)``.
    public func setLimit(_ bytes: UInt64) {
        limit.store(bytes, ordering: .relaxed)
        for stripe in stripes { stripe.state.withLock { $0.setLimit(bytes / UInt64(stripes.count)) } }
        maintain()
    }

    /// Evicts what is above the watermarks, and shows the shadow caches what was asked for; to be called a few times per
    /// second.
    ///
    /// - Parameter budget: entries to look at under one lock: 1,024 take at most half a millisecond.
    public func maintain(budget: Int = 1024) {
        for stripe in stripes {
            while stripe.state.withLock({ $0.evict(budget: budget) }) {}
            let samples = stripe.state.withLock { $0.takeSamples() }
            guard !samples.isEmpty else { continue }
            shadows.withLock { $0.apply(samples) }
        }
    }

    public var accountedBytes: UInt64 {
        stripes.reduce(0) { $0 + $1.state.withLock { $0.accountedBytes } }
    }

    /// What is most worth having after a start, by uses × cost.
    ///
    /// - Parameter fade: halve what is known of uses, as whoever writes the list down each minute does.
    public func hottest(_ count: Int, fade: Bool = false) -> HotList {
        var list = HotList(limit: count)
        for stripe in stripes {
            var slot: Int? = 0
            while let first = slot {
                slot = stripe.state.withLock { $0.gather(&list, from: first, count: 1024, fade: fade) }
            }
        }
        return list
    }

    /// Drops what has changed in memory, of the digests with these prefixes.
    ///
    /// - Returns: which those were.
    package func scrub(_ range: Range<UInt64>) -> [Digest] {
        var damaged: [Digest] = []
        for stripe in stripes {
            var slot: Int? = 0
            while let first = slot {
                var found: [(digest: Digest, value: [UInt8])] = []
                slot = stripe.state.withLock { $0.resident(range, from: first, count: 1024, into: &found) }
                for (digest, value) in found where Digest(hashing: value) != digest {
                    drop(digest)
                    damaged.append(digest)
                }
            }
        }
        return damaged
    }

    public func stat() -> MemoryStatistics {
        var statistics = MemoryStatistics(limitBytes: limitBytes, stripes: stripes.count)
        for stripe in stripes {
            stripe.state.withLock { stripe in
                statistics.counts += stripe.counts
                statistics.entries += stripe.count
                statistics.accountedBytes += stripe.accountedBytes
                statistics.ghostHits += stripe.ghostHits
            }
        }
        statistics.shadows = shadows.withLock { $0.counts }
        return statistics
    }

    package func checkInvariants() {
        for stripe in stripes { stripe.state.withLock { $0.checkInvariants() } }
    }

    // MARK: Helpers

    private func admit(_ hash: UInt64, _ body: (inout MemoryStripe) -> MemoryAdmission) -> MemoryAdmission {
        stripe(hash).state.withLock { stripe in
            let admission = body(&stripe)
            // A step of what the watermarks ask for rides along.
            if stripe.needsEviction { stripe.evict(budget: 64) }
            return admission
        }
    }

    @inline(__always)
    private func stripe(_ hash: UInt64) -> Stripe { stripes[Int(truncatingIfNeeded: hash >> 32 & mask)] }

    /// Digests are uniform by themselves; their first bits say the shard, of which this node may have few.
    @inline(__always)
    static func hash(_ digest: Digest) -> UInt64 { digest.prefix &* 0x9E37_79B9_7F4A_7C15 }

    /// An array whose room is mostly its content: a large buffer must not live on for a small value.
    private static func compact(_ bytes: [UInt8]) -> [UInt8] {
        guard bytes.capacity > bytes.count + bytes.count / 8 + 64 else { return bytes }
        return [UInt8](unsafeUninitializedCapacity: bytes.count) { room, count in
            bytes.withUnsafeBytes { UnsafeMutableRawBufferPointer(room).copyMemory(from: $0) }
            count = bytes.count
        }
    }
}
