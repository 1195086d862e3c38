import EsperTypes
import Synchronization

/// Where the node stands, for whoever must know without asking the core loop; published at the end of each of its turns.
///
/// What a reply tells of has been published when the reply is delivered.
final class NodePosition: Sendable {
    private let termValue: Atomic<UInt64>
    private let revisionValue: Atomic<UInt64>

    init(term: Term, revision: Revision) {
        termValue = Atomic(term.rawValue)
        revisionValue = Atomic(revision.rawValue)
    }

    func publish(_ term: Term, _ revision: Revision) {
        termValue.store(term.rawValue, ordering: .releasing)
        revisionValue.store(revision.rawValue, ordering: .releasing)
    }

    var term: Term { Term(termValue.load(ordering: .acquiring)) }
    var revision: Revision { Revision(revisionValue.load(ordering: .acquiring)) }
}
