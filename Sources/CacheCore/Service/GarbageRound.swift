public import EsperTypes

/// A collector's way through one page of garbage in a tier that all nodes share.
///
///     ask each node ─→ read the names ─→ delete ─→ tell each node
///
/// - Asking is condemning: a node that answers lets no store begin to count on the blobs (``BlobHolds``), after a restart neither.
///   One that does not answer may have such a store: then nothing goes.
/// - Names are read after the last answer. A store that ended before its node answered has bound its name by then; one that
///   had not was told of as wanted.
/// - Who has joined meanwhile was not asked: then nothing goes.
/// - A deletion without an answer may still happen. Then nobody is told that it is over: stores wait until it cannot happen any more.
///
/// One step at a time: whoever performs ``step`` calls the method that says what came of it.
public struct GarbageRound: Sendable {
    public enum Step: Hashable, Sendable {
        /// Condemn all blobs at this node: ``answered(wanted:)``, ``silent()``.
        case ask(NodeID)
        /// What they refer to, and who the members are: ``namesRead(_:members:now:isOwn:)``.
        case readNames
        /// Nothing may be sent to the tier after ``GarbageRound/deadline``: ``deleted(isOver:)``.
        case delete([Digest])
        /// Reprieve all blobs at this node, which may not hear it: ``told()``.
        case tell(NodeID)
        case done
    }

    public let id: CollectionID
    public let digests: [Digest]
    public let deadline: Instant
    public private(set) var step: Step
    /// Garbage stays that may have to go.
    public private(set) var isDelayed = false
    /// What was deleted may be so yet, or later.
    public private(set) var isUnanswered = false
    private let members: [NodeID]
    private var position = 0
    private var wanted: Set<Digest> = []

    /// - Parameters:
    ///   - members: of the cluster, the collector among them.
    ///   - deadline: so long before the promises of the nodes end that nothing sent until then happens later.
    public init(_ digests: [Digest], id: CollectionID, members: Set<NodeID>, deadline: Instant) {
        precondition(members.contains(id.collector), "\(id.collector) is not among \(members.count) members")
        self.digests = digests
        self.id = id
        self.members = members.sorted()
        self.deadline = deadline
        step = .ask(self.members[0])
    }

    public mutating func answered(wanted some: Set<Digest>) {
        wanted.formUnion(some)
        position += 1
        if wanted.isSuperset(of: digests) { return tellAll() }
        step = position < members.count ? .ask(members[position]) : .readNames
    }

    public mutating func silent() {
        isDelayed = true
        tellAll()
    }

    /// - Parameters:
    ///   - referenced: what names refer to, read since the last answer; nil: it is not known of all.
    ///   - members: read after that.
    ///   - isOwn: whether the collector decides about the blob still.
    public mutating func namesRead(
        _ referenced: Set<Digest>?, members now: Set<NodeID>, now instant: Instant, isOwn: (Digest) -> Bool
    ) {
        guard let referenced, now.isSubset(of: members) else {
            isDelayed = true
            return tellAll()
        }
        let doomed = digests.filter { !wanted.contains($0) && !referenced.contains($0) && isOwn($0) }
        if doomed.isEmpty || instant >= deadline { tellAll() } else { step = .delete(doomed) }
    }

    /// - Parameter isOver: nothing of it happens later.
    public mutating func deleted(isOver: Bool) {
        isUnanswered = !isOver
        if isOver { tellAll() } else { step = .done }
    }

    public mutating func told() {
        position += 1
        step = position < members.count ? .tell(members[position]) : .done
    }

    /// Also those that did not answer: they may have heard the question.
    private mutating func tellAll() {
        position = 0
        step = .tell(members[0])
    }
}
