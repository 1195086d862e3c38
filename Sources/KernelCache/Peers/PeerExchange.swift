public import CacheCore
public import EsperTypes

/// What nodes ask each other. A failure says nothing about what the other has.
public protocol PeerExchange: AnyObject, Sendable {
    /// Those of the digests that the peer has, checked against their names.
    ///
    /// - Parameter isUse: false for whoever looks at everything.
    func fetch(
        _ digests: [Digest], from node: NodeID, isUse: Bool, deadline: Instant
    ) async throws(PeerFailure) -> FetchedBlobs

    /// Returns when the peer keeps all of them in that way.
    ///
    /// - Parameter epochs: of the shards that the peer is to hold as a member; it refuses (``PeerFailure/isStale``) when it
    ///   knows one of them at another epoch, or has no lease. Blobs of other shards are copies that no map counts on.
    func push(
        _ blobs: [Blob], at epochs: [ShardID: ShardEpoch], to node: NodeID, keeping: BlobKeeping, deadline: Instant
    ) async throws(PeerFailure)

    /// What the peer has of them, so that a store may count on it: it keeps that for the time of one, and has it written through.
    ///
    /// - Parameter epochs: blobs of these shards count only when the peer knows the shard at the same epoch, as a member.
    func holdings(
        _ digests: [Digest], at node: NodeID, epochs: [ShardID: ShardEpoch], deadline: Instant
    ) async throws(PeerFailure) -> PeerHoldings

    /// What the peer has of them now, for whoever wants to read.
    func look(for digests: [Digest], at node: NodeID, deadline: Instant) async throws(PeerFailure) -> PeerHoldings

    func token(_ request: PeerTokenRequest, at node: NodeID, deadline: Instant) async throws(PeerFailure)
        -> PeerTokenReply

    /// What the peer has of a shard, the most used first.
    ///
    /// - Parameter claim: nil: whatever the peer knows of the shard.
    func digests(
        of shard: ShardID, _ claim: ShardClaim?, at node: NodeID, deadline: Instant
    ) async throws(PeerFailure) -> ShardAnswer<[BlobReference]>

    /// Parts of the Merkle tree over what the peer has of a shard.
    func compare(
        _ question: ShardQuestion, at node: NodeID, deadline: Instant
    ) async throws(PeerFailure) -> ShardAnswer<ShardParts>

    /// - Returns: nil: the peer does not lead.
    func report(_ report: PeerReport, to node: NodeID, deadline: Instant) async throws(PeerFailure) -> PeerReportReply?

    func progress(at node: NodeID, deadline: Instant) async throws(PeerFailure) -> MoveProgress

    /// For each shard a sum over what the peer has of it.
    func summaries(at node: NodeID, deadline: Instant) async throws(PeerFailure) -> [ShardSummary]

    /// What is worth most of all that the peer has in memory.
    func hottest(_ count: Int, at node: NodeID, deadline: Instant) async throws(PeerFailure) -> HotList

    /// Tells the peer that this node is about to delete blobs from the tiers that all nodes share, so that its stores wait for so long at
    /// most; zero: it is done.
    ///
    /// - Parameter round: a number that no other collection of this node has.
    /// - Returns: those that are not to be deleted.
    func condemn(
        _ digests: [Digest], for time: Duration, round: UInt64, at node: NodeID, deadline: Instant
    ) async throws(PeerFailure) -> Set<Digest>

    /// What the names stand for, linearizable, one for each.
    func bindings(_ names: [[UInt8]], at node: NodeID, deadline: Instant) async throws(PeerFailure) -> [NameReading]

    /// Who there is to talk to; called when the members change.
    func update(_ members: [CacheMember])

    var statistics: [CacheStatistics.Peer] { get }

    func close() async
}

public struct PeerFailure: Error, Hashable, Sendable, CustomStringConvertible {
    public var message: String
    /// The peer has not seen the request.
    public var isUnsent: Bool
    /// The peer knows the shard at another epoch, or has no lease: a newer map will tell.
    public var isStale: Bool
    /// The peer cannot keep what it was given, whatever the map.
    public var isRefused: Bool

