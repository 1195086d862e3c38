public import EsperTypes

/// Sizes and limits of the log. The defaults suit a node in service; tests choose small ones.
public struct StorageOptions: Hashable, Sendable {
    /// The size of a log file. A batch that does not fit one gets a larger file of its own.
    public var segmentBytes: Int
    /// Groups of records start at multiples of this, so that a write cut off by a crash never touches a sector that
    /// holds durable bytes. A power of two, the device's logical sector or more.
    public var sectorBytes: Int
    /// How many zero-filled segments wait for use.
    public var spareSegments: Int
    /// One write and one sync carry at most this many bytes, unless a single batch is larger.
    public var maximumGroupBytes: Int
    /// Above this many queued bytes ``LogWriter/append(_:)`` answers `congested`.
    public var congestedQueueBytes: Int
    /// Above this many queued bytes the log gives up with `queueOverflow`.
    public var maximumQueueBytes: Int
    /// A snapshot is synced whenever so much more of it is written; one that is received goes on there after a restart.
    public var snapshotSyncBytes: Int
    /// A start reads a log of this size or more with several threads.
    public var parallelReadBytes: Int

    public init(
        segmentBytes: Int = 64 << 20,
        sectorBytes: Int = 512,
        spareSegments: Int = 1,
        maximumGroupBytes: Int = 4 << 20,
        congestedQueueBytes: Int = 32 << 20,
        maximumQueueBytes: Int = 512 << 20,
        snapshotSyncBytes: Int = 4 << 20,
        parallelReadBytes: Int = 128 << 20
    ) {
        precondition(
            sectorBytes >= 512 && sectorBytes & (sectorBytes - 1) == 0,
            "sectorBytes \(sectorBytes): a power of two from 512")
        precondition(
            segmentBytes % sectorBytes == 0 && segmentBytes >= 8 * sectorBytes,
            "segmentBytes \(segmentBytes): a multiple of the sector, at least eight")
        precondition(spareSegments >= 1, "at least one spare segment, or the log waits at the end of each")
        precondition(congestedQueueBytes <= maximumQueueBytes, "congestion comes before overflow")
        precondition(snapshotSyncBytes > 0, "snapshotSyncBytes \(snapshotSyncBytes): above zero")
        self.snapshotSyncBytes = snapshotSyncBytes
        self.parallelReadBytes = parallelReadBytes
        self.segmentBytes = segmentBytes
        self.sectorBytes = sectorBytes
        self.spareSegments = spareSegments
        self.maximumGroupBytes = maximumGroupBytes
        self.congestedQueueBytes = congestedQueueBytes
        self.maximumQueueBytes = maximumQueueBytes
    }
}

/// Whose directory it is.
public struct StorageIdentity: Hashable, Sendable {
    public var cluster: ClusterID
    public var node: NodeID
    /// Drawn when the directory was created: tells a disk from its replacement.
    public var incarnation: Incarnation

    public init(cluster: ClusterID, node: NodeID, incarnation: Incarnation) {
        self.cluster = cluster
        self.node = node
        self.incarnation = incarnation
    }
}

/// The version of every format in the directory; a directory of a newer one is refused.
public let storageFormatVersion: UInt32 = 1
