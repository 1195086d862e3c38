/// A deliberate mistake, made in the world around the cores. A checker that cannot fail is a defect: tests switch these on and
/// demand that a run finds each of them. The executable makes one only when it is asked to (`simulate mutants`, `shrink --mutant`).
package enum Mutant: String, CaseIterable, Sendable {
    /// Votes leave before they are durable.
    case votesBeforeDurable
    /// Followers acknowledge entries before they are durable.
    case acknowledgementsBeforeDurable
    /// A crash takes the end of what was synced.
    case losesSyncedEntries
    /// A crash takes the vote.
    case losesVote
    /// Whoever believes to lead serves reads without a round.
    case readsWithoutRound
    /// Any node serves reads from what it has.
    case readsAnywhere
    /// Clients are answered when their command is appended.
    case answersBeforeCommit
    /// An attempt that is repeated gets a new request ID.
    case forgetsRequestIDs
    /// A follower that misses entries says that it has them.
    case claimsMissingEntries
    /// A lost probe of a follower's log is not repeated.
    case probesOnce
    /// Heartbeats name the end of the leader's log, which the follower may not have.
    case heartbeatsNameTheEnd
    /// Every answer to a request for a vote says yes.
    case grantsEveryVote
    /// Voters are changed in one step, without joint consensus (dissertation §4.2).
    case switchesWithoutJoint
    /// Joint consensus is left before it is committed.
    case leavesJointEarly
    /// A change begins while another is not committed.
    case stacksChanges
    /// A change begins before an entry of the leader's own term is committed.
    case changesBeforeOwnTerm
    /// Nobody leaves joint consensus.
    case forgetsToLeave
    /// Nodes get a vote that nobody has ever heard of.
    case addsNodesNeverStarted
    /// A leader counts itself although it has no vote any more.
    case countsRemovedLeader
    /// In joint consensus the new voters decide alone.
    case ignoresOldVoters
    /// A configuration stays in force after its entry was cut off.
    case keepsTruncatedConfiguration
    /// Snapshots name the first configuration.
    case snapshotsFirstConfiguration
    /// A node that lost its disk comes back under its old name.
    case rejoinsWiped
    /// A leader commits what a majority has, whatever term it is of (§5.4.2, figure 8).
    case commitsOldTermsByCounting
    /// A leader commits what anybody has.
    case commitsByMaximum
    /// A new leader serves reads before an entry of its own term is committed.
    case readsBeforeOwnTerm
    /// Any answer confirms the read round that is out, however long ago it was asked for.
    case lateAnswersConfirmReads
    /// In joint consensus the word of a voter on its way out confirms no read.
    case demotedConfirmNoReads
    /// A node that started anew answers reads as soon as it has applied what it hears is committed.
    case readsOnceRestarted
    /// Reads that wait when a snapshot takes the place of the state are forgotten.
    case snapshotsStrandReads
    /// A new leader commits while the one before may still read by its lease.
    case newLeaderIgnoresLease
    /// Whoever told another to take over at once goes on reading by its lease.
    case leaseSurvivesTransfer
    /// A leader commits without the holders of leases.
    case commitsWithoutHolders
    /// A leader forgets holders that it does not hear any more.
    case forgetsSilentHolders
    /// A new leader commits without those who may hold leases of the one before.
    case newLeaderForgetsHolders
    /// Whoever votes does not say how long leaders were told that it makes their successor wait.
    case votesHideLeases
    /// Commands that change names are committed like any other.
    case guardsNoNames
    /// A command that moves the clock past a name's end is committed like any other.
    case forgetsEndsOfNames
    /// Holders count from when the grant came.
    case leasesCountFromReceipt
    /// Holders answer before they have applied what their lease begins with.
    case answersBeforeBase
    /// Holders answer for names that are about to change.
    case answersPending
    /// A node that starts anew goes on with its lease, and knows only what it has applied.
    case leaseKeptOverRestart
    /// The lease is looked at after the table, by then an old one.
    case looksAtLeaseLast
    /// A write counts as durable as soon as it is handed over.
    case reportsWritesEarly
    /// The end of one write is taken for the end of all that were handed over since.
    case completionsNameLatest
    /// The front of the log is dropped and the snapshot named in two writes.
    case tearsCompaction
    /// The log is cut off at a snapshot that is not on the disk yet.
    case compactsBeforeSnapshot
    /// A snapshot of the own state gets its name before its content is synced.
    case storesUnsynced
    /// A snapshot that was received is installed before its content is synced.
    case installsUnsynced
    /// The directory of snapshots is not synced after a snapshot got its name.
    case forgetsSnapshotNames
    /// The directory of the log is not synced after a segment got its name.
    case forgetsSegmentNames
    /// What a start read from the end of the log is taken for durable.
    case trustsUnsyncedTail
    /// The state in a snapshot is newer than the index that it is filed under.
    case snapshotsAheadOfIndex
    /// A follower before the leader's log is sent neither entries nor a snapshot.
    case neverSendsSnapshots
    /// An installed snapshot leaves what contradicts it in the log.
    case keepsLogUnderSnapshot
    /// Whoever does not know of its vote yet does not give it.
    case learnersRefuseVotes
    /// Removed nodes go on standing for election, and are taken seriously.
    case removedNodesCampaign
    /// Whoever has led is given no pre-vote.
    case refusesFormerLeaders
    /// Whoever gives a pre-vote defends its silent leader anew.
    case grantsDefendLeaders
    /// Pre-votes of an earlier round count for the present one.
    case lateGrantsCount
    /// An append behind a gap in the log does not count as a word of the leader.
    case gapsAreNoWord
    /// Whoever is told to take over may not have the leader's log.
    case ordersBeforeLevel
    /// Whoever is told to take over asks for pre-votes first.
    case ordersAskFirst
    /// Requests of an old term are dropped without an answer.
    case ignoresOldTerms
    /// Nobody asks before spending a term, and nobody defends a live leader.
    case electionsWithoutPreVote
    /// A client that begins anew counts its requests from the beginning, under its old name.
    case reusesRequestNumbers
    /// An append that comes late or twice cuts off what newer ones brought.
    case oldAppendsTruncate
    /// A leader whose disk hangs goes on leading.
    case leadsWithHungDisk
    /// A failed write or sync is taken for done.
    case goesOnAfterFailedSync
    /// A sync that failed is tried again, and then taken for done.
    case retriesFailedSync
    /// A sync that fails in maintenance or of a snapshot is taken for a full disk.
    case takesFailedSyncForFull
    /// What the full disk had no room for is taken for written.
    case acknowledgesWhatDidNotFit
    /// A write that a crash cut off is taken for damage.
    case refusesTornTail
    /// Damage is taken for the end of the log.
    case damageTakenForEnd
    /// What the scrub finds damaged is left as it is.
    case ignoresScrub
    /// The snapshot that makes up for damage leaves the damaged log behind it.
    case repairsKeepLog
    /// A snapshot is sent as it is read, with the checksum of that.
    case servesDamage
    /// The answers kept for retries are forgotten now and then, by all nodes alike.
    case forgetsAnswers
    /// Commands are applied with the node's own clock instead of the leader's stamp.
    case appliesByOwnClock
    /// Whoever believes to lead keeps sessions alive without asking the others.
    case deposedLeaderRenews
    /// Who led once goes on ending sessions, and the next leader does what it says.
    case deposedLeaderExpires
    /// A new leader goes by what it saw of sessions as a follower.
    case newLeaderKeepsDeadlines
    /// A new leader gives sessions less time than the one before may go on renewing them by its lease.
    case graceShorterThanLease
    /// What a lock guards does not look at tokens.
    case resourceIgnoresTokens
    /// Watchers are not told what a restored snapshot has brought.
    case watchesForgetRestore
    /// Watchers that ask for what was compacted are not told, and begin behind it.
    case watchesSkipCompacted
    /// Watchers that ask for the past begin at the present.
    case watchesBeginAtPresent
}
