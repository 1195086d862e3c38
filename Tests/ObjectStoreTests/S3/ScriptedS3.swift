import EsperTypes
import Foundation
import NIOCore
import NIOPosix
import ObjectStore
import Synchronization

/// A store in memory that speaks enough of S3, checks no signatures, and fails as the test says. It writes its answers byte by
/// byte, so that they can be wrong in every way.
final class ScriptedS3: Sendable {
    enum Fault: Sendable, Hashable {
        /// Answers with this instead of doing it.
        case answer(Int, String)
        /// Does it and closes the connection without an answer.
        case loseAnswer
        /// Does it and never answers.
        case stayAway
        /// Closes the connection without doing it.
        case hangUp
        /// Does it and breaks off in the middle of the answer: of its head, or of its body when there is one.
        case cutShort
        /// Answers what is not HTTP.
        case babble
        /// Answers with a body whose end only the end of the connection tells.
        case forgetLength
    }

    private struct State {
        var objects: [String: [UInt8]] = [:]
        /// How often each key came into being.
        var creations: [String: Int] = [:]
        var uploads: [String: [Int: [UInt8]]] = [:]
        var faults: [Int: Fault] = [:]
        var always: Fault?
        var requests: [String] = []
        var uploadsEver = 0
    }

    private let state = Mutex(State())
    private let channel = Mutex<(any Channel)?>(nil)
    let port: Int

    init() async throws {
        let connections = Mutex<@Sendable (any Channel) -> EventLoopFuture<Void>>({
            $0.eventLoop.makeSucceededVoidFuture()
        })
        let server = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { child in connections.withLock { $0 }(child) }
            .bind(host: "127.0.0.1", port: 0).get()
        port = server.localAddress?.port ?? 0
        connections.withLock {
            $0 = { [self] child in
                child.eventLoop.makeCompletedFuture { try child.pipeline.syncOperations.addHandler(Connection(self)) }
            }
        }
        channel.withLock { $0 = server }
    }

    func stop() async { try? await channel.withLock { $0 }?.close() }

    // MARK: The script

    /// Of the requests from now on, counted from 0.
    func fail(_ faults: [Int: Fault], always: Fault? = nil) {
        state.withLock { ($0.faults, $0.always, $0.requests) = (faults, always, []) }
    }

    /// Methods and paths since ``fail(_:always:)``.
    var requests: [String] { state.withLock { $0.requests } }
    var objects: [String: [UInt8]] { state.withLock { $0.objects } }
    var creations: [String: Int] { state.withLock { $0.creations } }
    var uploads: Int { state.withLock { $0.uploads.count } }
    var uploadsEver: Int { state.withLock { $0.uploadsEver } }

    func plant(_ key: String, _ bytes: [UInt8]) { state.withLock { $0.objects[key] = bytes } }

    /// An upload that nobody will complete.
    func plantUpload(_ id: String) { state.withLock { $0.uploads[id] = [:] } }

    func makeStore(
        _ change: (inout S3Settings) -> Void = { _ in }, wall: @escaping @Sendable () -> UInt64 = wallNanoseconds
    ) throws -> S3Store {
        var settings = S3Settings(
            endpoint: S3Endpoint("http://127.0.0.1:\(port)")!, bucket: "bucket", region: "us-east-1",
            credentials: S3Credentials(accessKey: "key", secretKey: "secret"))
        settings.firstPause = .milliseconds(1)
        // Half of what a call has left, which only a broken program reaches.
        settings.patience = .seconds(60)
        settings.partBytes = 5 << 20
        change(&settings)
        return try S3Store.test(settings, wall: wall)
    }

    // MARK: Requests

    private struct Request {
        var method: String
        var key: String
        var query: [String: String]
        var headers: [String: String]
        var body: [UInt8]
    }

    private struct Answer {
        var status = 200
        var headers: [String] = []
        var body: [UInt8] = []
        var isHead = false

        func bytes(withLength: Bool = true) -> [UInt8] {
            let length = withLength ? "content-length: \(body.count)\r\n" : ""
            let head = "HTTP/1.1 \(status) Some\r\n\(headers.map { $0 + "\r\n" }.joined())\(length)\r\n"
            return Array(head.utf8) + (isHead ? [] : body)
        }
    }

    private func take(_ request: Request, _ state: inout State) -> (Answer?, Fault?) {
        let number = state.requests.count
        let isSubresource = request.query.keys.sorted().joined(separator: "&")
        state.requests.append("\(request.method) \(request.key)\(isSubresource.isEmpty ? "" : "?\(isSubresource)")")
        let fault = state.faults[number] ?? state.always
        switch fault {
        case .answer(let status, let code):
            var answer = Answer(status: status, isHead: request.method == "HEAD")
            answer.body = Array("<Error><Code>\(code)</Code><Message>as the script says</Message></Error>".utf8)
            return (answer, nil)
        case .hangUp, .babble: return (nil, fault)
        case .loseAnswer, .stayAway, .cutShort, .forgetLength, nil:
            var answer = perform(request, &state)
            answer.isHead = request.method == "HEAD"
            return (answer, fault)
        }
    }

