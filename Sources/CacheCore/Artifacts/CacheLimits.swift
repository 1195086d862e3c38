/// Bounds of the cache that every part of a cluster must agree on.
public enum CacheLimits {
    /// Blobs are cut at this size, so that every copy, move and check has a small unit.
    public static let blobBytes = 1 << 20
    /// A name: what it is called within its tenant, with the tenant's prefix.
    public static let nameBytes = 1024
    /// A file this small stands in the manifest itself.
    public static let inlineBytes = 16 << 10
    /// The largest manifest; one of full blobs names 8 GiB.
    public static let manifestBytes = 1 << 20
    /// All of one artifact.
    public static let artifactBytes: UInt64 = 8 << 30
    public static let files = 4096
    public static let fileNameBytes = 1024
    public static let writerBytes = 512

    /// Names that one command changes: as many bindings as a bulk load puts in an entry.
    public static let changesPerCommand = 128
    /// The changes of one command when written: an entry's payload without its own fields, principal and all.
    public static let commandBytes = 60 << 10
    /// Names of all tenants, tombstones included; at 500 bytes each 8 GB.
    public static let names = 16 << 20
    /// Tombstones that one command forgets: some milliseconds of work.
    public static let forgottenPerCommand = 4096
    /// A hundred years: no sum with a clock of this or the next century overflows.
    public static let maximumLifetime = Duration.seconds(100 * 365 * 86_400)
}
