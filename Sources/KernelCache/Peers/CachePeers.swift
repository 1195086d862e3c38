public import CacheCore
import EsperProtocol
public import EsperTypes
import FoundationEssentials
import GRPCTransport
public import NIOCore
public import NIOSSL
import RaftRuntime
import SwiftProtobuf
import Synchronization

/// Asks the other nodes over gRPC, by their API ports, as the node that this is.
public final class CachePeers: PeerExchange {
    private struct State {
        var links: [NodeID: PeerLink] = [:]
        var tls: NIOSSLContext
        var isClosed = false
    }

    private let me: NodeID
    private let group: any EventLoopGroup
    private let state: Mutex<State>
    /// Blobs that were not those of their digests.
    private let corrupt = Count("esper_cache_corrupt", [("tier", CacheTier.peer.name)])

    /// - Parameter tls: with this node's own certificate; offers `h2`.
    public init(me: NodeID, tls: NIOSSLContext, on group: any EventLoopGroup) {
        self.me = me
        self.group = group
        state = Mutex(State(tls: tls))
    }

    /// For connections from now on.
    public func use(_ tls: NIOSSLContext) { state.withLock { $0.tls = tls } }

    public func update(_ members: [CacheMember]) {
        let gone = state.withLock { state in
            var gone: [PeerLink] = []
            for (node, link) in state.links where !members.contains(link.member) {
                state.links[node] = nil
                gone.append(link)
            }
            if state.isClosed { return gone }
            for member in members where member.id != me && state.links[member.id] == nil {
                state.links[member.id] = PeerLink(
                    member, on: group, seed: me.rawValue &* 31 &+ member.id.rawValue)
            }
            return gone
        }
        for link in gone { link.close() }
    }

    public func close() async {
        let links = state.withLock { state in
            state.isClosed = true
            defer { state.links = [:] }
            return Array(state.links.values)
        }
        for link in links { link.close() }
    }

    public var statistics: [CacheStatistics.Peer] {
        let links = state.withLock { $0.links.values.sorted { $0.member.id < $1.member.id } }
        return links.map { link in
            var peer = CacheStatistics.Peer(
                name: link.member.name, isConnected: link.isConnected, breaker: link.health.name)
            peer.fetchedBlobs = link.counts.fetchedBlobs.load(ordering: .relaxed)
            peer.fetchedBytes = link.counts.fetchedBytes.load(ordering: .relaxed)
            peer.pushedBlobs = link.counts.pushedBlobs.load(ordering: .relaxed)
            peer.pushedBytes = link.counts.pushedBytes.load(ordering: .relaxed)
            peer.failures = link.counts.failures.load(ordering: .relaxed)
            peer.corrupt = link.counts.corrupt.load(ordering: .relaxed)
            peer.microseconds = link.counts.microseconds.load(ordering: .relaxed)
            return peer
        }
    }

    // MARK: Calls

    public func fetch(
        _ digests: [Digest], from node: NodeID, isUse: Bool, deadline: Instant
    ) async throws(PeerFailure) -> FetchedBlobs {
        // Whoever looks at everything has time.
        guard isUse else { return try await fetchAll(digests, from: node, isUse: false, deadline: deadline) }
        return try await member(node).read { () async throws(PeerFailure) in
            try await fetchAll(digests, from: node, isUse: true, deadline: deadline)
        }
    }

    private func fetchAll(
        _ digests: [Digest], from node: NodeID, isUse: Bool, deadline: Instant
    ) async throws(PeerFailure) -> FetchedBlobs {
        var found = FetchedBlobs()
        for start in stride(from: 0, to: digests.count, by: PeerMessages.digestsPerMessage) {
            var request = ProtoPeerFetchRequest()
            request.digests = PeerMessages.data(
                digests[start..<min(start + PeerMessages.digestsPerMessage, digests.count)])
            request.looks = !isUse
            let wanted = Set(digests)
            let (link, messages) = try await stream(node, .fetch, request, deadline)
            for message in messages {
                let blob: ProtoPeerBlob = try Self.parse(message)
                let bytes = [UInt8](blob.data)
                guard let digest = Digest(bytes: blob.digest), wanted.contains(digest),
                    Digest(hashing: bytes) == digest
                else {
                    link.counts.corrupt.add(1, ordering: .relaxed)
                    corrupt.add()
                    continue
                }
                found.blobs[digest] = bytes
                if blob.strained { found.isStrained = true }
                link.counts.fetchedBlobs.add(1, ordering: .relaxed)
                link.counts.fetchedBytes.add(UInt64(bytes.count), ordering: .relaxed)
            }
        }
        return found
    }

