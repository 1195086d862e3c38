import CacheCore
import EsperProtocol
import EsperTypes
import FoundationEssentials
public import GRPCTransport
import NIOCore
import RaftRuntime
import SwiftProtobuf
import Synchronization

/// Serves `esper.v1.CachePeer` to the other nodes of the cluster, and to nobody else.
///
/// What stands in memory is answered on the event loop at once. Pushes hold at most ``maximumPushedBytes`` together; a fetch holds
/// one blob at a time and waits for its reader.
public final class CachePeerDoor: GRPCService {
    /// Of all pushes under way.
    public static let maximumPushedBytes = 64 << 20

    private let responder: any PeerResponder
    private let pushes = Mutex<(streams: [CallHandle: Push], bytes: Int)>(([:], 0))
    private let fetches = Mutex<[CallHandle: PeerFetchStream]>([:])

    public init(_ responder: any PeerResponder) { self.responder = responder }

    /// What the server needs to route calls.
    public static var methods: MethodTable {
        var table = MethodTable()
        for method in ProtoCachePeerMethod.allCases {
            let kind: MethodTable.Kind =
                switch method {
                case .findMissing, .token, .summaries, .hottest, .report, .compare, .progress, .condemn, .bindings:
                    .unary
                case .fetch, .digestsOfShard: .serverStreaming
                case .push: .streaming
                }
            table.add(method.path, id: method.rawValue, kind: kind)
        }
        return table
    }

    // MARK: Calls

    public func received(_ calls: [InboundCall], on connection: ServerConnection) {
        let peer = peer(connection)
        for call in calls {
            guard let peer else {
                connection.finish(call.handle, Self.stranger)
                continue
            }
            begin(call, of: peer, on: connection)
        }
    }

    private static let stranger = GRPCStatus(.permissionDenied, "only members of the cluster exchange blobs")
    private static let nonsense = GRPCStatus(.invalidArgument, "the request makes no sense")

    /// The name of the member that the connection belongs to.
    private func peer(_ connection: ServerConnection) -> String? {
        let prefix = "node/"
        guard connection.principal.hasPrefix(prefix) else { return nil }
        let name = String(connection.principal.dropFirst(prefix.count))
        return responder.isMember(name) ? name : nil
    }