    public init(_ message: String, isUnsent: Bool = false, isStale: Bool = false, isRefused: Bool = false) {
        self.message = message
        self.isUnsent = isUnsent
        self.isStale = isStale
        self.isRefused = isRefused
    }

    public var description: String { message }
}

/// How a node keeps a blob before it says that it does.
public enum BlobKeeping: Hashable, Sendable {
    /// In its memory, as long as there is room: the store puts it into a tier that lasts.
    case inMemory
    /// On its disk, so that it outlives the process; in memory where there is no disk.
    case written
    /// On its disk, so that it outlives a loss of power.
    case synced
}

/// What a peer has of the blobs that it was asked for.
public struct FetchedBlobs: Hashable, Sendable {
    public var blobs: [Digest: [UInt8]]
    /// It has too little processor for its own work: whoever can wait asks it for less.
    public var isStrained: Bool

    public init(blobs: [Digest: [UInt8]] = [:], isStrained: Bool = false) {
        self.blobs = blobs
        self.isStrained = isStrained
    }
}

public struct PeerHoldings: Hashable, Sendable {
    /// Of those asked for in the name of a store: where there is no disk.
    public var memory: Set<Digest>
    public var disk: Set<Digest>

    public init(memory: Set<Digest> = [], disk: Set<Digest> = []) {
        self.memory = memory
        self.disk = disk
    }
}

/// A sum over all blobs of a shard that a node has: equal sums, equal sets.
public struct ShardSummary: Hashable, Sendable {
    public var shard: ShardID
    public var count: UInt32
    /// Of the digests' halves, modulo 2⁶⁴ each: equal entries add up and do not cancel.
    public var sum: (UInt64, UInt64) { (high, low) }
    public var high: UInt64
    public var low: UInt64
    public var bytes: UInt64

    public init(shard: ShardID, count: UInt32 = 0, high: UInt64 = 0, low: UInt64 = 0, bytes: UInt64 = 0) {
        self.bytes = bytes
        self.shard = shard
        self.count = count
        self.high = high
        self.low = low
    }
}

/// What a node says that a name stands for.
public enum NameReading: Hashable, Sendable {
    /// It cannot tell.
    case unknown
    case absent
    case bound(version: LogIndex, manifest: Digest, state: Binding.State)

    init(_ binding: Binding?) {
        self = binding.map { .bound(version: $0.version, manifest: $0.manifest, state: $0.state) } ?? .absent
    }
}

/// About the right to make what is missing; answered by the coordinator of the name's shard.
public struct PeerTokenRequest: Hashable, Sendable {
    public enum Action: Hashable, Sendable {
        case ask(expected: Duration?)
        case renew(number: UInt64)
        case failed(number: UInt64, message: String, isDeterministic: Bool)
        /// With the version that the name got.
        case stored(LogIndex)
    }

    public var name: [UInt8]
    public var holder: String
    public var action: Action
    /// Of the asker's map.
    public var epoch: UInt64
    public var hop: Int

    public init(name: [UInt8], holder: String, action: Action, epoch: UInt64, hop: Int = 0) {
        self.name = name
        self.holder = holder
        self.action = action
        self.epoch = epoch
        self.hop = hop
    }
}

public enum PeerTokenReply: Hashable, Sendable {
    case answer(CompileTokens.Answer)
    /// For how long; nil: it is over.
    case renewed(Duration?)
    case done
    case notOwner(epoch: UInt64, owner: NodeID?)
}