    public func push(
        _ blobs: [Blob], at epochs: [ShardID: ShardEpoch], to node: NodeID, keeping: BlobKeeping, deadline: Instant
    ) async throws(PeerFailure) {
        var batch: [Blob] = []
        var bytes = 0
        for blob in blobs {
            if bytes + blob.bytes.count > PeerMessages.batchBytes, !batch.isEmpty {
                try await pushBatch(batch, at: epochs, to: node, keeping: keeping, deadline: deadline)
                (batch, bytes) = ([], 0)
            }
            batch.append(blob)
            bytes += blob.bytes.count
        }
        if !batch.isEmpty { try await pushBatch(batch, at: epochs, to: node, keeping: keeping, deadline: deadline) }
    }

    private func pushBatch(
        _ blobs: [Blob], at epochs: [ShardID: ShardEpoch], to node: NodeID, keeping: BlobKeeping, deadline: Instant
    ) async throws(PeerFailure) {
        var messages: [[UInt8]] = []
        for blob in blobs {
            var start = 0
            repeat {
                let end = min(start + PeerMessages.chunkBytes, blob.bytes.count)
                var message = ProtoPeerPushRequest()
                if start == 0 {
                    message.digest = PeerMessages.data([blob.digest])
                    message.size = UInt32(blob.bytes.count)
                    message.synced = keeping == .synced
                    message.written = keeping != .inMemory
                    message.epoch = epochs[ShardID(of: blob.digest)]?.rawValue ?? 0
                }
                // By its memory: as a sequence it would be taken byte by byte.
                message.data = blob.bytes[start..<end].withUnsafeBytes { Data($0) }
                messages.append(try Self.bytes(of: message))
                start = end
            } while start < blob.bytes.count
        }
        let (link, replies) = try await stream(node, .push, messages, deadline)
        guard replies.count == 1 else { throw PeerFailure("\(link.member.name) did not answer a push") }
        let reply: ProtoPeerPushResponse = try Self.parse(replies[0])
        if reply.hasNotOwner {
            throw PeerFailure("\(link.member.name) knows a shard at another epoch", isStale: true)
        }
        link.counts.pushedBlobs.add(UInt64(blobs.count), ordering: .relaxed)
        link.counts.pushedBytes.add(blobs.reduce(0) { $0 + UInt64($1.bytes.count) }, ordering: .relaxed)
    }

    public func holdings(
        _ digests: [Digest], at node: NodeID, epochs: [ShardID: ShardEpoch], deadline: Instant
    ) async throws(PeerFailure) -> PeerHoldings {
        try await ask(node, for: digests, deadline) { request, part in
            if !epochs.isEmpty { request.epochs = part.map { epochs[ShardID(of: $0)]?.rawValue ?? 0 } }
        }
    }

    public func look(
        for digests: [Digest], at node: NodeID, deadline: Instant
    ) async throws(PeerFailure) -> PeerHoldings {
        try await ask(node, for: digests, deadline) { request, _ in request.looks = true }
    }

    private func ask(
        _ node: NodeID, for digests: [Digest], _ deadline: Instant,
        _ complete: (inout ProtoPeerFindMissingRequest, ArraySlice<Digest>) -> Void
    ) async throws(PeerFailure) -> PeerHoldings {
        var held = PeerHoldings()
        for start in stride(from: 0, to: digests.count, by: PeerMessages.digestsPerMessage) {
            var request = ProtoPeerFindMissingRequest()
            let part = digests[start..<min(start + PeerMessages.digestsPerMessage, digests.count)]
            request.digests = PeerMessages.data(part)
            complete(&request, part)
            let reply: ProtoPeerFindMissingResponse = try await unary(node, .findMissing, request, deadline)
            guard let memory = PeerMessages.digests(reply.inMemory), let disk = PeerMessages.digests(reply.onDisk)
            else { throw PeerFailure("no digests in an answer") }
            held.memory.formUnion(memory)
            held.disk.formUnion(disk)
        }
        return held
    }

    public func condemn(
        _ digests: [Digest], for time: Duration, round: UInt64, at node: NodeID, deadline: Instant
    ) async throws(PeerFailure) -> Set<Digest> {
        var wanted: Set<Digest> = []
        for start in stride(from: 0, to: digests.count, by: PeerMessages.digestsPerMessage) {
            var request = ProtoPeerCondemnRequest()
            request.digests = PeerMessages.data(
                digests[start..<min(start + PeerMessages.digestsPerMessage, digests.count)])
            request.milliseconds = PeerMessages.milliseconds(time)
            request.round = round
            let reply: ProtoPeerCondemnResponse = try await unary(node, .condemn, request, deadline)
            guard let some = PeerMessages.digests(reply.wanted) else { throw PeerFailure("no digests in an answer") }
            wanted.formUnion(some)
        }
        return wanted
    }

