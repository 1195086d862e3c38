internal import CacheCore
internal import EsperProtocol
internal import EsperTypes
internal import FoundationEssentials
internal import GRPCTransport
internal import KernelCache
internal import RaftRuntime
internal import SwiftProtobuf

extension CacheCall {
    /// A blob leaves in parts of this size, so that other streams of the connection come in between.
    private static let chunkBytes = 256 << 10
    private static let usualTime = Duration.seconds(5)
    /// One blob, from the farthest tier.
    private static let blobTime = Duration.seconds(30)

    /// Answers with a header, then the bytes.
    func retrieve(_ bytes: [UInt8]) async throws(CacheFailure) {
        let message = try Self.parse(ProtoRetrieveRequest.self, bytes)
        let known = try Digest.optional(message.knownManifest, "known_manifest")
        let resumed = message.hasResume ? try Digest.optional(message.resume.manifest, "resume.manifest") : nil
        let wait = Duration.milliseconds(Int64(clamping: message.waitMs))
        var until = deadline(orWithin: Self.usualTime + wait)
        if message.waitMs > 0 { until = min(until, NodeClock.now() + Self.usualTime + wait) }
        let reply = try await cache.retrieve(
            KernelCache.RetrieveRequest(
                name: try message.name.full(), deadline: until, principal: principal,
                allowsStale: message.allowStale, wantsToMake: message.wantsToMake,
                expectedCost: message.expectedCostMs == 0
                    ? nil : .milliseconds(Int64(clamping: message.expectedCostMs))))
        var header = ProtoRetrieveHeader()
        header.isStale = reply.isStale
        switch reply.result {
        case .absent(let binding):
            header.result = .absent
            if let binding { header.binding = ProtoCacheBinding(binding) }
            return try await send(only: header)
        case .make(let token):
            header.result = .make
            header.token = ProtoCacheToken(token)
            return try await send(only: header)
        case .found(let binding, let manifest, let tier):
            header.binding = ProtoCacheBinding(binding)
            header.tier = tier.message
            if binding.manifest == known {
                header.result = .notModified
                return try await send(only: header)
            }
            header.result = .found
            header.writer = manifest.writer
            header.files = manifest.files.map(ProtoCacheFile.init)
            header.isResumed = resumed == binding.manifest
            if message.headerOnly { return try await send(only: header) }
            let unknown = message.files.first { name in !manifest.files.contains { $0.name == name } }
            if let unknown { throw CacheFailure(.invalid, "the artifact has no file '\(unknown)'") }
            let start = header.isResumed ? (Int(message.resume.file), message.resume.offset) : (0, 0)
            try await send(header, manifest, Set(message.files), from: start)
        }
    }

    private func send(only header: ProtoRetrieveHeader) async throws(CacheFailure) {
        try await send(try Self.encode(.with { $0.header = header }))
        finish()
    }

    private func send(
        _ header: ProtoRetrieveHeader, _ manifest: Manifest, _ wanted: Set<String>,
        from start: (file: Int, offset: UInt64)
    ) async throws(CacheFailure) {
        let places = BlobPlaces(manifest, wanted, from: start)
        if !places.isEmpty { try transfers.enter() }
        defer { if !places.isEmpty { transfers.leave() } }
        try await send(try Self.encode(.with { $0.header = header }))
        var ahead = places.first.map { fetch($0.blob) }
        defer { ahead?.cancel() }
        for (number, place) in places.all.enumerated() {
            guard let fetching = ahead else { break }
            let fetched = await fetching.result
            // The next one is fetched while this one leaves.
            ahead = number + 1 < places.all.count ? fetch(places.all[number + 1].blob) : nil
            let blob = try Self.value(of: fetched)
            guard blob.bytes.count == Int(place.blob.size) else {
                throw CacheFailure(.bytesLost, "a blob has another size than the manifest says")
            }
            try await send(blob, of: place)
        }
        finish()
    }

    private func send(_ blob: CachedBlob, of place: BlobPlaces.Place) async throws(CacheFailure) {
        var position = place.skip
        while position < blob.bytes.count {
            let end = min(position + Self.chunkBytes, blob.bytes.count)
            let message = ProtoRetrieveResponse.with {
                $0.chunk.file = UInt32(place.file)
                $0.chunk.offset = place.offset + UInt64(position)
                $0.chunk.data = Data(blob.bytes[position..<end])
                $0.chunk.tier = blob.tier.message
            }
            try await send(try Self.encode(message))
            position = end
        }
    }

    /// Cancelled or awaited by whoever sends.
    private func fetch(_ blob: BlobReference) -> Task<CachedBlob, any Error> {
        let cache = cache
        let until = min(deadline ?? .distantFuture, NodeClock.now() + Self.blobTime)
        return Task { try await cache.blob(blob, deadline: until) }
    }

    private static func value(of result: Result<CachedBlob, any Error>) throws(CacheFailure) -> CachedBlob {
        switch result {
        case .success(let blob): return blob
        case .failure(let error): throw error as? CacheFailure ?? CacheFailure(.timedOut, "\(error)")
        }
    }

    static func parse<Message: SwiftProtobuf.Message>(
        _: Message.Type, _ bytes: [UInt8]
    ) throws(CacheFailure) -> Message {
        do {
            return try Message(serializedBytes: bytes)
        } catch {
            throw CacheFailure(.invalid, "the request is not a valid message: \(error)")
        }
    }

    private static func encode(_ message: ProtoRetrieveResponse) throws(CacheFailure) -> [UInt8] {
        do {
            return try message.serializedBytes()
        } catch {
            throw CacheFailure(.invalid, "the answer cannot be written: \(error)")
        }
    }
}

/// The blobs of an artifact that a reader wants, in order.
struct BlobPlaces {
    struct Place {
        var file: Int
        /// Of the blob in its file.
        var offset: UInt64
        var blob: BlobReference
        /// The first byte of the blob that is wanted.
        var skip: Int
    }

    private(set) var all: [Place] = []

    var isEmpty: Bool { all.isEmpty }
    var first: Place? { all.first }

    /// - Parameters:
    ///   - wanted: names of files; empty: all.
    ///   - start: the first byte that is wanted.
    init(_ manifest: Manifest, _ wanted: Set<String>, from start: (file: Int, offset: UInt64) = (0, 0)) {
        for (number, file) in manifest.files.enumerated() where number >= start.file {
            guard wanted.isEmpty || wanted.contains(file.name), case .blobs(let blobs) = file.content else { continue }
            var offset: UInt64 = 0
            for blob in blobs {
                let end = offset + UInt64(blob.size)
                if number > start.file || end > start.offset {
                    let skip = number == start.file && start.offset > offset ? Int(start.offset - offset) : 0
                    all.append(Place(file: number, offset: offset, blob: blob, skip: skip))
                }
                offset = end
            }
        }
    }
}
