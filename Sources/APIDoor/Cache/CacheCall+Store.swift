internal import CacheCore
internal import EsperProtocol
internal import EsperTypes
internal import GRPCTransport
internal import KernelCache
internal import NIOCore
internal import RaftRuntime
internal import SwiftProtobuf

extension CacheCall {
    /// One blob to the tiers that its mode needs.
    private static let blobTime = Duration.seconds(30)
    /// From the end of the stream to the answer, when the caller names no deadline.
    private static let bindingTime = Duration.seconds(15)
    /// Takes the header, the files and the end; then binds.
    func store() async throws(CacheFailure) {
        try transfers.enter()
        defer { transfers.leave() }
        guard let first = try await nextRequest(), case .header(let header)? = first.kind else {
            throw CacheFailure(.invalid, "a store begins with its header")
        }
        var request = try KernelCache.StoreRequest(header, principal: principal, deadline: .distantFuture)
        let deadline = deadline
        var assembler = ArtifactAssembler(cache, request.mode) {
            min(deadline ?? .distantFuture, NodeClock.now() + Self.blobTime)
        }
        receiving: while true {
            guard let next = try await nextRequest() else {
                throw CacheFailure(.invalid, "the stream ends without 'end': nothing was bound")
            }
            switch next.kind {
            case .file(let file)?:
                try await assembler.begin(file.name, expected: try Digest.optional(file.sha256, "file.sha256"))
            case .data(let data)?: try await assembler.append(data)
            case .blob(let blob)?: try assembler.append(try BlobReference(blob))
            case .end?: break receiving
            case .header?: throw CacheFailure(.invalid, "a second header")
            case nil: throw CacheFailure(.invalid, "an empty request")
            }
        }
        request.manifest = try await assembler.finish(writer: principal)
        request.deadline = self.deadline(orWithin: Self.bindingTime)
        let reply = try await cache.store(request)
        do {
            let answer = try ProtoStoreResponse(reply).serializedBytes() as [UInt8]
            ServerConnection.deliver([.message(handle, answer), .finish(handle, .ok)])
        } catch {
            throw CacheFailure(.invalid, "the answer cannot be written: \(error)", outcome: .committed)
        }
    }

    /// - Returns: nil when there are no more.
    private func nextRequest() async throws(CacheFailure) -> ProtoStoreRequest? {
        let silence = silence
        let timer = handle.connection.eventLoop.scheduleTask(in: silence) {
            self.finish(CacheFailure(.timedOut, "nothing came for \(silence.nanoseconds / 1_000_000_000) s"))
            self.end()
        }
        let bytes = await next()
        timer.cancel()
        guard let bytes else {
            if isOver { throw CacheFailure(.timedOut, "the caller is gone") }
            return nil
        }
        return try Self.parse(ProtoStoreRequest.self, bytes)
    }
}