    public func bindings(
        _ names: [[UInt8]], at node: NodeID, deadline: Instant
    ) async throws(PeerFailure) -> [NameReading] {
        var request = ProtoPeerBindingsRequest()
        request.names = names.map { Data($0) }
        let reply: ProtoPeerBindingsResponse = try await unary(node, .bindings, request, deadline)
        guard reply.bindings.count == names.count else { throw PeerFailure("bindings that were not asked for") }
        return reply.bindings.map(\.reading)
    }

    public func token(
        _ request: PeerTokenRequest, at node: NodeID, deadline: Instant
    ) async throws(PeerFailure) -> PeerTokenReply {
        let reply: ProtoPeerTokenResponse = try await unary(node, .token, ProtoPeerTokenRequest(request), deadline)
        guard let reply = reply.reply else { throw PeerFailure("an answer about a token that says nothing") }
        return reply
    }

    public func digests(
        of shard: ShardID, _ claim: ShardClaim?, at node: NodeID, deadline: Instant
    ) async throws(PeerFailure) -> ShardAnswer<[BlobReference]> {
        var request = ProtoPeerShardRequest()
        request.shard = UInt32(shard.rawValue)
        request.epoch = claim?.epoch.rawValue ?? 0
        request.stray = claim?.isStray ?? false
        var found: [BlobReference] = []
        for message in try await stream(node, .digestsOfShard, request, deadline).messages {
            let part: ProtoPeerDigests = try Self.parse(message)
            if part.hasNotOwner { return .notOwner(map: MapEpoch(part.notOwner.epoch)) }
            guard let digests = PeerMessages.digests(part.digests), digests.count == part.sizes.count else {
                throw PeerFailure("a list of digests that does not fit its sizes")
            }
            found += zip(digests, part.sizes).map { BlobReference(digest: $0, size: $1) }
        }
        return .value(found)
    }

    public func compare(
        _ question: ShardQuestion, at node: NodeID, deadline: Instant
    ) async throws(PeerFailure) -> ShardAnswer<ShardParts> {
        let reply: ProtoPeerCompareResponse = try await unary(
            node, .compare, ProtoPeerCompareRequest(question), deadline)
        if reply.hasNotOwner { return .notOwner(map: MapEpoch(reply.notOwner.epoch)) }
        guard let parts = reply.parts(of: question) else { throw PeerFailure("parts that were not asked for") }
        return .value(parts)
    }

    public func report(
        _ report: PeerReport, to node: NodeID, deadline: Instant
    ) async throws(PeerFailure) -> PeerReportReply? {
        let reply: ProtoPeerReportResponse = try await unary(node, .report, ProtoPeerReportRequest(report), deadline)
        return reply.reply
    }

    public func progress(at node: NodeID, deadline: Instant) async throws(PeerFailure) -> MoveProgress {
        let reply: ProtoPeerProgressResponse = try await unary(node, .progress, ProtoPeerProgressRequest(), deadline)
        return reply.progress
    }

    public func summaries(at node: NodeID, deadline: Instant) async throws(PeerFailure) -> [ShardSummary] {
        let reply: ProtoPeerSummariesResponse = try await unary(
            node, .summaries, ProtoPeerSummariesRequest(), deadline)
        return reply.shards.compactMap { sum in
            ShardID(Int(sum.shard)).map {
                ShardSummary(shard: $0, count: sum.count, high: sum.high, low: sum.low, bytes: sum.bytes)
            }
        }
    }

    public func hottest(
        _ count: Int, at node: NodeID, deadline: Instant
    ) async throws(PeerFailure) -> HotList {
        var hottest = HotList(limit: count)
        var asked = 0
        while asked < hottest.limit {
            var request = ProtoPeerHottestRequest()
            request.skip = UInt32(asked)
            request.count = UInt32(min(hottest.limit - asked, PeerMessages.digestsPerMessage))
            let reply: ProtoPeerHottestResponse
            do throws(PeerFailure) { reply = try await unary(node, .hottest, request, deadline) } catch {
                // The most worthy have come.
                if asked > 0 { break }
                throw error
            }
            let page: [HotList.Entry]
            do throws(DecodingError) { page = try HotList(decoding: [UInt8](reply.list)).entries } catch {
                throw PeerFailure("a list of hot blobs makes no sense: \(error)")
            }
            for entry in page { hottest.insert(entry) }
            if page.count < Int(request.count) { break }
            asked += page.count
        }
        return hottest
    }

    // MARK: Performing them

    private func member(_ node: NodeID) throws(PeerFailure) -> PeerLink {
        guard let link = state.withLock({ $0.links[node] }) else {
            throw PeerFailure("\(node) is no member", isUnsent: true)
        }
        return link
    }

