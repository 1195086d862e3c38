public import EsperTypes

/// What two holders of a shard give each other where their trees differ: blobs that one of them lacks and a name refers to.
///
/// They are united, and nothing is deleted. What no name refers to is not given either: what one has thrown away would come back
/// from the other, and be garbage there again.
public struct ShardRepair: Hashable, Sendable {
    /// From the other.
    public var missing: [Digest]
    /// To the other.
    public var given: [Digest]

    public init(mine: Set<Digest>, theirs: Set<Digest>, isWanted: (Digest) -> Bool) {
        missing = theirs.subtracting(mine).filter(isWanted).sorted()
        given = mine.subtracting(theirs).filter(isWanted).sorted()
    }
}
