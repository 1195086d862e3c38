public import EsperTypes

/// The way through the tiers for some blobs: who is asked, for what, and for how long; and what may be concluded at the end.
///
/// A source that fails is passed by, and its failure is never taken for absence: only what every source denied is lost.
/// Bytes that do not hash to their name count as denied by the source that gave them.
public struct RetrievalPlan: Sendable {
    public enum Source: Hashable, Sendable {
        case disk
        case peer(NodeID)
        case redis
        case catalog
        case archive

        public var tier: CacheTier {
            switch self {
            case .disk, .peer: .peer
            case .redis: .redis
            case .catalog: .catalog
            case .archive: .archive
            }
        }
    }

    public struct Step: Hashable, Sendable {
        public var source: Source
        public var digests: [Digest]
        public var deadline: Instant
    }

    public struct Limits: Hashable, Sendable {
        public var disk: Duration = .seconds(2)
        public var peer: Duration = .milliseconds(500)
        public var redis: Duration = .milliseconds(250)
        public var catalog: Duration = .seconds(1)
        public var archive: Duration = .seconds(10)

        public init() {}

        public func limit(_ source: Source) -> Duration {
            switch source {
            case .disk: disk
            case .peer: peer
            case .redis: redis
            case .catalog: catalog
            case .archive: archive
            }
        }
    }

    public let deadline: Instant
    private let limits: Limits
    private var sources: [(source: Source, digests: Set<Digest>)]
    private var position = 0
    private var wanted: Set<Digest>
    /// Of those, which some source could not be asked for.
    public private(set) var uncertain: Set<Digest> = []

    /// - Parameters:
    ///   - sources: from the nearest to the farthest, each with the digests that it may have; nil: any.
    public init(
        _ digests: some Sequence<Digest>, sources: [(source: Source, digests: Set<Digest>?)], limits: Limits = Limits(),
        deadline: Instant
    ) {
        let wanted = Set(digests)
        self.wanted = wanted
        self.sources = sources.map { ($0.source, $0.digests ?? wanted) }
        self.limits = limits
        self.deadline = deadline
    }

    /// The next source to ask; nil when everything is found, the sources are used up, or the time is over.
    public mutating func next(now: Instant) -> Step? {
        while position < sources.count, !wanted.isEmpty {
            let (source, digests) = sources[position]
            position += 1
            let asked = wanted.intersection(digests)
            if asked.isEmpty { continue }
            guard now < deadline else {
                uncertain.formUnion(asked)
                continue
            }
            let limit = now + limits.limit(source)
            return Step(source: source, digests: asked.sorted(), deadline: min(limit, deadline))
        }
        return nil
    }

    /// The source answered; what it did not give it has not got.
    public mutating func answered(_ step: Step, found: some Sequence<Digest>) {
        wanted.subtract(found)
    }

    /// The source did not answer, or not for all: what was found all the same, is.
    public mutating func failed(_ step: Step, found: some Sequence<Digest>) {
        wanted.subtract(found)
        uncertain.formUnion(wanted.intersection(step.digests))
    }

    /// Not found, and not known to be lost.
    public var unreached: Set<Digest> { wanted.intersection(uncertain) }
    /// Denied by every source.
    public var lost: Set<Digest> { position >= sources.count ? wanted.subtracting(uncertain) : [] }
}