    private func begin(_ call: InboundCall, of peer: String, on connection: ServerConnection) {
        let handle = call.handle
        switch ProtoCachePeerMethod(rawValue: call.method) {
        case .token:
            guard let request = try? ProtoPeerTokenRequest(serializedBytes: call.message).request else {
                return connection.finish(handle, Self.nonsense)
            }
            answer(handle, ProtoPeerTokenResponse(responder.token(request)))
        case .findMissing:
            guard let request = try? ProtoPeerFindMissingRequest(serializedBytes: call.message),
                let digests = PeerMessages.digests(request.digests),
                let epochs = PeerMessages.epochs(of: digests, request.epochs)
            else { return connection.finish(handle, Self.nonsense) }
            if request.looks {
                return answer(handle, ProtoPeerFindMissingResponse(responder.look(for: digests)))
            }
            // Ends by its disk's answer; whoever asked may be gone by then, and the answer is dropped.
            Task {
                let held = await self.responder.holdings(
                    digests, epochs: epochs, deadline: NodeClock.now() + .seconds(5))
                self.answer(handle, ProtoPeerFindMissingResponse(held))
            }
        case .summaries:
            // As above.
            Task {
                var reply = ProtoPeerSummariesResponse()
                reply.shards = await self.responder.summaries().map { sum in
                    var shard = ProtoPeerShardSummary()
                    shard.shard = UInt32(sum.shard.rawValue)
                    shard.count = sum.count
                    shard.high = sum.high
                    shard.low = sum.low
                    shard.bytes = sum.bytes
                    return shard
                }
                self.answer(handle, reply)
            }
        case .hottest:
            guard let request = try? ProtoPeerHottestRequest(serializedBytes: call.message) else {
                return connection.finish(handle, Self.nonsense)
            }
            // As above.
            Task {
                let count = min(Int(request.count), PeerMessages.digestsPerMessage)
                let skip = min(Int(request.skip), HotList.maximumCount)
                var page = HotList(limit: count)
                for entry in self.responder.hottest(skip + count).entries.dropFirst(skip) { page.insert(entry) }
                var reply = ProtoPeerHottestResponse()
                reply.list = Data(page.encoded())
                self.answer(handle, reply)
            }
        case .digestsOfShard:
            guard let request = try? ProtoPeerShardRequest(serializedBytes: call.message),
                let shard = ShardID(Int(request.shard))
            else { return connection.finish(handle, Self.nonsense) }
            // As above.
            Task {
                let claim =
                    request.epoch == 0
                    ? nil : ShardClaim(epoch: ShardEpoch(request.epoch), isStray: request.stray)
                var answers: [Answer] = []
                let digests: [BlobReference]
                switch await self.responder.digests(of: shard, claim) {
                case .value(let found): digests = found
                case .notOwner(let map):
                    digests = []
                    var message = ProtoPeerDigests()
                    message.notOwner.epoch = map.rawValue
                    if let bytes: [UInt8] = try? message.serializedBytes() { answers.append(.message(handle, bytes)) }
                }
                for start in stride(from: 0, to: digests.count, by: PeerMessages.digestsPerMessage) {
                    let part = digests[start..<min(start + PeerMessages.digestsPerMessage, digests.count)]
                    var message = ProtoPeerDigests()
                    message.digests = PeerMessages.data(part.map(\.digest))
                    message.sizes = part.map(\.size)
                    guard let bytes: [UInt8] = try? message.serializedBytes() else { continue }
                    answers.append(.message(handle, bytes))
                }
                ServerConnection.deliver(answers + [.finish(handle, .ok)])
            }
        case .report:
            guard let report = try? ProtoPeerReportRequest(serializedBytes: call.message).report else {
                return connection.finish(handle, Self.nonsense)
            }
            answer(handle, ProtoPeerReportResponse(responder.report(report, from: peer)))
        case .compare:
            guard let question = try? ProtoPeerCompareRequest(serializedBytes: call.message).question else {
                return connection.finish(handle, Self.nonsense)
            }
            // As above.
            Task { self.answer(handle, ProtoPeerCompareResponse(await self.responder.compare(question))) }
        case .progress: answer(handle, ProtoPeerProgressResponse(responder.progress()))
        case .condemn:
            guard let request = try? ProtoPeerCondemnRequest(serializedBytes: call.message),
                let digests = PeerMessages.digests(request.digests)
            else { return connection.finish(handle, Self.nonsense) }
            // As above.
            Task {
                var reply = ProtoPeerCondemnResponse()
                reply.wanted = PeerMessages.data(
                    await self.responder.condemn(
                        digests, for: PeerMessages.duration(request.milliseconds), by: peer, round: request.round))
                self.answer(handle, reply)
            }
        case .bindings:
            guard let request = try? ProtoPeerBindingsRequest(serializedBytes: call.message),
                request.names.count <= PeerMessages.namesPerMessage
            else { return connection.finish(handle, Self.nonsense) }
            // As above.
            Task {
                var reply = ProtoPeerBindingsResponse()
                reply.bindings = await self.responder.bindings(
                    request.names.map { [UInt8]($0) }, deadline: NodeClock.now() + .seconds(5)
                ).map { ProtoPeerBinding($0) }
                self.answer(handle, reply)
            }
        case .fetch:
            guard let request = try? ProtoPeerFetchRequest(serializedBytes: call.message),
                let digests = PeerMessages.digests(request.digests)
            else { return connection.finish(handle, Self.nonsense) }
            let fetch = PeerFetchStream(handle, digests, isUse: !request.looks, responder) { [weak self] in
                self?.fetches.withLock { _ = $0.removeValue(forKey: handle) }
            }
            fetches.withLock { $0[handle] = fetch }
            fetch.pump()
        case .push, nil: connection.finish(handle, Self.nonsense)
        }
    }

    private func answer(_ handle: CallHandle, _ message: some Message) {
        guard let bytes: [UInt8] = try? message.serializedBytes() else {
            return ServerConnection.deliver([.finish(handle, GRPCStatus(.internal, "the answer cannot be written"))])
        }
        ServerConnection.deliver([.reply(handle, bytes)])
    }

