import EsperTypes

// Snapshot format 7. The stream is "ESPRSNAP", a 16-bit version, then frames: 32-bit length of the body, its CRC-32C, the
// body, which is records. What was live at the compacted revision comes first, then every change since, in order; replaying
// the changes rebuilds numbers, history and indexes, so no value is written twice. Formats 1 to 6 are read too: 1 to 6 have no
// cache, 1 to 5 do not
// say by which entry a session began, which is its ID there, nor what the compacted revision deleted, and have no users; 1 to 4 have no join tokens, 1 and 2 no members, and 1 no labels
// of sessions either.

enum SnapshotFormat {
    static let magic = Array("ESPRSNAP".utf8)
    static let version: UInt16 = 7
    static let oldestVersion: UInt16 = 1
    /// From this version on the chain follows the rule of ``StateMachine/chainFormat``.
    static let oldestChainVersion: UInt16 = 4
    /// The digest of the frames begins with the version, so that no stream passes for one of another; format 1 had no other.
    static func digest(_ version: UInt16) -> Digest64 { version == 1 ? Digest64() : Digest64(seed: UInt64(version)) }
    static let preludeBytes = 10
    static let frameHeaderBytes = 8
    /// A frame is closed by the client or record that fills it; a client may have all the answers there are, which take
    /// fewer bytes here than they are counted for.
    static let frameBytes = CoordinationLimits.snapshotFrameBytes + CoordinationLimits.replyBytes + (2 << 20)
}

/// The kinds of records, in the order in which they come.
enum SnapshotTag: UInt8 {
    case state = 1
    case base, put, deletion, session, client, answer, outboxRecord
    /// Sizes to compare, then the digest of all frames before this one.
    case end
    /// After the state, once there are members.
    case members
    /// After the state: its chain was made by more than one rule.
    case mixedChain
    /// After the members.
    case joinToken
    /// After the join tokens: by which key a member is known.
    case memberKey
    /// After those, once there ever were users or roles.
    case auth
    /// After that, once it was used: counts of the cache that its names do not tell.
    case cache
    /// After the outbox: a name of the cache.
    case binding
    /// After the counts of the cache, once it was made: where its blobs belong.
    case shardMap
}

/// What the last frame compares.
struct SnapshotTotals: Equatable {
    var revision: Revision
    var keys: Int
    var bytes: Int
    var sessions: Int
    var clients: Int
    var outboxRecords: Int
    /// Names of the cache, tombstones included; 0 in formats that have none.
    var names: Int

    init(_ state: StateMachine) {
        revision = state.revision
        keys = state.keyspace.live.count
        bytes = state.keyspace.liveBytes
        sessions = state.sessions.count
        clients = state.requests.clients.count
        outboxRecords = state.outbox.count
        names = state.cache.names.count
    }

    func encode(into writer: inout ByteWriter) {
        writer.write(revision)
        for count in [keys, bytes, sessions, clients, outboxRecords, names] { writer.write(Int64(count)) }
    }

    init(from reader: inout ByteReader, version: UInt16) throws(DecodingError) {
        revision = try reader.read()
        keys = Int(try reader.read(Int64.self))
        bytes = Int(try reader.read(Int64.self))
        sessions = Int(try reader.read(Int64.self))
        clients = Int(try reader.read(Int64.self))
        outboxRecords = Int(try reader.read(Int64.self))
        names = version > 6 ? Int(try reader.read(Int64.self)) : 0
    }
}
