public import EsperTypes

/// Where a blob is known to be.
public struct BlobHolding: Hashable, Sendable {
    /// Nodes that keep it, on disks that are not synced or in memory alone.
    public var memory: Set<NodeID>
    /// Nodes whose disks have it, written through.
    public var synced: Set<NodeID>
    /// Of Redis, the catalog and the archive.
    public var tiers: TierSet

    public init(memory: Set<NodeID> = [], synced: Set<NodeID> = [], tiers: TierSet = []) {
        self.memory = memory
        self.synced = synced
        self.tiers = tiers
    }

    public mutating func formUnion(_ other: BlobHolding) {
        memory.formUnion(other.memory)
        synced.formUnion(other.synced)
        tiers.formUnion(other.tiers)
    }
}

/// Decides whether a manifest may be bound: only when every blob of it is held as the mode asks (C5, step 4).
///
/// | mode | a blob is held by |
/// |---|---|
/// | memory | two nodes, so that it outlives their processes, or PostgreSQL, or the archive |
/// | durable | PostgreSQL, the archive, or the disks of two nodes |
/// | archived | the archive; where none is configured, the disks of two nodes |
///
/// In a cluster of one, one node is enough.
public struct ClosureGate: Sendable {
    public let mode: StoreMode
    /// Nodes that must have it where nodes count.
    public let copies: Int
    public let hasArchive: Bool
    private var holdings: [Digest: BlobHolding]

    /// - Parameters:
    ///   - members: of the cluster, alive or not.
    ///   - copies: that the cluster keeps of a blob.
    public init(_ closure: some Sequence<Digest>, mode: StoreMode, members: Int, copies: Int = 2, hasArchive: Bool) {
        self.mode = mode
        self.copies = max(1, min(copies, members))
        self.hasArchive = hasArchive
        holdings = [:]
        for digest in closure { holdings[digest] = BlobHolding() }
    }

    public mutating func note(_ digest: Digest, _ holding: BlobHolding) {
        holdings[digest]?.formUnion(holding)
    }

    public func isSatisfied(by holding: BlobHolding) -> Bool {
        switch mode {
        case .memory:
            holding.memory.union(holding.synced).count >= copies || !holding.tiers.isDisjoint(with: Self.durableTiers)
        case .durable: !holding.tiers.isDisjoint(with: Self.durableTiers) || holding.synced.count >= copies
        case .archived: hasArchive ? holding.tiers.contains(TierSet(.archive)) : holding.synced.count >= copies
        }
    }

    private static let durableTiers: TierSet = [TierSet(.catalog), TierSet(.archive)]

    /// Those that are not held well enough, in order.
    public var lacking: [Digest] { holdings.filter { !isSatisfied(by: $0.value) }.keys.sorted() }

    public var isOpen: Bool { holdings.values.allSatisfy { isSatisfied(by: $0) } }

    /// Tiers that hold all of it.
    public var tiers: TierSet {
        var common: TierSet?
        for holding in holdings.values {
            var tiers = holding.tiers
            if !holding.memory.isEmpty { tiers.insert(TierSet(.memory)) }
            if !holding.synced.isEmpty || holding.memory.count > 1 { tiers.insert(TierSet(.peer)) }
            common = common.map { $0.intersection(tiers) } ?? tiers
        }
        return common ?? []
    }
}
