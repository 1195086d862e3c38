public import Catalog
public import EsperTypes
public import Logging
internal import Metrics
internal import RaftRuntime

/// Where ``Demotion`` takes blobs from: a tier that knows when its blobs were last used, and can tell that the archive has one
/// before it gives it up.
public protocol ColdBlobs: Sendable {
    /// Blobs unused for so long, the longest unused first, after the one given.
    func cold(
        unusedFor idle: Duration, after last: PayloadTable.Cold?, limit: Int, deadline: Instant
    ) async throws(TierFailure) -> [PayloadTable.Cold]

    /// Their bytes as they stand there, unchecked. Not a use.
    func peek(_ digests: [Digest], deadline: Instant) async throws(TierFailure) -> [Digest: [UInt8]]

    /// Notes that the archive has them.
    ///
    /// - Returns: those that are still unused.
    func markArchived(
        _ digests: [Digest], unusedFor idle: Duration, deadline: Instant
    ) async throws(TierFailure) -> Set<Digest>

    /// Gives up the bytes of those that are marked and still unused.
    ///
    /// - Returns: which those were.
    func dropArchived(
        _ digests: [Digest], unusedFor idle: Duration, deadline: Instant
    ) async throws(TierFailure) -> Set<Digest>

    /// As ``BlobTier/discard(damaged:deadline:)``.
    func discard(damaged digests: [Digest], deadline: Instant) async throws(TierFailure)
}

/// Moves blobs that nobody uses from the catalog to the archive (C11).
///
///     cold ─→ copy ─→ verify ─→ flip ─→ delete
///
/// - A step begins when the one before it has succeeded, and nothing is deleted but after the whole copy was read back and its
///   bytes compared: what a store *says* of an object is asked first, and never enough. A failure or a crash anywhere leaves
///   the upper copy, and the next pass begins with it anew.
/// - Flip and delete pass over a blob that was used since.
/// - Two nodes that do this at once do no harm; that one does it is a matter of work.
public final class Demotion: Sendable {
    public struct Settings: Sendable {
        public var unusedFor: Duration = .seconds(30 * 24 * 3600)
        /// From the end of one pass to the next.
        public var interval: Duration = .seconds(600)
        public var bytesPerSecond = 8 << 20
        /// Of each call.
        public var callLimit: Duration = .seconds(30)

        public init() {}
    }

    /// What a pass has done.
    public struct Report: Hashable, Sendable {
        public var blobs = 0
        public var bytes = 0
        /// Copied, and not found in the archive as they should be.
        public var unverified = 0
        /// Of other bytes than their digest says; discarded.
        public var damaged = 0

        public init() {}
    }

    private static let batchBytes = 4 << 20
    private static let listedBlobs = 256

    private let source: any ColdBlobs
    private let archive: any BlobTier
    private let settings: Settings
    private let isTurn: @Sendable () async -> Bool
    private let logger: Logger
    private let moved = Counter(label: "cache.demotion.blobs")
    private let movedBytes = Counter(label: "cache.demotion.bytes")
    private let unverified = Counter(label: "cache.demotion.unverified")

    /// - Parameters:
    ///   - archive: asked at once for up to 4 MiB, or one blob.
    ///   - isTurn: whether it is for this node to do it, now.
    public init(
        from source: any ColdBlobs, to archive: any BlobTier, settings: Settings = Settings(),
        isTurn: @escaping @Sendable () async -> Bool = { true }, logger: Logger
    ) {
        precondition(settings.bytesPerSecond > 0, "a demotion that never moves")
        self.source = source
        self.archive = archive
        self.settings = settings
        self.isTurn = isTurn
        self.logger = logger
    }

    /// Looks every interval, until the task is cancelled.
    public func run() async {
        while !Task.isCancelled {
            if await isTurn() {
                do throws(TierFailure) {
                    let report = try await pass()
                    if report != Report() { tell(report) }
                } catch {
                    // Debug: while a tier is down, its breaker has said so.
                    logger.debug("blobs stay in the catalog for now", metadata: ["error": "\(error)"])
                }
            }
            // Cancelled: the loop ends.
            try? await Task.sleep(for: settings.interval, clock: .continuous)
        }
    }