/// What a node answers its peers. Called on any thread.
public protocol PeerResponder: AnyObject, Sendable {
    /// Whether this node has too little processor for its own work; at once.
    var isStrained: Bool { get }
    /// From memory alone, at once.
    func memoryBlob(_ digest: Digest, isUse: Bool) -> [UInt8]?
    func diskBlobs(_ digests: [Digest], deadline: Instant) async throws(PeerFailure) -> [Digest: [UInt8]]
    func take(
        _ blobs: [Blob], at epochs: [ShardID: ShardEpoch], keeping: BlobKeeping, deadline: Instant
    ) async throws(PeerFailure)
    func holdings(_ digests: [Digest], epochs: [ShardID: ShardEpoch], deadline: Instant) async -> PeerHoldings
    func look(for digests: [Digest]) -> PeerHoldings
    func token(_ request: PeerTokenRequest) -> PeerTokenReply
    func digests(of shard: ShardID, _ claim: ShardClaim?) async -> ShardAnswer<[BlobReference]>
    func compare(_ question: ShardQuestion) async -> ShardAnswer<ShardParts>
    /// - Parameter name: of the member that reports. - Returns: nil: this node does not lead.
    func report(_ report: PeerReport, from name: String) -> PeerReportReply?
    func progress() -> MoveProgress
    func summaries() async -> [ShardSummary]
    func hottest(_ count: Int) -> HotList
    /// - Parameter name: of the member that asks.
    func condemn(_ digests: [Digest], for time: Duration, by name: String, round: UInt64) async -> Set<Digest>
    func bindings(_ names: [[UInt8]], deadline: Instant) async -> [NameReading]
    /// Whether a node of this name is a member.
    func isMember(_ name: String) -> Bool
}

/// For a cluster of one.
public final class NoPeers: PeerExchange {
    public init() {}

    private static let nobody = PeerFailure("there is no other node", isUnsent: true)

    public func fetch(
        _ digests: [Digest], from node: NodeID, isUse: Bool, deadline: Instant
    ) async throws(PeerFailure) -> FetchedBlobs { throw Self.nobody }
    public func push(
        _ blobs: [Blob], at epochs: [ShardID: ShardEpoch], to node: NodeID, keeping: BlobKeeping, deadline: Instant
    ) async throws(PeerFailure) { throw Self.nobody }
    public func holdings(
        _ digests: [Digest], at node: NodeID, epochs: [ShardID: ShardEpoch], deadline: Instant
    ) async throws(PeerFailure) -> PeerHoldings { throw Self.nobody }
    public func look(
        for digests: [Digest], at node: NodeID, deadline: Instant
    ) async throws(PeerFailure) -> PeerHoldings { throw Self.nobody }
    public func token(
        _ request: PeerTokenRequest, at node: NodeID, deadline: Instant
    ) async throws(PeerFailure) -> PeerTokenReply { throw Self.nobody }
    public func digests(
        of shard: ShardID, _ claim: ShardClaim?, at node: NodeID, deadline: Instant
    ) async throws(PeerFailure) -> ShardAnswer<[BlobReference]> { throw Self.nobody }
    public func compare(
        _ question: ShardQuestion, at node: NodeID, deadline: Instant
    ) async throws(PeerFailure) -> ShardAnswer<ShardParts> { throw Self.nobody }
    public func report(
        _ report: PeerReport, to node: NodeID, deadline: Instant
    ) async throws(PeerFailure) -> PeerReportReply? { throw Self.nobody }
    public func progress(at node: NodeID, deadline: Instant) async throws(PeerFailure) -> MoveProgress {
        throw Self.nobody
    }
    public func summaries(at node: NodeID, deadline: Instant) async throws(PeerFailure) -> [ShardSummary] {
        throw Self.nobody
    }
    public func hottest(_ count: Int, at node: NodeID, deadline: Instant) async throws(PeerFailure) -> HotList {
        throw Self.nobody
    }
    public func condemn(
        _ digests: [Digest], for time: Duration, round: UInt64, at node: NodeID, deadline: Instant
    ) async throws(PeerFailure) -> Set<Digest> { throw Self.nobody }
    public func bindings(
        _ names: [[UInt8]], at node: NodeID, deadline: Instant
    ) async throws(PeerFailure) -> [NameReading] { throw Self.nobody }
    public func update(_ members: [CacheMember]) {}
    public var statistics: [CacheStatistics.Peer] { [] }
    public func close() async {}
}
