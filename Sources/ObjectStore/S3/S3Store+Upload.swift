internal import CoreMetrics
public import EsperTypes
internal import Logging
internal import NIOHTTP1
internal import Synchronization

/// Large objects go in parts, of which one is in memory at a time, and appear when the upload is completed.
extension S3Store {
    /// Of a part at most: AWS, "multipart upload limits".
    private static let maximumParts = 10_000
    /// Uploads that nobody has completed for this long are leftovers of processes that ended.
    private static let leftoverAge: UInt64 = 24 * 3600 * 1_000_000_000
    /// To give an upload up, also when the call's own time is over.
    private static let abortLimit: Duration = .seconds(5)

    private struct Upload: Sendable {
        var key: ObjectKey
        var id: String
        var tags: [String] = []
    }

    public func putLarge(
        _ key: ObjectKey, deadline: Instant, pieces next: @Sendable () async throws(ObjectStoreError) -> [UInt8]?
    ) async throws(ObjectStoreError) -> Creation {
        var part: [UInt8] = []
        var upload: Upload?
        do throws(ObjectStoreError) {
            while let piece = try await next() {
                var rest = piece[...]
                while !rest.isEmpty {
                    // Full and not the last.
                    if part.count == settings.partBytes {
                        if upload == nil {
                            await sweep()
                            upload = try await begin(try full(key), deadline)
                        }
                        try await send(part, &upload, deadline)
                        part.removeAll(keepingCapacity: true)
                    }
                    let room = settings.partBytes - part.count
                    part += rest.prefix(room)
                    rest = rest.dropFirst(room)
                }
            }
            if upload == nil { return try await put(key, part, deadline: deadline) }
            try await send(part, &upload, deadline)
            guard let upload else { preconditionFailure("there is an upload") }
            let creation = try await complete(upload, key, deadline)
            if creation == .alreadyThere { await abort(upload.key, upload.id) }
            return creation
        } catch {
            if let upload { await abort(upload.key, upload.id) }
            throw error
        }
    }

    private func begin(_ key: ObjectKey, _ deadline: Instant) async throws(ObjectStoreError) -> Upload {
        let request = S3Request(method: .POST, key: key, query: [(name: "uploads", value: "")])
        return Upload(
            key: key,
            id: try await call(request, deadline) { answer throws(ObjectStoreError) in
                guard answer.status == 200 else { throw answer.failure(of: request) }
                return try S3Answers.upload(answer.body)
            })
    }

    private func send(
        _ part: [UInt8], _ upload: inout Upload?, _ deadline: Instant
    ) async throws(ObjectStoreError) {
        guard let (key, id, number) = upload.map({ ($0.key, $0.id, $0.tags.count + 1) }) else { return }
        guard number <= Self.maximumParts else {
            throw ObjectStoreError(.invalid, "the object has more than \(Self.maximumParts) parts")
        }
        let request = S3Request(
            method: .PUT, key: key,
            query: [(name: "partNumber", value: "\(number)"), (name: "uploadId", value: id)], body: part)
        let tag = try await call(request, deadline) { answer throws(ObjectStoreError) in
            guard answer.status == 200 else { throw answer.failure(of: request) }
            guard let tag = answer.headers.first(name: "etag") else {
                throw ObjectStoreError(.nonsense, "\(request): the store does not name the part")
            }
            return tag
        }
        upload?.tags.append(tag)
    }

    private func complete(
        _ upload: Upload, _ key: ObjectKey, _ deadline: Instant
    ) async throws(ObjectStoreError) -> Creation {
        let request = S3Request(
            method: .POST, key: upload.key, query: [(name: "uploadId", value: upload.id)],
            headers: [(name: "if-none-match", value: "*")], body: S3Answers.completion(upload.tags))
        let creation: Creation? = try await call(request, deadline) { answer throws(ObjectStoreError) in
            let error = S3Answers.error(answer.body)?.code
            switch answer.status {
            // A completion that fails late has said 200 already.
            case 200 where error == nil: return .created
            case 412: return .alreadyThere
            case _ where error == "PreconditionFailed": return .alreadyThere
            case _ where error == "NoSuchUpload": return nil
            default: throw answer.failure(of: request)
            }
        }
        if let creation { return creation }
        // An attempt before may have completed it without our hearing of it.
        guard try await head(key, deadline: deadline) != nil else {
            throw ObjectStoreError(.unavailable, "\(request): the upload is gone and there is no object")
        }
        return .alreadyThere
    }

    // MARK: Leftovers

    /// Gives an upload up, which frees the room of its parts, also when the caller was cancelled.
    private func abort(_ key: ObjectKey, _ id: String) async {
        metrics.aborted.increment()
        let request = S3Request(method: .DELETE, key: key, query: [(name: "uploadId", value: id)])
        // Awaited here; a task of its own, so that the caller's cancellation does not reach it.
        let failure = await Task { [self] () -> ObjectStoreError? in
            do throws(ObjectStoreError) {
                try await call(request, now() + Self.abortLimit) { answer throws(ObjectStoreError) in
                    // Gone is as good as aborted.
                    guard [200, 204, 404].contains(answer.status) else { throw answer.failure(of: request) }
                }
                return nil
            } catch {
                return error
            }
        }.value
        guard let failure else { return }
        logger.info("an upload was left behind; a later one removes it", metadata: ["error": "\(failure)"])
    }

    /// Aborts what processes that ended have left below the prefix; before the first large object, and once a day.
    private func sweep() async {
        let isDue = swept.withLock { swept in
            if let swept, now() - swept < .seconds(24 * 3600) { return false }
            swept = now()
            return true
        }
        guard isDue else { return }
        var request = S3Request(method: .GET, query: [(name: "uploads", value: "")])
        if let prefix = settings.prefix { request.query.append((name: "prefix", value: "\(prefix)/")) }
        do throws(ObjectStoreError) {
            let uploads = try await call(request, now() + Self.abortLimit) {
                [request] answer throws(ObjectStoreError) in
                guard answer.status == 200 else { throw answer.failure(of: request) }
                return try S3Answers.uploads(answer.body)
            }
            for upload in uploads where Self.isOlder(upload.initiated, than: wall() - Self.leftoverAge) {
                guard let key = ObjectKey(upload.key) else { continue }
                await abort(key, upload.id)
            }
        } catch {
            // They take room and nothing else.
            logger.info("uploads that were left behind cannot be listed", metadata: ["error": "\(error)"])
        }
    }

    /// Compares `2026-01-31T23:59:59.000Z` with nanoseconds since 1970.
    static func isOlder(_ text: String, than nanoseconds: UInt64) -> Bool {
        let stamp = text.filter { $0 != "-" && $0 != ":" }.prefix("20260131T235959".count)
        return stamp < SignatureV4.Date(nanoseconds: nanoseconds).stamp.dropLast()
    }
}
