import APIDoor
import CacheCore
import EsperClient
import EsperProtocol
import EsperTypes
import Foundation
import GRPCTransport
import KernelCache
import NIOCore
import NIOPosix
import SwiftProtobuf
import Synchronization
import TestSupport
import Testing

/// The cache's service, driven by the client library and by what no client of ours would send.
@Suite(.serialized, .timeLimit(.minutes(2)))
struct CacheDoorTests {
    private func run(_ body: (TestDoor, EsperClient) async throws -> Void) async throws {
        try await TestDoor.run(servesGRPC: true) { (door) async throws in
            let client = try door.client()
            defer { client.close() }
            try await body(door, client)
        }
    }

    private static func bytes(_ count: Int, seed: UInt8 = 1) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) ^ seed }
    }

    @Test func `what is stored comes back, file by file, and is checked`() async throws {
        try await run { door, client in
            let large = Self.bytes(3 << 20 | 17)
            let files = [
                ArtifactFile(name: "kernel.cubin", .bytes(large)),
                ArtifactFile(name: "meta/k.json", .bytes([1, 2, 3])),
                ArtifactFile(name: "empty", .bytes([])),
            ]
            var options = StoreOptions()
            options.cost = .milliseconds(1500)
            let answer = try await client.cache.store(ArtifactName("k/1"), files, options: options)
            #expect(answer.isStored)
            #expect(answer.binding.costMilliseconds == 1500)
            guard case .found(let artifact) = try await client.cache.retrieve(ArtifactName("k/1")) else {
                Issue.record("not found")
                return
            }
            #expect(artifact.contents == [large, [1, 2, 3], []])
            #expect(artifact.header.manifest.writer == "client/alice")
            #expect(artifact["meta/k.json"] == [1, 2, 3])

            var some = RetrieveOptions()
            some.files = ["meta/k.json"]
            guard case .found(let part) = try await client.cache.retrieve(ArtifactName("k/1"), options: some) else {
                Issue.record("not found")
                return
            }
            #expect(part.contents == [nil, [1, 2, 3], nil])
            var known = RetrieveOptions()
            known.knownManifest = artifact.binding.manifest
            guard case .notModified = try await client.cache.retrieve(ArtifactName("k/1"), options: known) else {
                Issue.record("modified")
                return
            }
            guard case .absent(nil) = try await client.cache.retrieve(ArtifactName("k/2")) else {
                Issue.record("found what is not there")
                return
            }
            try await until { door.cacheDoor.openCalls == 0 }
        }
    }

    @Test func `conditions, lists, statistics and evictions mean what they say`() async throws {
        try await run { _, client in
            let name = ArtifactName("alias", tenant: "team-1")
            var options = StoreOptions()
            options.kind = .alias
            options.condition = .absent
            let first = try await client.cache.store(name, [1], options: options)
            await #expect(throws: EsperError.self) { try await client.cache.store(name, [2], options: options) }
            options.condition = .version(first.binding.version.rawValue)
            let second = try await client.cache.store(name, [3], options: options)
            #expect(second.binding.version > first.binding.version)
            do {
                try await client.cache.store(name, [4], options: options)
                Issue.record("stored over a newer version")
            } catch let error as EsperError {
                #expect(error.code == "conflict")
                #expect(error.outcome == .notCommitted)
                #expect(error.message.contains("version \(second.binding.version.rawValue)"))
            }
            #expect(try await client.cache.value(of: name) == [3])
            let list = try await client.cache.list(prefix: ArtifactName("al", tenant: "team-1"))
            #expect(list.entries.map(\.name) == [name])
            #expect(try await client.cache.list().entries.isEmpty)
            let stat = try await client.cache.stat(name)
            #expect(stat.node == "memory")
            #expect(stat.artifact?.binding == second.binding)
            let evicted = try await client.cache.evict(name)
            #expect(evicted.previous == second.binding)
            #expect(try await client.cache.value(of: name) == nil)
            #expect(try await client.cache.evict(name).previous == nil)
            #expect(try await client.cache.warm(.names([name])).missing == 1)
            #expect(try await client.cache.sync(shard: ShardID(3)).shards == 1)
        }
    }

    @Test func `an overloaded node is asked again, and tells nobody that there is nothing`() async throws {
        try await run { door, client in
            let overloaded = CacheFailure(.overloaded, "too many loads")
            try await client.cache.store(ArtifactName("there"), [1])
            door.cache.failRetrieves(overloaded, overloaded)
            #expect(try await client.cache.value(of: ArtifactName("there")) == [1])
            door.cache.failRetrieves(overloaded)
            let answer = try await door.get("/v1/cache/artifacts/there")
            #expect(answer.status == 503)
            #expect(try answer.text("error", "code") == "overloaded")
            #expect(try answer.text("error", "outcome") == "not_committed")
        }
    }

    @Test func `a store whose answer is lost is done once`() async throws {
        try await run { door, client in
            door.cache.fail(
                CacheFailure(.noLeader, "later"), CacheFailure(.timedOut, "who knows", outcome: .unknown))
            let answer = try await client.cache.store(ArtifactName("once"), Self.bytes(100_000))
            #expect(answer.isStored)
            #expect(door.cache.stores == 3)
            door.cache.fail(CacheFailure(.tierUnavailable, "never mind"), CacheFailure(.invalid, "for good"))
            do {
                try await client.cache.store(ArtifactName("never"), [1])
                Issue.record("stored")
            } catch let error as EsperError {
                #expect(error.code == "invalid")
                #expect(error.outcome == .notCommitted)
            }
        }
    }

    @Test func `an eviction whose answer is lost is done once`() async throws {
        try await run { door, client in
            for isConditional in [false, true] {
                let stored = try await client.cache.store(ArtifactName("once"), [1]).binding
                door.cache.loseEvictReply()
                let answer = try await client.cache.evict(
                    ArtifactName("once"), .name(version: isConditional ? stored.version.rawValue : nil))
                #expect(answer.previous == stored)
                #expect(door.cache.binding("default/once") != nil, "what was stored meanwhile stays")
            }
        }
    }

    @Test func `what the cluster has is not sent again`() async throws {
        try await run { door, client in
            let bytes = Self.bytes(6 << 20)
            try await client.cache.store(ArtifactName("a"), bytes)
            let adds = door.cache.adds
            #expect(adds == 6)
            var options = StoreOptions()
            options.mode = .archived
            try await client.cache.store(ArtifactName("b"), bytes + [9], options: options)
            #expect(door.cache.modesAsked == [.durable, .archived])
            // The tail alone.
            #expect(door.cache.adds == adds + 1)
            #expect(try await client.cache.value(of: ArtifactName("b")) == bytes + [9])
        }
    }

    @Test func `64 MiB go out and come in with a few of them in memory`() async throws {
        try await run { door, client in
            let blob = Self.bytes(CacheLimits.blobBytes)
            door.cache.plant("default/big", blob: blob, times: 64)
            let held = Mutex(0)
            door.cache.onBlob.withLock {
                $0 = { _ throws(CacheFailure) in
                    let queued = door.grpcServer.queuedMessageBytes
                    held.withLock { $0 = max($0, queued) }
                }
            }
            let sink = CountingSink()
            guard case .found = try await client.cache.retrieve(ArtifactName("big"), into: sink) else {
                Issue.record("not found")
                return
            }
            #expect(sink.bytes == 64 << 20)
            // One part beyond the credit.
            #expect(held.withLock { $0 } <= 1 << 20)

            let path = NSTemporaryDirectory() + "/esper-cache-\(UInt64.random(in: 0 ... .max))"
            try Data(repeating: 7, count: 32 << 20).write(to: URL(filePath: path))
            defer { unlink(path) }
            try await client.cache.store(ArtifactName("in"), [ArtifactFile(name: "", .file(path))])
            let back = CountingSink()
            _ = try await client.cache.retrieve(ArtifactName("in"), into: back)
            #expect(back.bytes == 32 << 20)
        }
    }

    @Test func `a reader who does not read holds a few blobs back, and none when it goes`() async throws {
        try await run { door, _ in
            door.cache.plant("default/big", blob: Self.bytes(CacheLimits.blobBytes), times: 64)
            let connection = try await door.grpc()
            let request = ProtoRetrieveRequest.with { $0.name.name = Data("big".utf8) }
            let messages = Mutex(0)
            let stream = connection.open(
                ClientCall(
                    path: ProtoCacheMethod.retrieve.path, message: try request.serializedBytes(), timeout: nil),
                endsWithFirstMessage: true
            ) { event in
                if case .message = event { messages.withLock { $0 += 1 } }
            }
            try await until { messages.withLock { $0 } >= 3 }
            // As much as fits the window and the credit, and what is fetched ahead.
            for _ in 0..<200 { try await turn() }
            #expect(door.cache.blobReads <= 5)
            stream.cancel()
            try await until { door.cacheDoor.openCalls == 0 }
            #expect(door.cache.blobReads <= 6)
            connection.close()
        }
    }

    @Test func `a reader who takes nothing for too long is let go`() async throws {
        try await TestDoor.run(servesGRPC: true, silence: .milliseconds(300)) { (door) async throws in
            door.cache.plant("default/big", blob: Self.bytes(CacheLimits.blobBytes), times: 64)
            let connection = try await door.grpc()
            let request = ProtoRetrieveRequest.with { $0.name.name = Data("big".utf8) }
            let isEnded = Mutex(false)
            _ = connection.open(
                ClientCall(
                    path: ProtoCacheMethod.retrieve.path, message: try request.serializedBytes(), timeout: nil),
                endsWithFirstMessage: true
            ) { event in
                if case .ended = event { isEnded.withLock { $0 = true } }
            }
            try await until("a call") { door.cacheDoor.openCalls == 1 }
            try await until("its end", within: .seconds(10)) { door.cacheDoor.openCalls == 0 }
            try await until("word of it", within: .seconds(10)) { isEnded.withLock { $0 } }
            #expect(door.grpcServer.queuedMessageBytes == 0)
            connection.close()
        }
    }

    @Test func `a transfer that breaks goes on where it stopped`() async throws {
        try await run { door, client in
            let blob = Self.bytes(CacheLimits.blobBytes)
            door.cache.plant("default/big", blob: blob, times: 12)
            door.cache.onBlob.withLock {
                $0 = { number throws(CacheFailure) in
                    if number == 6 { throw CacheFailure(.tierUnavailable, "away") }
                }
            }
            let sink = CountingSink()
            guard case .found = try await client.cache.retrieve(ArtifactName("big"), into: sink) else {
                Issue.record("not found")
                return
            }
            #expect(sink.begun == 1)
            #expect(sink.bytes == 12 << 20)
            #expect(door.cache.blobReads <= 14)
        }
    }

    @Test func `bytes that are not what their digest says never reach a reader`() async throws {
        try await run { door, client in
            var blob = Self.bytes(CacheLimits.blobBytes)
            door.cache.plant("default/bad", blob: blob, times: 2)
            blob[5] ^= 1
            door.cache.corrupt(blob)
            do {
                _ = try await client.cache.retrieve(ArtifactName("bad"), options: .quick)
                Issue.record("taken")
            } catch let error as EsperError {
                #expect(error.code == EsperError.Code.wrongDigest)
            }
        }
    }

    struct Nonsense: Sendable, CustomTestStringConvertible {
        var says: String
        var requests: [ProtoStoreRequest]
        var code = "invalid"
        var status = GRPCCode.invalidArgument
        var testDescription: String { says }

        init(
            _ says: String, _ requests: [ProtoStoreRequest], _ code: String = "invalid",
            _ status: GRPCCode = .invalidArgument
        ) {
            (self.says, self.requests, self.code, self.status) = (says, requests, code, status)
        }
    }

    private static let header = ProtoStoreRequest.with { $0.header.name.name = Data("n".utf8) }
    private static func file(_ name: String, sha256: Data = Data()) -> ProtoStoreRequest {
        .with {
            $0.file.name = name
            $0.file.sha256 = sha256
        }
    }
    private static func data(_ count: Int) -> ProtoStoreRequest { .with { $0.data = Data(repeating: 1, count: count) } }
    private static func blob(_ count: UInt32) -> ProtoStoreRequest {
        .with {
            $0.blob.sha256 = Data(repeating: 9, count: 32)
            $0.blob.size = count
        }
    }
    private static let end = ProtoStoreRequest.with { $0.end = ProtoStoreEnd() }

    static let nonsense: [Nonsense] = [
        Nonsense("begins with its header", [file("a"), end]),
        Nonsense("begins with its header", []),
        Nonsense("an empty request", [header, ProtoStoreRequest()]),
        Nonsense("a second header", [header, header]),
        Nonsense("without 'end'", [header, file("a"), data(3)]),
        Nonsense("before the first file", [header, data(3), end]),
        Nonsense("before the first file", [header, blob(3), end]),
        Nonsense("at least one file", [header, end]),
        Nonsense("relative path", [header, file("../a"), end]),
        Nonsense("relative path", [header, file("a/../../b"), end]),
        Nonsense("relative path", [header, file("/etc/passwd"), end]),
        Nonsense("relative path", [header, file("a//b"), end]),
        Nonsense("relative path", [header, file("a\u{0}b"), end]),
        Nonsense("relative path", [header, file("a"), file(""), end]),
        Nonsense("relative path", [header, file(String(repeating: "x", count: 1025)), end]),
        Nonsense("occurs twice", [header, file("a"), file("a"), end]),
        Nonsense("SHA-256 that was given", [header, file("a", sha256: Data(repeating: 1, count: 32)), data(3), end]),
        Nonsense("has 32 bytes", [header, file("a", sha256: Data([1])), end]),
        Nonsense("a whole one", [header, file("a"), data(3), blob(3), end]),
        Nonsense("a blob of the file", [header, file("a"), blob(0), end]),
        Nonsense("a blob of the file", [header, file("a"), blob(1 << 20 | 1), end]),
        Nonsense("is held by nobody", [header, file("a"), blob(3), end], "closure_incomplete", .failedPrecondition),
        Nonsense("at least one byte", [ProtoStoreRequest.with { $0.header.mode = .memory }, file("a"), end]),
        Nonsense(
            "unknown mode",
            [
                ProtoStoreRequest.with {
                    $0.header.name.name = Data([1]); $0.header.mode = .UNRECOGNIZED(9)
                }
            ]),
        Nonsense(
            "unknown kind",
            [
                ProtoStoreRequest.with {
                    $0.header.name.name = Data([1]); $0.header.kind = .UNRECOGNIZED(9)
                }
            ]),
        Nonsense(
            "letters, digits",
            [
                ProtoStoreRequest.with {
                    $0.header.name.name = Data([1]); $0.header.name.tenant = "a/b"
                }
            ]),
        Nonsense(
            "at most 1024 bytes", [ProtoStoreRequest.with { $0.header.name.name = Data(repeating: 1, count: 1025) }]),
        Nonsense(
            "lineage has 32",
            [
                ProtoStoreRequest.with {
                    $0.header.name.name = Data([1]); $0.header.lineage = Data([1])
                }
            ]),
    ]

    @Test func `nonsense is refused in words, and binds nothing`() async throws {
        try await run { door, _ in
            let connection = try await door.grpc()
            for row in Self.nonsense {
                let failure = try await store(row.requests.map { try $0.serializedBytes() }, connection)
                #expect(failure?.status.code == row.status, "\(row.says): \(String(describing: failure))")
                let detail = try ProtoErrorDetail(
                    serializedBytes: failure?.metadata.bytes("esper-error-bin") ?? [])
                #expect(detail.message.contains(row.says), "\(row.says): \(detail.message)")
                #expect(detail.code == row.code, "\(row.says)")
                #expect(detail.outcome == .notCommitted, "\(row.says)")
            }
            let garbage = try await store([[0x0a, 0x05]], connection)
            #expect(garbage?.status.message.contains("not a valid message") == true)
            let large = try await store(
                [try Self.header.serializedBytes(), try Self.data(600_000).serializedBytes()], connection)
            #expect(large?.status.code == .resourceExhausted)
            #expect(door.cache.binding("default/n") == nil)
            try await until { door.cacheDoor.openCalls == 0 }
            connection.close()
        }
    }

    /// - Returns: how it failed.
    private func store(_ requests: [[UInt8]], _ connection: ClientConnection) async throws -> CallFailure? {
        await withCheckedContinuation { continuation in
            let call = ClientCall(
                path: ProtoCacheMethod.store.path, message: requests.first ?? [], timeout: .seconds(10))
            let stream = connection.open(call, endsWithFirstMessage: false) { event in
                guard case .ended(let result) = event else { return }
                if case .failure(let failure) = result {
                    continuation.resume(returning: failure)
                } else {
                    continuation.resume(returning: nil)
                }
            }
            for request in requests.dropFirst() { stream.send(request) }
            stream.halfClose()
        }
    }

    @Test func `a store that is given up binds nothing and leaves nothing behind`() async throws {
        try await run { door, client in
            door.cache.onAdd.withLock {
                $0 = { number throws(CacheFailure) in
                    // Until cancelled.
                    if number == 2 { _ = await never() }
                }
            }
            let task = Task { try await client.cache.store(ArtifactName("given-up"), Self.bytes(3 << 20)) }
            try await until { door.cache.adds >= 2 }
            task.cancel()
            await #expect(throws: EsperError.self) { try await task.value }
            try await until { door.cacheDoor.openCalls == 0 }
            #expect(door.cache.binding("default/given-up") == nil)
        }
    }

    // MARK: Making what is missing

    @Test func `of many who need it one makes it, and the others get his`() async throws {
        try await run { door, client in
            final class Counter: Sendable { let made = Mutex(0) }
            let counter = Counter()
            let name = ArtifactName("compiled")
            let results: [Compiled] = try await withThrowingTaskGroup(of: Compiled.self) { group in
                for _ in 0..<20 {
                    group.addTask {
                        try await client.cache.withCompiled(name) {
                            counter.made.withLock { $0 += 1 }
                            // Longer than the token lives.
                            await pause(.milliseconds(500))
                            return [("", [4, 2])]
                        }
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(counter.made.withLock { $0 } == 1)
            #expect(results.count { !$0.isFound } == 1)
            #expect(results.allSatisfy { $0.value == [4, 2] })
            #expect(door.cache.renewals >= 2)
            #expect((door.cache.binding("default/compiled")?.costMilliseconds ?? 0) >= 500)
        }
    }

    @Test func `an error of the maker is told and thrown on`() async throws {
        struct Broken: Error {}
        try await run { door, client in
            await #expect(throws: Broken.self) {
                _ = try await client.cache.withCompiled(ArtifactName("broken"), isDeterministic: { $0 is Broken }) {
                    throw Broken()
                }
            }
            #expect(door.cache.reports.map(\.isDeterministic) == [true])
            #expect(door.cache.reports.first?.token.number == 77)
        }
    }

    @Test func `what cannot be stored is good all the same`() async throws {
        try await run { door, client in
            door.cache.fail(CacheFailure(.storageFull, "full"), CacheFailure(.invalid, "no"))
            let compiled = try await client.cache.withCompiled(ArtifactName("full")) { [("", [1])] }
            #expect(compiled.value == [1])
            #expect(compiled.binding == nil)
            #expect(compiled.storeError?.code == "invalid")
            #expect(door.cache.reports.count == 1)
        }
    }

    // MARK: Files

    @Test func `files appear as a whole or not at all`() async throws {
        try await run { door, client in
            let directory = NSTemporaryDirectory() + "/esper-sink-\(UInt64.random(in: 0 ... .max))"
            defer { try? FileManager.default.removeItem(atPath: directory) }
            let large = Self.bytes(2 << 20)
            let name = ArtifactName("files")
            try await client.cache.store(
                name, [ArtifactFile(name: "a/b/large", .bytes(large)), ArtifactFile(name: "small", .bytes([1]))])
            let sink = FileSink(.directory(directory))
            _ = try await client.cache.retrieve(name, into: sink)
            #expect(!FileManager.default.fileExists(atPath: directory + "/small"))
            try await sink.finish()
            #expect(try Data(contentsOf: URL(filePath: directory + "/a/b/large")) == Data(large))
            #expect(try Data(contentsOf: URL(filePath: directory + "/small")) == Data([1]))

            door.cache.onBlob.withLock { $0 = { _ throws(CacheFailure) in throw CacheFailure(.bytesLost, "gone") } }
            let broken = FileSink(.directory(directory + "/other"))
            await #expect(throws: EsperError.self) { try await client.cache.retrieve(name, into: broken) }
            await broken.discard()
            let left = try FileManager.default.subpathsOfDirectory(atPath: directory + "/other")
            #expect(left.filter { !$0.hasPrefix("a") || $0.contains("large") } == [])
        }
    }
}

/// Counts what comes.
private final class CountingSink: ArtifactSink {
    private let state = Mutex((begun: 0, bytes: 0))

    var begun: Int { state.withLock { $0.begun } }
    var bytes: Int { state.withLock { $0.bytes } }

    func begin(_ header: ArtifactHeader) async throws { state.withLock { $0 = ($0.begun + 1, 0) } }
    func write(_ bytes: [UInt8], file: Int) async throws { state.withLock { $0.bytes += bytes.count } }
}

extension RetrieveOptions {
    fileprivate static var quick: RetrieveOptions {
        var options = RetrieveOptions()
        options.timeout = .milliseconds(300)
        return options
    }
}

/// Asks until it holds; the suite's time limit ends what never does.
private func until(_ condition: () -> Bool) async throws {
    while !condition() { try await turn() }
}

private func turn() async throws {
    try Task.checkCancellation()
    await pause(.milliseconds(2))
}

private func pause(_ time: TimeAmount) async throws {
    try await MultiThreadedEventLoopGroup.singleton.any().scheduleTask(in: time) {}.futureResult.get()
}

/// Ends when its task is cancelled.
private func never() async -> Never? {
    let (stream, continuation) = AsyncStream.makeStream(of: Never.self)
    return await withTaskCancellationHandler {
        for await _ in stream {}
        return nil
    } onCancel: {
        continuation.finish()
    }
}
