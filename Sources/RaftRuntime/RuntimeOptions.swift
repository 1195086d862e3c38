public import EsperTypes
public import RaftCore

/// Bounds and intervals of a node's runtime.
public struct RuntimeOptions: Sendable {
    public var raft = RaftOptions()
    /// The log's growth since the last snapshot that calls for the next one.
    public var snapshotAfterBytes = 64 << 20
    /// Entries kept behind a snapshot, so that a follower that is a little late needs no snapshot.
    public var retainedTailBytes = 16 << 20
    /// Revisions of history that the leader keeps at least; older ones it compacts. 0 keeps everything.
    public var historyRevisions = 100_000
    /// Requests of all doors that wait for the core loop to look at them. 64 connections of 1,024 calls each.
    public var maximumMailboxRequests = 65_536
    /// Keys and values in those requests, together; one connection's loop hands over a few hundred KiB at a time.
    public var maximumMailboxBytes = 64 << 20
    /// Requests that wait for a commit, a read round or a grant.
    public var maximumPendingRequests = 262_144
    /// Bytes of the commands that wait for their commit: 2,000 of the largest, or all ``maximumPendingRequests`` of 512 bytes.
    public var maximumPendingBytes = 128 << 20
    /// Watches, and observations, of one connection of many streams. Above: ``ServiceFailure/Code/tooManyWatches``.
    public var maximumWatchesPerConnection = 1024
    /// The same for the whole node.
    public var maximumWatches = 65_536
    /// Bytes of events on their way to all watches of one connection, beyond one revision for each of them: four of the
    /// largest deliveries. What the door's connection has queued and given its credit for comes on top.
    public var watchBytesPerConnection = 4 << 20
    /// How often a node tells its peers about itself, for `esper cluster status`.
    public var reportInterval = Duration.milliseconds(500)
    /// Refused proposals and reads are tried again this often while no leader takes them.
    public var retryInterval = Duration.milliseconds(10)
    /// How long a new leader waits beyond a session's full time before it expires it.
    public var sessionGrace = Duration.seconds(1)
    /// How often sealed log segments and snapshots are read back and checked; zero never does.
    public var scrubInterval = Duration.seconds(3600)
    /// The most that the check reads in a second: a small part of what any disk gives.
    public var scrubBytesPerSecond = 8 << 20
    /// Development only: this node's state becomes another than the others' after this entry.
    public var divergesAt: LogIndex?

    public init() {}
}