    /// Moves what is cold now, at the rate set; ends early when it is another node's turn or the task is cancelled.
    public func pass() async throws(TierFailure) -> Report {
        var report = Report()
        var last: PayloadTable.Cold?
        while await isTurn(), !Task.isCancelled {
            let cold = try await source.cold(
                unusedFor: settings.unusedFor, after: last, limit: Self.listedBlobs, deadline: deadline)
            guard let final = cold.last else { break }
            last = final
            var rest = cold[...]
            while !rest.isEmpty, !Task.isCancelled {
                var bytes = 0
                let batch = rest.prefix { blob in
                    let isFirst = bytes == 0
                    bytes += max(1, blob.size)
                    return isFirst || bytes <= Self.batchBytes
                }
                rest = rest.dropFirst(batch.count)
                let start = NodeClock.now()
                try await move(batch.map(\.digest), &report)
                let due = start + .nanoseconds(Int64(Double(bytes) / Double(settings.bytesPerSecond) * 1e9))
                // Cancelled: the loops end.
                try? await Task.sleep(for: max(Duration.zero, due - NodeClock.now()), clock: .continuous)
            }
        }
        return report
    }

    // MARK: The steps

    private func move(_ digests: [Digest], _ report: inout Report) async throws(TierFailure) {
        var blobs: [Digest: [UInt8]] = [:]
        var damaged: [Digest] = []
        for (digest, bytes) in try await source.peek(digests, deadline: deadline) {
            if Digest(hashing: bytes) == digest { blobs[digest] = bytes } else { damaged.append(digest) }
        }
        if !damaged.isEmpty {
            report.damaged += damaged.count
            logger.error(
                "damaged blobs in the catalog; they are discarded",
                metadata: ["count": "\(damaged.count)", "digest": "\(damaged[0])"])
            try await source.discard(damaged: damaged, deadline: deadline)
        }
        try await copy(blobs)
        let verified = try await verify(blobs)
        report.unverified += blobs.count - verified.count
        unverified.increment(by: blobs.count - verified.count)
        let flipped = try await source.markArchived(verified, unusedFor: settings.unusedFor, deadline: deadline)
        let dropped = try await source.dropArchived(
            flipped.sorted(), unusedFor: settings.unusedFor, deadline: deadline)
        let bytes = dropped.reduce(0) { $0 + (blobs[$1]?.count ?? 0) }
        report.blobs += dropped.count
        report.bytes += bytes
        moved.increment(by: dropped.count)
        movedBytes.increment(by: bytes)
    }

    private func copy(_ blobs: [Digest: [UInt8]]) async throws(TierFailure) {
        let there = try await archive.has(blobs.keys.sorted(), deadline: deadline)
        let missing = blobs.filter { !there.contains($0.key) }.map { Blob(digest: $0.key, bytes: $0.value) }
        try await archive.put(missing.sorted { $0.digest < $1.digest }, deadline: deadline)
    }

    private func verify(_ blobs: [Digest: [UInt8]]) async throws(TierFailure) -> [Digest] {
        let there = try await archive.has(blobs.keys.sorted(), deadline: deadline)
        let copies = try await archive.get(there.sorted(), deadline: deadline)
        return copies.filter { blobs[$0.key] == $0.value }.keys.sorted()
    }

    private var deadline: Instant { NodeClock.now() + settings.callLimit }

    private func tell(_ report: Report) {
        let numbers: Logger.Metadata = [
            "blobs": "\(report.blobs)", "bytes": "\(report.bytes)", "unverified": "\(report.unverified)",
        ]
        if report.unverified == 0 {
            logger.info("unused blobs moved from the catalog to the archive", metadata: numbers)
        } else {
            logger.warning("the archive does not give back what it took; the catalog keeps it", metadata: numbers)
        }
    }
}
