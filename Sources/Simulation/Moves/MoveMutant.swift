/// A deliberate mistake in the world around the map of shards and its driver; see ``Mutant``. Tests demand that each is found.
package enum MoveMutant: String, CaseIterable, Sendable {
    /// A node confirms the newest step that it has heard of, applied or not.
    case confirmsUnapplied
    /// A joining member says that it has everything as soon as it is asked.
    case verifiesUnseen
    /// Members take blobs from writers that know an older or newer map.
    case acceptsAnyEpoch
    /// Members take blobs although their lease is over, as after a restart from an older disk.
    case acceptsWithoutLease
    /// While a shard moves, new blobs go to the old set alone.
    case writesToOldSet
    /// The old set deletes its copies once the new owner is named.
    case freesEarly
    /// A node that is behind deletes what its old map says is none of its business.
    case freesWithoutLease
    /// Whoever was given a shard coordinates, lease or not.
    case coordinatesWithoutLease
    /// A lease counts although the node has not applied what the leader had when it gave it.
    case leasesWithoutBase
    /// The leader says that a node is down when it does not hear it, without waiting for the end of its lease.
    case buriesAlive
    /// A new leader does not wait for the leases that the one before may have given.
    case newLeaderForgetsLeases
    /// What was proposed for a step is applied to whatever step the shard is in.
    case appliesLateCommands
    /// A member says that it has what a stray has as soon as it is asked.
    case absorbsUnseen
    /// Of several to whom a dead shard is given none is a stray.
    case forgetsHeirs
    /// A stray that a move makes a member is none any more.
    case forgetsNewMembers
    /// Nobody completes the copies of shards that lost a member.
    case neverRepairs

    package var breaks: Set<MoveRule> {
        switch self {
        case .confirmsUnapplied, .appliesLateCommands: [.coordinators, .kept, .settles]
        case .verifiesUnseen, .acceptsAnyEpoch, .acceptsWithoutLease, .writesToOldSet, .freesEarly, .freesWithoutLease,
            .absorbsUnseen, .forgetsHeirs, .forgetsNewMembers:
            [.kept]
        case .coordinatesWithoutLease, .leasesWithoutBase, .buriesAlive, .newLeaderForgetsLeases:
            [.coordinators, .kept]
        case .neverRepairs: [.settles]
        }
    }
}

/// What holds for every map of shards, whatever happens.
package enum MoveRule: String, Sendable {
    /// At most one node coordinates a shard at any time.
    case coordinators
    /// Every blob that was acknowledged is held by every member of its shard's set in force.
    case kept
    /// A shard's epoch never falls, and two states of a shard never have the same epoch and step.
    case epochs
    /// After the last fault every move ends, every shard has its copies, and only there.
    case settles
}

package struct MoveFailure: Error, Hashable, Sendable, CustomStringConvertible {
    package var rule: MoveRule
    package var story: String

    package var description: String { "\(rule.rawValue): \(story)" }
}
