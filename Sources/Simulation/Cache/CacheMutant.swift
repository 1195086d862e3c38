/// One rule of the cache service left out on purpose; see ``Mutant``. Tests demand that each is found.
package enum CacheMutant: String, CaseIterable, Sendable {
    /// A store binds its name whatever the gate of its closure says.
    case bindsWithoutGate
    /// A store binds its name first and sends the bytes afterwards.
    case bindsBeforeClosure
    /// Whoever is asked for a blob does not note that it is wanted.
    case countsUntouched
    /// The collector looks at idle times and holds before it reads the names, and not again.
    case collectsAtFirstLook
    /// The collector deletes some time after it has decided.
    case deletesLate
    /// What a tier answers is taken for the blob that was asked for.
    case believesBytes
    /// A value in memory is given for its name whatever version that has by now.
    case believesAnyVersion
    /// An eviction is acknowledged before it is committed.
    case evictsBeforeCommit
    /// Copies of a tier are deleted without looking whether the next one has them.
    case evictsUnchecked
    /// Whoever finds nothing makes it, without asking for the right.
    case asksNobody
    /// Whoever is asked for a right that is not his to give asks on behalf of the asker, who waits for him.
    case asksOnBehalf
    /// A right to make lasts until it is given back.
    case tokensNeverExpire
    /// An error that comes again is told for an hour.
    case remembersFailures
    /// A second result of an action replaces the first.
    case lastWriterWins
    /// Files are published one by one, as by writers of a shared directory.
    case publishesFiles
    /// A tier that does not answer has not got it.
    case takesFailureForAbsence
    /// A call of a tier waits as long as the tier likes.
    case waitsForTiers
    /// Repair takes away what the other has not got, instead of giving it.
    case repairsByDeleting
    /// Nobody compares copies.
    case neverRepairs
    /// Repair gives back what no name refers to.
    case repairsUnwanted
    /// A collector of the tiers that all nodes share asks its own node alone.
    case asksItself
    /// A node that does not answer a collector wants nothing.
    case ignoresSilence
    /// A node that starts again has forgotten what it has promised to collectors.
    case forgetsPromises
    /// A node that starts again lets go what the process before may have asked to bind.
    case startsAtOnce
    /// A store under way holds nothing.
    case storesUnheld
    /// A store does not wait for what is about to be deleted.
    case waitsForNobody
    /// A demotion gives up the upper copy once the lower one was sent.
    case dropsUnread
    /// A demotion believes what the archive says it has.
    case trustsHead

    package var breaks: Set<CacheRule> {
        switch self {
        case .bindsWithoutGate, .bindsBeforeClosure, .countsUntouched, .collectsAtFirstLook, .deletesLate,
            .evictsUnchecked, .takesFailureForAbsence, .asksItself, .ignoresSilence, .forgetsPromises, .startsAtOnce,
            .storesUnheld, .waitsForNobody, .dropsUnread, .trustsHead:
            [.kept]
        case .believesBytes: [.bytes]
        case .believesAnyVersion, .evictsBeforeCommit: [.register, .evicted]
        case .asksNobody: [.makes]
        case .asksOnBehalf: [.forwards]
        case .tokensNeverExpire: [.settles]
        case .remembersFailures: [.failures]
        case .lastWriterWins: [.firstWriter]
        case .publishesFiles: [.writers]
        case .waitsForTiers: [.ends]
        case .repairsByDeleting: [.kept, .settles]
        case .neverRepairs: [.settles]
        case .repairsUnwanted: [.gone]
        }
    }
}

/// What holds for the cache, whatever happens. The numbers are those of the invariants in docs/SIMULATION.md.
package enum CacheRule: String, Sendable {
    /// I1: a read tells what its name stood for at some time within the read.
    case register
    /// I2: bytes hash to the name under which they are returned.
    case bytes
    /// I3: a durable binding's closure is kept, and nothing that is kept is quarantined.
    case kept
    /// I4: the files of an artifact come from one writer.
    case writers
    /// The first result of an action stays while the action is bound.
    case firstWriter
    /// I7: what was evicted before a read is not read.
    case evicted
    /// I8: an artifact is made once, and once more for every right that ended without it.
    case makes
    /// A question goes on to one node more than the first, at most, whatever maps the nodes have (I9).
    case forwards
    /// An error that comes again is told for at most 72 seconds.
    case failures
    /// I9: every call ends by its deadline.
    case ends
    /// What nothing refers to is thrown away in the end.
    case gone
    /// I11: after the last fault copies are complete, and every name can be read or made.
    case settles
}

package struct CacheViolation: Hashable, Sendable, CustomStringConvertible {
    package var rule: CacheRule
    /// Of virtual time.
    package var milliseconds: Int
    package var story: String

    package var description: String { "\(rule.rawValue) at \(milliseconds) ms: \(story)" }
}
