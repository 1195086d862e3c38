/// How often things happened, so that a run in which nothing happened is not taken for one that went well.
public struct SimulationCounters: Hashable, Sendable {
    public var steps = 0
    public var messages = 0
    public var elections = 0
    public var roleChanges = 0
    public var committed = 0
    public var operations = 0
    public var reads = 0
    /// Attempts that were answered from the table of earlier requests.
    public var duplicates = 0
    /// Keep-alives that were answered, and sessions that came to their end.
    public var keepAlives = 0
    public var expiredSessions = 0
    /// Writes to what locks guard, taken and refused.
    public var guardedWrites = 0
    public var staleWrites = 0
    /// Events that watchers were told, and how often one was told that history is gone.
    public var watchEvents = 0
    public var watchGaps = 0
    /// Of the history of keys.
    public var keyCompactions = 0
    /// Reads that needed no round of messages.
    public var leaseReads = 0
    /// Reads that a node answered by a holder's lease; that it could not for want of one; and because of an entry on its way.
    public var heldReads = 0
    public var leaselessReads = 0
    public var pendingReads = 0
    public var faults = 0
    public var crashes = 0
    /// Processes that died in the middle of work on their files.
    public var deaths = 0
    public var transfers = 0
    /// Requests to change who votes, and those that came to their end.
    public var membershipRequests = 0
    public var membershipChanges = 0
    public var truncations = 0
    /// Writes that failed and stopped their node, disks that were full, and places that rotted.
    public var diskFailures = 0
    public var fullDisks = 0
    public var rots = 0
    /// Other work on files whose sync failed, which stopped the node.
    public var failedSyncs = 0
    /// Passes of the scrub, damages that they found, and damaged snapshots that were met when a peer was to be sent them.
    public var scrubs = 0
    public var damagesScrubbed = 0
    public var damagesRead = 0
    /// How often a node that ran on got rid of all that had rotted, and how often a start gave up a damaged log.
    public var repairs = 0
    public var quarantines = 0
    public var snapshots = 0
    public var compactions = 0
    public var installedSnapshots = 0
    /// Histories that the checker gave up on.
    public var undecided = 0
    /// From the end of all faults until everybody agreed and every client was served.
    public var recoveryNanoseconds: UInt64 = 0

    public init() {}

    public static func += (left: inout SimulationCounters, right: SimulationCounters) {
        left.steps += right.steps
        left.messages += right.messages
        left.elections += right.elections
        left.roleChanges += right.roleChanges
        left.committed += right.committed
        left.operations += right.operations
        left.reads += right.reads
        left.duplicates += right.duplicates
        left.keepAlives += right.keepAlives
        left.expiredSessions += right.expiredSessions
        left.guardedWrites += right.guardedWrites
        left.staleWrites += right.staleWrites
        left.watchEvents += right.watchEvents
        left.watchGaps += right.watchGaps
        left.keyCompactions += right.keyCompactions
        left.leaseReads += right.leaseReads
        left.heldReads += right.heldReads
        left.leaselessReads += right.leaselessReads
        left.pendingReads += right.pendingReads
        left.faults += right.faults
        left.crashes += right.crashes
        left.deaths += right.deaths
        left.transfers += right.transfers
        left.membershipRequests += right.membershipRequests
        left.membershipChanges += right.membershipChanges
        left.truncations += right.truncations
        left.diskFailures += right.diskFailures
        left.fullDisks += right.fullDisks
        left.rots += right.rots
        left.failedSyncs += right.failedSyncs
        left.scrubs += right.scrubs
        left.damagesScrubbed += right.damagesScrubbed
        left.damagesRead += right.damagesRead
        left.repairs += right.repairs
        left.quarantines += right.quarantines
        left.snapshots += right.snapshots
        left.compactions += right.compactions
        left.installedSnapshots += right.installedSnapshots
        left.undecided += right.undecided
        left.recoveryNanoseconds += right.recoveryNanoseconds
    }
}

/// What became of one seed.
public struct SimulationReport: Sendable {
    public var seed: UInt64
    /// The rule that was broken; nil when none was.
    public var failure: SimulationFailure?
    /// Equal for equal runs, step by step.
    public var traceHash: UInt64
    public var virtualNanoseconds: UInt64
    public var counters: SimulationCounters
    /// What the clients did and were told.
    public var history: History
}
