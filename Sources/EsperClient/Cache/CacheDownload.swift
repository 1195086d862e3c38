internal import CacheCore
internal import EsperProtocol
internal import EsperTypes
internal import FoundationEssentials
internal import GRPCTransport
internal import NIOCore
internal import SwiftProtobuf
internal import Synchronization

/// One look-up under way: its stream, and its continuation on another node when that breaks.
///
/// Holds at most one blob of bytes that are not handed on, and what the stream's window lets the server send ahead.
struct CacheDownload {
    /// What the stream began with.
    enum Start {
        case found(ArtifactHeader)
        case absent(Binding?)
        case notModified(Binding)
        case make(MakeToken)
    }

    private enum Failure: Error {
        /// The stream broke, or the node did not answer: another may.
        case broken(EsperError, at: HostPort?)
        case refused(EsperError)
    }

    private let client: EsperClient
    private let name: ArtifactName
    private let options: RetrieveOptions
    private let wantsToMake: Bool
    private let wait: Duration
    private let expectedCost: Duration?

    init(
        _ client: EsperClient, _ name: ArtifactName, _ options: RetrieveOptions, wantsToMake: Bool = false,
        wait: Duration = .zero, expectedCost: Duration? = nil
    ) {
        self.client = client
        self.name = name
        self.options = options
        self.wantsToMake = wantsToMake
        self.wait = wait
        self.expectedCost = expectedCost
    }

    /// How far the bytes of one artifact have come.
    private struct Progress {
        var header: ArtifactHeader
        var file = 0
        var offset: UInt64 = 0
    }

    // MARK: Whole calls

    func header() async throws(EsperError) -> Retrieved<ArtifactHeader> {
        switch try await run(into: nil) {
        case .found(let header): return .found(header)
        case .absent(let binding): return .absent(binding)
        case .notModified(let binding): return .notModified(binding)
        case .make: throw Self.malformed("a token that nobody asked for")
        }
    }

    /// - Parameter sink: nil: the header alone.
    func run(into sink: (any ArtifactSink)?) async throws(EsperError) -> Start {
        var progress: Progress?
        var attempt = 0
        var lastError: EsperError?
        let patience = options.timeout ?? client.options.timeout
        // What must not be exceeded without any progress.
        var giveUpAt = NIODeadline.now() + TimeAmount(patience + wait)
        while true {
            guard !Task.isCancelled else { throw Self.cancelled }
            guard attempt < client.options.maximumAttempts, NIODeadline.now() < giveUpAt else {
                throw lastError ?? Self.timedOut("no answer in the time allowed")
            }
            attempt += 1
            let before = progress.map { ($0.file, $0.offset) }
            do {
                return try await self.attempt(&progress, sink, until: giveUpAt, patience)
            } catch let failure as Failure {
                switch failure {
                case .refused(let error): throw error
                case .broken(let error, let endpoint):
                    lastError = error
                    if let endpoint { client.engine.avoid(endpoint, for: .milliseconds(500)) }
                    if let progress, before.map({ $0 != (progress.file, progress.offset) }) ?? true {
                        giveUpAt = .now() + TimeAmount(patience)
                        attempt = 1
                    }
                }
            } catch {
                throw error as? EsperError
                    ?? EsperError(code: EsperError.Code.file, message: "\(error)", outcome: .notCommitted)
            }
            if attempt > 1 { await client.engine.pause(after: attempt - 1) }
        }
    }

    // MARK: One attempt

    private func attempt(
        _ progress: inout Progress?, _ sink: (any ArtifactSink)?, until giveUpAt: NIODeadline, _ patience: Duration
    ) async throws -> Start {
        let (endpoint, connection) = try await connect()
        var request = ProtoRetrieveRequest()
        request.name = name.message
        request.allowStale = options.allowsStale
        request.wantsToMake = wantsToMake && progress == nil
        request.headerOnly = sink == nil
        request.files = options.files
        request.waitMs = wantsToMake ? wait.milliseconds : 0
        request.expectedCostMs = expectedCost?.milliseconds ?? 0
        request.knownManifest = options.knownManifest?.data ?? Data()
        if let progress {
            request.resume.manifest = progress.header.binding.manifest.data
            request.resume.file = UInt32(progress.file)
            request.resume.offset = progress.offset
        }
        let messages = MessageStream()
        let call = ClientCall(
            path: ProtoCacheMethod.retrieve.path, message: try request.serializedBytes(), timeout: nil)
        messages.opened(connection.open(call, endsWithFirstMessage: true) { messages.happened($0) })
        defer { messages.cancel() }
        let left = max(giveUpAt - .now(), .milliseconds(1))
        // Beside other nodes, one that is slow to begin is not waited for all the time.
        let first = wantsToMake ? left : min(left, max(TimeAmount(client.options.attemptTimeout), .seconds(3)))
        guard let opening = try await next(messages, within: first, endpoint), case .header(let head)? = opening.kind
        else { throw Failure.broken(Self.malformed("a stream without a header"), at: endpoint) }
        let start = try Self.start(head)
        guard case .found(let header) = start else { return start }
        guard let sink else { return start }
        if let known = progress, head.isResumed, known.header.binding.manifest == header.binding.manifest {
            progress?.header = header
        } else {
            progress = Progress(header: header)
            try await sink.begin(header)
        }
        try await take(messages, &progress, sink, patience, endpoint)
        // Everything is here; a stream that ends by itself need not be cancelled.
        _ = try? await next(messages, within: .seconds(1), endpoint)
        return start
    }

