internal import CacheCore
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

/// Moves blobs that nobody uses from the catalog to the archive (C11), as ``DemotionBatch`` says, at a rate.
///
/// Two nodes that do this at once do no harm; that one does it is a matter of work.
public final class Demotion: Sendable {
    public struct Settings: Sendable {
        public var unusedFor: Duration = .seconds(30 * 24 * 3600)
        /// From the end of one pass to the next.
        public var interval: Duration = .seconds(600)
        /// How often it is looked whose turn it is: so long after a node's turn has begun its first pass begins.
        public var turnInterval: Duration = .seconds(1)
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
        /// False: it ended before it had come to all that is cold, as when another node's turn began.
        public var isWhole = true

        public init() {}

        var isEmpty: Bool { blobs == 0 && unverified == 0 && damaged == 0 }
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

    /// Makes a pass as soon as this node's turn begins and one each interval for as long as it lasts, until the task is cancelled.
    /// A pass that failed, as the first ones of a cluster whose tiers are not there yet, or that did not come to its end is made again
    /// after the time of a call, and so is one whose turn ended and began again.
    public func run() async {
        var due = Instant.zero
        var soonest = Instant.zero
        while !Task.isCancelled {
            if !(await isTurn()) {
                due = soonest
            } else if due <= NodeClock.now() {
                let isWhole = await tryPass()
                let now = NodeClock.now()
                soonest = now + min(settings.interval, settings.callLimit)
                due = isWhole ? now + settings.interval : soonest
            }
            // Cancelled: the loop ends.
            try? await Task.sleep(for: settings.turnInterval, clock: .continuous)
        }
    }

    /// - Returns: whether it came to its end.
    private func tryPass() async -> Bool {
        do throws(TierFailure) {
            let report = try await pass()
            if !report.isEmpty { tell(report) }
            return report.isWhole
        } catch {
            // Debug: while a tier is down, its breaker has said so.
            logger.debug("blobs stay in the catalog for now", metadata: ["error": "\(error)"])
            return false
        }
    }

    /// Moves what is cold now, at the rate set; ends early when it is another node's turn or the task is cancelled.
    public func pass() async throws(TierFailure) -> Report {
        var report = Report()
        var last: PayloadTable.Cold?
        while await isTurn(), !Task.isCancelled {
            let cold = try await source.cold(
                unusedFor: settings.unusedFor, after: last, limit: Self.listedBlobs, deadline: deadline)
            guard let final = cold.last else { return report }
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
        report.isWhole = false
        return report
    }

    // MARK: The steps

    private func move(_ digests: [Digest], _ report: inout Report) async throws(TierFailure) {
        var batch = DemotionBatch(digests)
        while batch.step != .done { try await perform(&batch) }
        report.blobs += batch.moved.count
        let bytes = batch.moved.reduce(0) { $0 + (batch.blobs[$1]?.count ?? 0) }
        report.bytes += bytes
        report.damaged += batch.damaged.count
        report.unverified += batch.unverified
        moved.increment(by: batch.moved.count)
        movedBytes.increment(by: bytes)
        unverified.increment(by: batch.unverified)
    }

    private func perform(_ batch: inout DemotionBatch) async throws(TierFailure) {
        switch batch.step {
        case .read(let digests):
            batch.read(try await source.peek(digests, deadline: deadline)) { Digest(hashing: $1) == $0 }
        case .discard(let damaged):
            logger.error(
                "damaged blobs in the catalog; they are discarded",
                metadata: ["count": "\(damaged.count)", "digest": "\(damaged[0])"])
            try await source.discard(damaged: damaged, deadline: deadline)
            batch.discarded()
        case .find(let digests): batch.found(try await archive.has(digests, deadline: deadline))
        case .copy(let digests):
            let missing = digests.compactMap { digest in
                batch.blobs[digest].map { Blob(digest: digest, bytes: $0) }
            }
            try await archive.put(missing, deadline: deadline)
            batch.copied()
        case .confirm(let digests): batch.confirmed(try await archive.has(digests, deadline: deadline))
        case .readBack(let digests): batch.readBack(try await archive.get(digests, deadline: deadline))
        case .mark(let digests):
            batch.marked(
                try await source.markArchived(digests, unusedFor: settings.unusedFor, deadline: deadline))
        case .drop(let digests):
            batch.dropped(
                try await source.dropArchived(digests, unusedFor: settings.unusedFor, deadline: deadline))
        case .done: break
        }
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