    private func perform(_ request: Request, _ state: inout State) -> Answer {
        func error(_ status: Int, _ code: String) -> Answer {
            Answer(status: status, body: Array("<Error><Code>\(code)</Code></Error>".utf8))
        }
        func create(_ bytes: [UInt8]) -> Answer {
            if request.headers["if-none-match"] == "*", state.objects[request.key] != nil {
                return error(412, "PreconditionFailed")
            }
            state.objects[request.key] = bytes
            state.creations[request.key, default: 0] += 1
            return Answer()
        }
        let upload = request.query["uploadId"]
        switch (request.method, request.key) {
        case ("HEAD", ""): return Answer()
        case ("GET", "") where request.query["uploads"] != nil:
            let list = state.uploads.keys.sorted().map {
                "<Upload><Key>old</Key><UploadId>\($0)</UploadId><Initiated>2020-01-01T00:00:00.000Z</Initiated></Upload>"
            }
            return Answer(
                body: Array("<ListMultipartUploadsResult>\(list.joined())</ListMultipartUploadsResult>".utf8))
        case ("GET", ""):
            let prefix = request.query["prefix"] ?? ""
            let entries = state.objects.keys.sorted().filter { $0.hasPrefix(prefix) }.map {
                "<Contents><Key>\($0)</Key><Size>\(state.objects[$0]?.count ?? 0)</Size></Contents>"
            }
            return Answer(
                body: Array(
                    "<ListBucketResult><IsTruncated>false</IsTruncated>\(entries.joined())</ListBucketResult>".utf8))
        case ("POST", _) where request.query["uploads"] != nil:
            state.uploadsEver += 1
            let id = "upload-\(state.uploadsEver)"
            state.uploads[id] = [:]
            return Answer(
                body: Array(
                    "<InitiateMultipartUploadResult><UploadId>\(id)</UploadId></InitiateMultipartUploadResult>".utf8))
        case ("PUT", _) where upload != nil:
            guard let id = upload, state.uploads[id] != nil, let number = Int(request.query["partNumber"] ?? "") else {
                return error(404, "NoSuchUpload")
            }
            state.uploads[id]?[number] = request.body
            return Answer(headers: ["etag: \"\(number)\""])
        case ("POST", _) where upload != nil:
            guard let id = upload, let parts = state.uploads[id] else { return error(404, "NoSuchUpload") }
            let answer = create(parts.sorted { $0.key < $1.key }.reduce(into: []) { $0 += $1.value })
            if answer.status == 200 { state.uploads[id] = nil }
            return answer.status == 200
                ? Answer(body: Array("<CompleteMultipartUploadResult/>".utf8)) : answer
        case ("DELETE", _) where upload != nil:
            guard let id = upload, state.uploads.removeValue(forKey: id) != nil else {
                return error(404, "NoSuchUpload")
            }
            return Answer(status: 204)
        case ("PUT", _): return create(request.body)
        case ("DELETE", _):
            state.objects[request.key] = nil
            return Answer(status: 204)
        default:
            guard let bytes = state.objects[request.key] else { return error(404, "NoSuchKey") }
            return Answer(body: bytes)
        }
    }

    /// One connection's bytes, request after request.
    private final class Connection: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias OutboundOut = ByteBuffer

        private let server: ScriptedS3
        private var received = ByteBuffer()

        init(_ server: ScriptedS3) { self.server = server }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            var bytes = Self.unwrapInboundIn(data)
            received.writeBuffer(&bytes)
            while let request = nextRequest() {
                let (answer, fault) = server.state.withLock { server.take(request, &$0) }
                reply(answer, fault, context)
            }
        }

        private func reply(_ answer: Answer?, _ fault: Fault?, _ context: ChannelHandlerContext) {
            var bytes = answer?.bytes(withLength: fault != .forgetLength) ?? []
            switch fault {
            case nil: break
            case .stayAway: return
            case .loseAnswer, .hangUp: bytes = []
            case .cutShort: bytes.removeLast(max(1, (answer?.isHead == false ? answer?.body.count ?? 0 : 0) / 2))
            case .babble: bytes = Array("SSH-2.0-OpenSSH_9.2p1\r\n\r\n".utf8)
            case .forgetLength, .answer: break
            }
            let isLast = fault != nil
            let context = NIOLoopBound(context, eventLoop: context.eventLoop)
            context.value.writeAndFlush(Self.wrapOutboundOut(ByteBuffer(bytes: bytes))).assumeIsolated()
                .whenComplete { _ in if isLast { context.value.close(promise: nil) } }
        }

        private func nextRequest() -> Request? {
            let start = received.readableBytesView.prefix(4096)
            guard let end = start.firstRange(of: Array("\r\n\r\n".utf8)) else { return nil }
            let lines = String(decoding: start[..<end.lowerBound], as: UTF8.self).components(separatedBy: "\r\n")
            var headers: [String: String] = [:]
            for line in lines.dropFirst() {
                let parts = line.split(separator: ":", maxSplits: 1)
                headers[parts[0].lowercased()] = parts[1].trimmingCharacters(in: .whitespaces)
            }
            let length = Int(headers["content-length"] ?? "0") ?? 0
            let headLength = end.upperBound - start.startIndex
            guard received.readableBytes >= headLength + length else { return nil }
            received.moveReaderIndex(forwardBy: headLength)
            let body = received.readBytes(length: length) ?? []
            received.discardReadBytes()
            let words = lines[0].split(separator: " ")
            let target = words[1].split(separator: "?", maxSplits: 1)
            var query: [String: String] = [:]
            for item in target.dropFirst().first?.split(separator: "&") ?? [] {
                let pair = item.split(separator: "=", maxSplits: 1)
                query[String(pair[0])] = pair.count > 1 ? String(pair[1]).removingPercentEncoding : ""
            }
            let key = target[0].dropFirst("/bucket".count).drop { $0 == "/" }
            return Request(method: String(words[0]), key: String(key), query: query, headers: headers, body: body)
        }
    }
}