    private func link(_ node: NodeID, _ deadline: Instant) async throws(PeerFailure) -> (PeerLink, ClientConnection) {
        let link = try member(node)
        let tls = state.withLock { $0.tls }
        do throws(PeerFailure) { return (link, try await link.connection(tls, deadline: deadline)) } catch {
            link.counts.failures.add(1, ordering: .relaxed)
            throw error
        }
    }

    private static func timeout(_ deadline: Instant) throws(PeerFailure) -> TimeAmount {
        let left = deadline - NodeClock.now()
        guard left > .zero else { throw PeerFailure("no time is left", isUnsent: true) }
        return .nanoseconds(left.nanoseconds)
    }

    private func unary<Reply: Message>(
        _ node: NodeID, _ method: ProtoCachePeerMethod, _ request: some Message, _ deadline: Instant
    ) async throws(PeerFailure) -> Reply {
        let message = try Self.bytes(of: request)
        let (link, connection) = try await link(node, deadline)
        let start = NodeClock.now()
        let result = await connection.unary(
            ClientCall(path: method.path, message: message, timeout: try Self.timeout(deadline)))
        switch result {
        case .success(let reply):
            link.counts.microseconds.store(
                UInt64((NodeClock.now() - start).nanoseconds / 1000), ordering: .relaxed)
            return try Self.parse(reply.message)
        case .failure(let failure): throw Self.failed(link, failure)
        }
    }

    private func stream(
        _ node: NodeID, _ method: ProtoCachePeerMethod, _ request: some Message, _ deadline: Instant
    ) async throws(PeerFailure) -> (link: PeerLink, messages: [[UInt8]]) {
        try await stream(node, method, [try Self.bytes(of: request)], deadline, endsWithFirst: true)
    }

    private func stream(
        _ node: NodeID, _ method: ProtoCachePeerMethod, _ requests: [[UInt8]], _ deadline: Instant,
        endsWithFirst: Bool = false
    ) async throws(PeerFailure) -> (link: PeerLink, messages: [[UInt8]]) {
        let (link, connection) = try await link(node, deadline)
        let call = ClientCall(path: method.path, message: requests[0], timeout: try Self.timeout(deadline))
        let start = NodeClock.now()
        let gathered = GatheredStream()
        let stream = connection.open(call, endsWithFirstMessage: endsWithFirst) { gathered.take($0) }
        gathered.attach(stream)
        if !endsWithFirst {
            for request in requests.dropFirst() { stream.send(request) }
            stream.halfClose()
        }
        // Ends by the call's deadline, which the transport keeps.
        switch await gathered.end() {
        case .success(let messages):
            link.counts.microseconds.store(
                UInt64((NodeClock.now() - start).nanoseconds / 1000), ordering: .relaxed)
            return (link, messages)
        case .failure(let failure): throw Self.failed(link, failure)
        }
    }

    private static func failed(_ link: PeerLink, _ failure: CallFailure) -> PeerFailure {
        link.counts.failures.add(1, ordering: .relaxed)
        return PeerFailure(
            "\(link.member.name): \(failure)", isUnsent: !failure.mayHaveArrived,
            isRefused: failure.status.code == .failedPrecondition)
    }

    private static func bytes(of message: some Message) throws(PeerFailure) -> [UInt8] {
        do { return try message.serializedBytes() } catch { throw PeerFailure("\(error)", isUnsent: true) }
    }

    private static func parse<Reply: Message>(_ bytes: [UInt8]) throws(PeerFailure) -> Reply {
        do { return try Reply(serializedBytes: bytes) } catch { throw PeerFailure("\(error)") }
    }
}

/// The answers of one stream, until it ends.
private final class GatheredStream: Sendable {
    private struct State {
        var messages: [[UInt8]] = []
        var stream: ClientStream?
        /// Sizes of messages that came before the stream was known.
        var early: [Int] = []
    }

    private let state = Mutex(State())
    private let outcome = FirstOutcome<Result<[[UInt8]], CallFailure>>()

    func attach(_ stream: ClientStream) {
        let early = state.withLock { state in
            state.stream = stream
            defer { state.early = [] }
            return state.early
        }
        for count in early { stream.acknowledge(messageBytes: count) }
    }

    func take(_ event: ClientStreamEvent) {
        switch event {
        case .began: break
        case .message(let message):
            let stream = state.withLock { state in
                state.messages.append(message)
                if state.stream == nil { state.early.append(message.count) }
                return state.stream
            }
            stream?.acknowledge(messageBytes: message.count)
        case .ended(let result):
            let messages = state.withLock { $0.messages }
            outcome.set(result.map { _ in messages })
        }
    }

    /// Once only.
    func end() async -> Result<[[UInt8]], CallFailure> { await outcome.value() }
}
