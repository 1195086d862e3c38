internal import CoreMetrics
public import EsperTypes
public import Logging
public import NIOCore
internal import NIOHTTP1
internal import NIOSSL
internal import Synchronization

/// Objects in a bucket of S3, or of a store that speaks its protocol.
///
/// - An object is created by a conditional put (`If-None-Match: *`), so that of several writers the first creates. The store
///   answers after it has made the object durable.
/// - Failures that may pass are tried again with growing, random pauses until the deadline, on new connections. A put whose
///   answer was lost finds its object at the next attempt and reports it as already there.
/// - Bytes of an answer count when all of them have come.
///
/// Errors: as the store's own codes say, see ``ObjectStoreError/Code``. Source: Amazon S3 API reference.
public final class S3Store: ObjectStore {
    let settings: S3Settings
    let metrics = S3Metrics()
    let logger: Logger
    let now: @Sendable () -> Instant
    let wall: @Sendable () -> UInt64
    private let connections: HTTPConnections
    private let random: Mutex<any RandomNumberGenerator & Sendable>
    /// When leftovers were looked for last.
    let swept = Mutex<Instant?>(nil)

    /// Opens no connection; reads the authorities' file.
    ///
    /// - Parameters:
    ///   - now: the clock of deadlines.
    ///   - wall: nanoseconds since 1970, for signatures.
    ///   - random: for pauses.
    /// - Throws: ``ObjectStoreError/Code/invalid`` when the settings make no sense or the file cannot be read.
    public init(
        _ settings: S3Settings, on group: any EventLoopGroup, now: @escaping @Sendable () -> Instant,
        wall: @escaping @Sendable () -> UInt64, random: any RandomNumberGenerator & Sendable, logger: Logger
    ) throws(ObjectStoreError) {
        if let problem = settings.problem { throw ObjectStoreError(.invalid, problem) }
        self.settings = settings
        self.logger = logger
        self.now = now
        self.wall = wall
        self.random = Mutex(random)
        connections = HTTPConnections(
            to: HostPort(host: settings.host, port: settings.endpoint.address.port),
            serverName: settings.endpoint.isAddress ? nil : settings.host,
            tls: try settings.endpoint.isSecure ? Self.context(settings) : nil,
            maximum: settings.maximumConnections, on: group, now: now)
    }

