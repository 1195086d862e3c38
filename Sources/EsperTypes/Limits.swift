/// Bounds that every part of a cluster must agree on, because one part's output is another's input.
public enum Limits {
    /// A log entry's payload. Bytes never travel through the log: whatever is larger is stored elsewhere by digest.
    public static let entryPayloadBytes = 64 << 10

    /// A key of the keyspace, with the session suffix of a lock or election.
    public static let keyBytes = 4 << 10

    /// A value of the keyspace; with the longest key and the entry's own fields it still fits an entry.
    public static let valueBytes = 56 << 10

    /// Operations of one transaction, counted over both branches.
    public static let transactionOperations = 512

    /// One AppendEntries message carries entries up to this many payload bytes, or a single larger one.
    public static let appendBytes = 1 << 20

    /// One chunk of a snapshot on the bulk link.
    public static let snapshotChunkBytes = 1 << 20

    /// A frame between peers: one full AppendEntries of the smallest entries (64 bytes each of framing) with head-room.
    public static let peerFrameBytes = 8 << 20
}
