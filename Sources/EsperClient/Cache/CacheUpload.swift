internal import CacheCore
internal import EsperProtocol
internal import EsperTypes
internal import FoundationEssentials
internal import GRPCTransport
internal import NIOCore
internal import SwiftProtobuf

/// One store under way: the same request id in every attempt, so that it is done once whatever happens to an answer.
///
/// Holds one piece of a file at a time, and what the transport queues.
struct CacheUpload {
    /// A message of 256 KiB has room for it.
    private static let pieceBytes = 128 << 10
    /// Artifacts of this size are looked through for blobs that the cluster has.
    private static let dedupeBytes: UInt64 = 4 << 20

    private struct Planned {
        var name: String
        var source: PieceReader.Source
        var size: UInt64
        /// Empty: not looked through.
        var blobs: [BlobReference] = []
    }

    private let client: EsperClient
    private let name: ArtifactName
    private let options: StoreOptions

    init(_ client: EsperClient, _ name: ArtifactName, _ options: StoreOptions) {
        self.client = client
        self.name = name
        self.options = options
    }

    func run(_ files: [ArtifactFile]) async throws(EsperError) -> StoreAnswer {
        var planned: [Planned] = []
        for file in files {
            let source = PieceReader.Source(file.content)
            planned.append(Planned(name: file.name, source: source, size: try await PieceReader.size(of: source)))
        }
        let size = planned.reduce(UInt64(0)) { $0 + $1.size }
        guard size <= CacheLimits.artifactBytes else {
            throw EsperError(
                code: "oversized", message: "an artifact has at most \(CacheLimits.artifactBytes) bytes, not \(size)",
                outcome: .notCommitted)
        }
        let patience = options.timeout ?? client.options.timeout + .seconds(Int64(size >> 20))
        let deadline = NIODeadline.now() + TimeAmount(patience)
        var known: Set<BlobReference> = []
        if size >= Self.dedupeBytes { known = try await look(through: &planned) }
        return try await attempts(planned, known, until: deadline)
    }

    // MARK: Attempts

    private func attempts(
        _ files: [Planned], _ known: Set<BlobReference>, until deadline: NIODeadline
    ) async throws(EsperError) -> StoreAnswer {
        var known = known
        var id = try await identity()
        defer { client.engine.finish(id) }
        var attempt = 0
        // An attempt may have taken effect, and no later one has said otherwise.
        var isOpen = false
        var lastError: EsperError?
        var lastRefusal: EsperError?
        while true {
            if Task.isCancelled { throw CacheDownload.cancelled.with(isOpen ? .unknown : .notCommitted) }
            guard attempt < client.options.maximumAttempts, NIODeadline.now() < deadline else {
                let error =
                    OperationRun.lasting(lastRefusal, until: lastError) ?? lastError
                    ?? CacheDownload.timedOut("no answer in the time allowed")
                throw error.with(isOpen ? .unknown : .notCommitted)
            }
            attempt += 1
            let failure: CallFailure
            let endpoint: HostPort
            switch await client.engine.connected() {
            case .failure(let error):
                guard error.code != EsperError.Code.closed else { throw error.with(isOpen ? .unknown : .notCommitted) }
                lastError = error
                await client.engine.pause(after: attempt)
                continue
            case .success(let (place, connection)):
                endpoint = place
                switch await send(files, known, id, on: connection, until: deadline) {
                case .success(let answer): return answer
                case .failure(let reason): failure = reason
                }
            }
            let reading = FailureReading(failure, isMutating: true)
            let error = reading.error
            lastError = error
            lastRefusal = reading.refusal(after: lastRefusal, timeLeft: deadline - .now())
            if error.code == "client_unknown", !isOpen {
                client.engine.forget(id)
                id = try await identity()
                continue
            }
            // The cluster has lost what it said it had, or never had it: it gets everything.
            if error.code == "closure_incomplete", !known.isEmpty {
                known = []
                if !isOpen {
                    client.engine.finish(id)
                    id = try await identity()
                }
                continue
            }
            if reading.isRemembered, !isOpen {
                client.engine.finish(id)
                id = try await identity()
            }
            if error.outcome == .unknown { isOpen = true }
            guard !reading.isJudged || error.isRetryable else {
                // A refusal for good comes from a node that knows the request id.
                throw error
            }
            client.engine.avoid(endpoint, for: .milliseconds(200))
            await client.engine.pause(after: attempt)
        }
    }

    private func identity() async throws(EsperError) -> RequestIdentities.RequestID {
        let engine = client.engine
        let result = await withCheckedContinuation { continuation in
            engine.takeIdentity { continuation.resume(returning: $0) }
        }
        return try result.get()
    }