    private static func context(_ settings: S3Settings) throws(ObjectStoreError) -> NIOSSLContext {
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.minimumTLSVersion = .tlsv12
        configuration.applicationProtocols = ["http/1.1"]
        if let file = settings.authorityFile { configuration.trustRoots = .file(file) }
        do {
            return try NIOSSLContext(configuration: configuration)
        } catch {
            throw ObjectStoreError(.invalid, "\(settings.authorityFile ?? "the system's authorities"): \(error)")
        }
    }

    /// Closes all connections; calls under way and later ones fail.
    public func shutdown() async { await connections.shutdown() }

    // MARK: Calls

    public func put(_ key: ObjectKey, _ bytes: [UInt8], deadline: Instant) async throws(ObjectStoreError) -> Creation {
        let request = S3Request(
            method: .PUT, key: try full(key),
            headers: [
                (name: "if-none-match", value: "*"), (name: Self.hashHeader, value: SignatureV4.hash(bytes)),
            ], body: bytes)
        return try await call(request, deadline) { answer throws(ObjectStoreError) in
            switch answer.status {
            case 200, 201, 204: return .created
            case 412: return .alreadyThere
            default: throw answer.failure(of: request)
            }
        }
    }

    public func get(
        _ key: ObjectKey, range: Range<UInt64>?, deadline: Instant
    ) async throws(ObjectStoreError) -> [UInt8]? {
        guard let range else { return try await read(key, nil, deadline) }
        // There is no way to ask for nothing.
        if range.isEmpty { return try await head(key, deadline: deadline) == nil ? nil : [] }
        return try await read(key, range, deadline)
    }

    private func read(
        _ key: ObjectKey, _ range: Range<UInt64>?, _ deadline: Instant
    ) async throws(ObjectStoreError) -> [UInt8]? {
        var request = S3Request(method: .GET, key: try full(key))
        request.maximumAnswerBytes = settings.maximumReadBytes
        if let range { request.headers = [(name: "range", value: "bytes=\(range.lowerBound)-\(range.upperBound - 1)")] }
        return try await call(request, deadline) { [request] answer throws(ObjectStoreError) in
            switch (answer.status, range) {
            case (200, nil): return answer.body
            case (200, let range?):
                // A server may ignore ranges (RFC 9110, section 14.2).
                let size = UInt64(answer.body.count)
                return Array(
                    answer.body[Int(min(range.lowerBound, size))..<Int(min(range.upperBound, size))])
            case (206, let range?):
                guard let part = Self.part(answer), part.bytes == range.clamped(to: 0..<part.size),
                    answer.body.count == part.bytes.count
                else { throw ObjectStoreError(.damaged, "\(request): the store answers with another part") }
                return answer.body
            case (416, _?): return []
            case (404, _):
                guard S3Answers.error(answer.body)?.code != "NoSuchBucket" else { throw answer.failure(of: request) }
                return nil
            default: throw answer.failure(of: request)
            }
        }
    }

    public func head(_ key: ObjectKey, deadline: Instant) async throws(ObjectStoreError) -> ObjectFacts? {
        let request = S3Request(method: .HEAD, key: try full(key))
        let facts: ObjectFacts? = try await call(request, deadline) { answer throws(ObjectStoreError) in
            switch answer.status {
            case 200:
                guard let size = answer.headers.first(name: "content-length").flatMap({ UInt64($0) }) else {
                    throw ObjectStoreError(.nonsense, "\(request): the store does not tell the size")
                }
                return ObjectFacts(
                    size: size, sha256: answer.headers.first(name: Self.hashHeader).flatMap { Digest($0) })
            case 404: return nil
            default: throw answer.failure(of: request)
            }
        }
        // The answer has no body that would tell whether the object is missing or the bucket.
        if facts == nil { try await probe(deadline: deadline) }
        return facts
    }

    public func delete(_ key: ObjectKey, deadline: Instant) async throws(ObjectStoreError) {
        let request = S3Request(method: .DELETE, key: try full(key))
        try await call(request, deadline) { answer throws(ObjectStoreError) in
            switch answer.status {
            case 200, 202, 204: return
            case 404 where S3Answers.error(answer.body)?.code == "NoSuchKey": return
            default: throw answer.failure(of: request)
            }
        }
    }

    public func delete(
        _ key: ObjectKey, if isSuch: @escaping @Sendable ([UInt8]) -> Bool, deadline: Instant
    ) async throws(ObjectStoreError) {
        var read = S3Request(method: .GET, key: try full(key))
        read.maximumAnswerBytes = settings.maximumReadBytes
        let tag: String? = try await call(read, deadline) { [read] answer throws(ObjectStoreError) in
            switch answer.status {
            case 200:
                guard isSuch(answer.body) else { return nil }
                guard let tag = answer.headers.first(name: "etag") else {
                    throw ObjectStoreError(.nonsense, "\(read): the store does not tell which version it is")
                }
                return tag
            case 404 where S3Answers.error(answer.body)?.code != "NoSuchBucket": return nil
            default: throw answer.failure(of: read)
            }
        }
        guard let tag else { return }
        let request = S3Request(method: .DELETE, key: try full(key), headers: [(name: "if-match", value: tag)])
        try await call(request, deadline) { answer throws(ObjectStoreError) in
            switch answer.status {
            case 200, 202, 204: return
            // Another one is there, or none.
            case 412: return
            case 404 where S3Answers.error(answer.body)?.code == "NoSuchKey": return
            default: throw answer.failure(of: request)
            }
        }
    }

    public func list(
        prefix: String, after: ObjectKey?, limit: Int, deadline: Instant
    ) async throws(ObjectStoreError) -> [ListedObject] {
        let below = settings.prefix.map { "\($0)/" } ?? ""
        var found: [ListedObject] = []
        var token: String?
        while found.count < limit {
            var request = S3Request(method: .GET)
            request.query = [
                (name: "list-type", value: "2"), (name: "encoding-type", value: "url"),
                (name: "prefix", value: below + prefix), (name: "max-keys", value: "\(min(limit - found.count, 1000))"),
            ]
            if let after { request.query.append((name: "start-after", value: below + after.description)) }
            if let token { request.query.append((name: "continuation-token", value: token)) }
            let page = try await call(request, deadline) { [request] answer throws(ObjectStoreError) in
                guard answer.status == 200 else { throw answer.failure(of: request) }
                return try S3Answers.page(answer.body, below: below)
            }
            for object in page.objects {
                guard object.key.description.hasPrefix(prefix),
                    (found.last?.key ?? after).map({ $0 < object.key }) ?? true
                else { throw ObjectStoreError(.nonsense, "the list of keys is not in order at '\(object.key)'") }
                found.append(object)
            }
            guard let next = page.next else { break }
            guard next != token else { throw ObjectStoreError(.nonsense, "the list of keys does not go on") }
            token = next
        }
        return Array(found.prefix(limit))
    }

    public func probe(deadline: Instant) async throws(ObjectStoreError) {
        let request = S3Request(method: .HEAD)
        try await call(request, deadline) { answer throws(ObjectStoreError) in
            switch answer.status {
            case 200, 204: return
            case 404:
                throw ObjectStoreError(.missing, "there is no bucket '\(settings.bucket)' at \(settings.endpoint)")
            default: throw answer.failure(of: request)
            }
        }
    }

    // MARK: Attempts

    static let hashHeader = "x-amz-meta-sha256"

    /// Below the prefix.
    func full(_ key: ObjectKey) throws(ObjectStoreError) -> ObjectKey {
        guard let prefix = settings.prefix else { return key }
        guard let full = ObjectKey("\(prefix)/\(key)") else {
            throw ObjectStoreError(.invalid, "the key '\(key)' is too long below '\(prefix)'")
        }
        return full
    }

    /// Asks until there is an answer that `read` takes, or a failure that stays.
    func call<Value>(
        _ request: S3Request, _ deadline: Instant, _ read: (HTTPAnswer) throws(ObjectStoreError) -> Value
    ) async throws(ObjectStoreError) -> Value {
        var attempts = 1
        while true {
            let failure: ObjectStoreError
            do throws(ObjectStoreError) {
                return try read(try await attempt(request, deadline, isFresh: attempts > 1))
            } catch {
                failure = error
            }
            let pause = pause(before: attempts)
            guard failure.isRetryable, failure.code != .full, attempts < settings.maximumAttempts,
                now() + pause < deadline, !Task.isCancelled
            else { throw failure }
            attempts += 1
            metrics.retries.increment()
            logger.debug("a request is sent again", metadata: ["error": "\(failure)", "attempt": "\(attempts)"])
            // Cancelled: the next attempt finds out.
            try? await Task.sleep(for: pause, clock: .continuous)
        }
    }

    private func attempt(
        _ request: S3Request, _ deadline: Instant, isFresh: Bool
    ) async throws(ObjectStoreError) -> HTTPAnswer {
        let left = deadline - now()
        guard left > .zero else { throw ObjectStoreError(.timedOut, "\(request): no time is left") }
        defer { metrics.connections.record(connections.count) }
        let head = settings.signed(request, date: SignatureV4.Date(nanoseconds: wall()))
        do throws(ObjectStoreError) {
            return try await connections.exchange(
                HTTPConnections.Request(
                    head: head, body: request.body, maximumAnswerBytes: request.maximumAnswerBytes,
                    patience: min(settings.patience, left / 2), deadline: deadline), isFresh: isFresh)
        } catch {
            throw ObjectStoreError(error.code, "\(request): \(error.message)")
        }
    }

    /// Random below a bound that doubles, so that many clients do not come back at once.
    private func pause(before attempt: Int) -> Duration {
        let bound = settings.firstPause * (1 << min(attempt - 1, 6))
        let nanoseconds = random.withLock { UInt64.random(in: 0...UInt64(bound.nanoseconds), using: &$0) }
        return .nanoseconds(Int64(nanoseconds))
    }

    /// `bytes 10-19/1000`
    private static func part(_ answer: HTTPAnswer) -> (bytes: Range<UInt64>, size: UInt64)? {
        guard let text = answer.headers.first(name: "content-range"), text.hasPrefix("bytes ") else { return nil }
        let numbers = text.dropFirst("bytes ".count).split(whereSeparator: { $0 == "-" || $0 == "/" }).map {
            UInt64($0)
        }
        guard numbers.count == 3, let first = numbers[0], let last = numbers[1], let size = numbers[2], first <= last,
            last < size
        else { return nil }
        return (bytes: first..<last + 1, size: size)
    }
}