    private func connect() async throws -> (HostPort, ClientConnection) {
        let engine = client.engine
        let result = await withCheckedContinuation { continuation in
            engine.connect { continuation.resume(returning: $0) }
        }
        switch result {
        case .success(let connected): return connected
        case .failure(let error):
            if error.code == EsperError.Code.closed { throw Failure.refused(error) }
            throw Failure.broken(error, at: nil)
        }
    }

    private static func start(_ head: ProtoRetrieveHeader) throws -> Start {
        let binding = head.hasBinding ? Binding(head.binding) : nil
        switch head.result {
        case .absent: return .absent(binding)
        case .make: return .make(MakeToken(head.token))
        case .notModified:
            guard let binding else { throw Failure.refused(malformed("no binding")) }
            return .notModified(binding)
        case .found:
            guard let binding, let manifest = Manifest(writer: head.writer, head.files) else {
                throw Failure.refused(malformed("no binding, or a manifest that cannot be read"))
            }
            guard Digest(sha256: manifest.encoded()) == binding.manifest else {
                throw Failure.refused(
                    EsperError(
                        code: EsperError.Code.wrongDigest, message: "the manifest is not what the name stands for",
                        outcome: .notCommitted))
            }
            do {
                // Names that lead elsewhere never reach a sink.
                try manifest.validate()
            } catch {
                throw Failure.refused(malformed("\(error)"))
            }
            return .found(
                ArtifactHeader(
                    binding: binding, manifest: manifest, tier: CacheTier(head.tier), isStale: head.isStale))
        case .unspecified, .UNRECOGNIZED: throw Failure.refused(malformed("an unknown kind of answer"))
        }
    }

    /// Hands the rest of the artifact to the sink.
    private func take(
        _ messages: MessageStream, _ progress: inout Progress?, _ sink: any ArtifactSink, _ patience: Duration,
        _ endpoint: HostPort
    ) async throws {
        guard var place = progress else { return }
        let files = place.header.manifest.files
        let wanted = Set(options.files)
        while place.file < files.count {
            let file = files[place.file]
            guard wanted.isEmpty || wanted.contains(file.name) else {
                place.file += 1
                continue
            }
            switch file.content {
            case .inline(let bytes): if !bytes.isEmpty { try await sink.write(bytes, file: place.file) }
            case .blobs(let blobs):
                var number = Int(place.offset / UInt64(CacheLimits.blobBytes))
                while number < blobs.count {
                    let bytes = try await blob(blobs[number], place, messages, patience, endpoint)
                    try await sink.write(bytes, file: place.file)
                    number += 1
                    place.offset += UInt64(bytes.count)
                    progress = place
                }
            }
            place.file += 1
            place.offset = 0
            progress = place
        }
    }

    /// The next blob, whole and checked.
    private func blob(
        _ reference: BlobReference, _ place: Progress, _ messages: MessageStream, _ patience: Duration,
        _ endpoint: HostPort
    ) async throws -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Int(reference.size))
        while bytes.count < Int(reference.size) {
            guard let message = try await next(messages, within: TimeAmount(patience), endpoint),
                case .chunk(let chunk)? = message.kind
            else { throw Failure.broken(Self.malformed("the stream ends inside a file"), at: endpoint) }
            guard chunk.file == UInt32(place.file), chunk.offset == place.offset + UInt64(bytes.count),
                !chunk.data.isEmpty, bytes.count + chunk.data.count <= Int(reference.size)
            else { throw Failure.broken(Self.malformed("a chunk that belongs elsewhere"), at: endpoint) }
            bytes.append(contentsOf: chunk.data)
        }
        guard Digest(sha256: bytes) == reference.digest else {
            throw Failure.broken(
                EsperError(
                    code: EsperError.Code.wrongDigest,
                    message: "a blob of '\(place.header.manifest.files[place.file].name)' is not what its digest says",
                    outcome: .notCommitted), at: endpoint)
        }
        return bytes
    }

    /// - Returns: nil at the end of the stream.
    private func next(
        _ messages: MessageStream, within limit: TimeAmount, _ endpoint: HostPort
    ) async throws -> ProtoRetrieveResponse? {
        let flag = SharedFlag()
        let timer = client.eventLoop.scheduleTask(in: limit) {
            flag.set()
            messages.cancel()
        }
        defer { timer.cancel() }
        switch await messages.next() {
        case .message(let bytes):
            do {
                return try ProtoRetrieveResponse(serializedBytes: bytes)
            } catch {
                throw Failure.refused(Self.malformed("\(error)"))
            }
        case .ended(nil): return nil
        case .ended(let failure?):
            if Task.isCancelled { throw Failure.refused(Self.cancelled) }
            if flag.isSet { throw Failure.broken(Self.timedOut("no answer in the time allowed"), at: endpoint) }
            let reading = FailureReading(failure, isMutating: false)
            guard reading.isJudged, !reading.error.isRetryable else {
                throw Failure.broken(reading.error.with(.notCommitted), at: endpoint)
            }
            throw Failure.refused(reading.error.with(.notCommitted))
        }
    }

    // MARK: Errors

    static let cancelled = EsperError(
        code: EsperError.Code.cancelled, message: "the task is cancelled", outcome: .notCommitted)

    static func timedOut(_ message: String) -> EsperError {
        EsperError(code: EsperError.Code.timedOut, message: message, outcome: .notCommitted, isRetryable: true)
    }

    static func malformed(_ message: String) -> EsperError {
        EsperError(code: EsperError.Code.malformedAnswer, message: message, outcome: .notCommitted)
    }
}

/// Set once, read from anywhere.
final class SharedFlag: Sendable {
    private let value = Atomic<Bool>(false)

    var isSet: Bool { value.load(ordering: .acquiring) }
    func set() { value.store(true, ordering: .releasing) }
}