    public func occurred(_ events: [CallEvent], on connection: ServerConnection) {
        for event in events {
            switch event {
            case .opened(let call):
                guard peer(connection) != nil else {
                    connection.finish(call.handle, Self.stranger)
                    continue
                }
                pushes.withLock { $0.streams[call.handle] = Push() }
            case .message(let handle, let message):
                connection.acknowledge(handle, messageBytes: message.count)
                if let status = take(message, of: handle) {
                    forget(handle)
                    connection.finish(handle, status)
                }
            case .halfClosed(let handle): finishPush(handle, on: connection)
            case .writable(let handle): fetches.withLock { $0[handle] }?.pump()
            case .ended(let handle, _):
                forget(handle)
                fetches.withLock { $0.removeValue(forKey: handle) }?.stop()
            }
        }
    }

    // MARK: Pushes

    private struct Push {
        var blobs: [Blob] = []
        /// Of the shards that this node is asked to hold as a member.
        var epochs: [ShardID: ShardEpoch] = [:]
        var keeping = BlobKeeping.inMemory
        /// Of the last blob.
        var missingBytes = 0
        var bytes = 0
    }

    /// - Returns: why the push ends, if it does.
    private func take(_ message: [UInt8], of handle: CallHandle) -> GRPCStatus? {
        guard let part = try? ProtoPeerPushRequest(serializedBytes: message) else { return Self.nonsense }
        return pushes.withLock { pushes in
            // Taken out, so that its bytes have one owner and are not copied with each message.
            guard var push = pushes.streams.removeValue(forKey: handle) else { return nil }
            defer { pushes.streams[handle] = push }
            if !part.digest.isEmpty {
                guard push.missingBytes == 0, let digest = Digest(bytes: part.digest),
                    (1...UInt32(CacheLimits.blobBytes)).contains(part.size)
                else { return Self.nonsense }
                // The strongest that any blob of the push asks for.
                if part.synced { push.keeping = .synced }
                if part.written, push.keeping == .inMemory { push.keeping = .written }
                push.missingBytes = Int(part.size)
                if part.epoch > 0 {
                    let epoch = ShardEpoch(part.epoch)
                    guard push.epochs.updateValue(epoch, forKey: ShardID(of: digest)) ?? epoch == epoch else {
                        return Self.nonsense
                    }
                }
                push.blobs.append(Blob(digest: digest, bytes: []))
                push.blobs[push.blobs.count - 1].bytes.reserveCapacity(Int(part.size))
            }
            guard !push.blobs.isEmpty, part.data.count <= push.missingBytes else { return Self.nonsense }
            guard pushes.bytes + part.data.count <= Self.maximumPushedBytes else {
                return GRPCStatus(.resourceExhausted, "too much is being pushed")
            }
            push.blobs[push.blobs.count - 1].bytes.append(contentsOf: part.data)
            push.missingBytes -= part.data.count
            push.bytes += part.data.count
            pushes.bytes += part.data.count
            return nil
        }
    }

    private func forget(_ handle: CallHandle) {
        pushes.withLock { pushes in
            if let push = pushes.streams.removeValue(forKey: handle) { pushes.bytes -= push.bytes }
        }
    }

    private func finishPush(_ handle: CallHandle, on connection: ServerConnection) {
        guard let push = pushes.withLock({ $0.streams[handle] }) else { return }
        guard push.missingBytes == 0 else {
            forget(handle)
            return connection.finish(handle, Self.nonsense)
        }
        let (blobs, epochs, keeping) = (push.blobs, push.epochs, push.keeping)
        // Ends by its disk's answer.
        Task {
            defer { self.forget(handle) }
            guard blobs.allSatisfy({ Digest(hashing: $0.bytes) == $0.digest }) else {
                ServerConnection.deliver([
                    .finish(handle, GRPCStatus(.dataLoss, "bytes that do not hash to their name"))
                ])
                return
            }
            do throws(PeerFailure) {
                try await self.responder.take(
                    blobs, at: epochs, keeping: keeping, deadline: NodeClock.now() + .seconds(10))
                self.answer(handle, ProtoPeerPushResponse())
            } catch {
                if error.isStale {
                    var refusal = ProtoPeerPushResponse()
                    refusal.notOwner = ProtoPeerNotOwner()
                    return self.answer(handle, refusal)
                }
                ServerConnection.deliver([.finish(handle, GRPCStatus(.failedPrecondition, error.message))])
            }
        }
    }
}