    /// - Parameter known: blobs that need not be sent.
    private func send(
        _ files: [Planned], _ known: Set<BlobReference>, _ id: RequestIdentities.RequestID,
        on connection: ClientConnection, until deadline: NIODeadline
    ) async -> Result<StoreAnswer, CallFailure> {
        let header = ProtoStoreRequest.with { $0.header = options.header(name, ProtoRequestID(id)) }
        let answers = MessageStream()
        let stream: ClientStream
        do {
            let call = ClientCall(
                path: ProtoCacheMethod.store.path, message: try header.serializedBytes(),
                timeout: max(deadline - .now(), .milliseconds(1)))
            stream = connection.open(call, endsWithFirstMessage: false) { answers.happened($0) }
        } catch {
            return .failure(
                CallFailure(
                    GRPCStatus(.invalidArgument, "the request cannot be written: \(error)"), mayHaveArrived: false))
        }
        answers.opened(stream)
        defer { answers.cancel() }
        do {
            try await withTaskCancellationHandler {
                try await sendFiles(files, known, to: stream, answers)
            } onCancel: {
                // Ends the wait for room, too.
                stream.cancel()
            }
        } catch {
            // A file that cannot be read: nothing is bound without the end of the stream.
            answers.cancel()
            return .failure(CallFailure(GRPCStatus(.invalidArgument, "\(error)"), mayHaveArrived: false))
        }
        stream.halfClose()
        switch await answers.next() {
        case .ended(let failure):
            return .failure(
                failure ?? CallFailure(GRPCStatus(.internal, "success without an answer"), mayHaveArrived: true))
        case .message(let bytes):
            guard let response = try? ProtoStoreResponse(serializedBytes: bytes),
                let binding = Binding(response.binding)
            else {
                return .failure(
                    CallFailure(GRPCStatus(.internal, "an answer that cannot be read"), mayHaveArrived: true))
            }
            return .success(
                StoreAnswer(binding: binding, isStored: response.stored, tiers: TierSet(response.tiers)))
        }
    }

    private func sendFiles(
        _ files: [Planned], _ known: Set<BlobReference>, to stream: ClientStream, _ answers: MessageStream
    ) async throws {
        for file in files {
            try await put(ProtoStoreRequest.with { $0.file.name = file.name }, to: stream)
            let reader = try await PieceReader(file.source)
            defer { reader.close() }
            var offset: UInt64 = 0
            while offset < file.size, !answers.hasEnded {
                let index = Int(offset / UInt64(CacheLimits.blobBytes))
                if offset % UInt64(CacheLimits.blobBytes) == 0, index < file.blobs.count,
                    known.contains(file.blobs[index])
                {
                    let blob = file.blobs[index]
                    try await put(
                        ProtoStoreRequest.with {
                            $0.blob.sha256 = blob.digest.data
                            $0.blob.size = blob.size
                        }, to: stream)
                    offset += UInt64(blob.size)
                    continue
                }
                let piece = try await reader.read(at: offset, atMost: Self.pieceBytes)
                guard !piece.isEmpty else { throw PieceReader.Failure("\(file.source) became shorter") }
                try await put(ProtoStoreRequest.with { $0.data = Data(piece) }, to: stream)
                offset += UInt64(piece.count)
            }
        }
        try await put(ProtoStoreRequest.with { $0.end = ProtoStoreEnd() }, to: stream)
    }

    private func put(_ request: ProtoStoreRequest, to stream: ClientStream) async throws {
        await withCheckedContinuation { continuation in
            stream.whenRoom { continuation.resume() }
        }
        stream.send(try request.serializedBytes())
    }

    // MARK: What the cluster has

    /// Cuts large files into blobs.
    ///
    /// - Returns: those that need not be sent.
    private func look(through files: inout [Planned]) async throws(EsperError) -> Set<BlobReference> {
        var all: [BlobReference] = []
        do {
            for index in files.indices where files[index].size > UInt64(CacheLimits.inlineBytes) {
                let reader = try await PieceReader(files[index].source)
                defer { reader.close() }
                var offset: UInt64 = 0
                while offset < files[index].size {
                    let bytes = try await reader.read(at: offset, atMost: CacheLimits.blobBytes)
                    guard !bytes.isEmpty else { throw PieceReader.Failure("\(files[index].source) became shorter") }
                    files[index].blobs.append(
                        BlobReference(digest: Digest(sha256: bytes), size: UInt32(bytes.count)))
                    offset += UInt64(bytes.count)
                }
                all += files[index].blobs
            }
        } catch {
            throw EsperError(code: EsperError.Code.file, message: "\(error)", outcome: .notCommitted)
        }
        // Whoever cannot be asked is sent everything.
        guard let missing = try? await CacheClient(client: client).missing(all, mode: options.mode) else { return [] }
        return Set(all).subtracting(missing)
    }
}

extension CallEngine {
    /// As ``connect(_:)``, for a task.
    func connected() async -> Result<(HostPort, ClientConnection), EsperError> {
        await withCheckedContinuation { continuation in
            connect { continuation.resume(returning: $0) }
        }
    }
}
