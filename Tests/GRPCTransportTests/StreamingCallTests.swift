import GRPCTransport
import NIOCore
import Synchronization
import Testing

/// Collects what a streaming call brings.
final class StreamRecorder: Sendable {
    struct Record {
        var hasBegun = false
        var messages: [Int] = []
        var ending: Result<Metadata, CallFailure>?
        var acknowledges: Bool
        var stream: ClientStream?
        /// Came before `open` had returned, so that there was nobody to acknowledge them to.
        var early: [Int] = []
    }

    private let record: Mutex<Record>

    init(acknowledges: Bool = true) { record = Mutex(Record(acknowledges: acknowledges)) }

    /// From now on, and what has come so far.
    func read() {
        let (stream, messages) = record.withLock { record in
            record.acknowledges = true
            return (record.stream, record.messages)
        }
        for count in messages { stream?.acknowledge(messageBytes: count) }
    }

    var messages: [Int] { record.withLock { $0.messages } }
    var hasBegun: Bool { record.withLock { $0.hasBegun } }
    var bytes: Int { messages.reduce(0, +) }
    var ending: Result<Metadata, CallFailure>? { record.withLock { $0.ending } }

    func open(_ method: EchoService.Method, _ message: [UInt8], single: Bool, on connection: ClientConnection)
        -> ClientStream
    {
        open(ClientCall(path: method.path, message: message, timeout: .seconds(30)), single: single, on: connection)
    }

    func open(_ call: ClientCall, single: Bool, on connection: ClientConnection) -> ClientStream {
        let opened = connection.open(call, endsWithFirstMessage: single) { self.happened($0) }
        let early = record.withLock { record in
            record.stream = opened
            return record.early
        }
        for count in early { opened.acknowledge(messageBytes: count) }
        return opened
    }

    private func happened(_ event: ClientStreamEvent) {
        switch event {
        case .began: record.withLock { $0.hasBegun = true }
        case .message(let message):
            let stream = record.withLock { record in
                record.messages.append(message.count)
                if record.acknowledges, record.stream == nil { record.early.append(message.count) }
                return record.acknowledges ? record.stream : nil
            }
            stream?.acknowledge(messageBytes: message.count)
        case .ended(let result): record.withLock { $0.ending = result }
        }
    }
}

@Suite(.timeLimit(.minutes(1)), .serialized)
struct StreamingCallTests {
    @Test(arguments: [(0, 10), (1, 0), (1000, 10), (3000, 10_000), (3, 3_000_000)])
    func `every message of a stream arrives in order`(count: Int, bytes: Int) async throws {
        try await EchoServer.run { server in
            let recorder = StreamRecorder()
            let request = EchoService.expansion(count: count, bytes: bytes)
            _ = try await recorder.open(.expand, request, single: true, on: server.connect())
            try await eventually { recorder.ending != nil }
            #expect(throws: Never.self) { try recorder.ending?.get() }
            #expect(recorder.messages == Array(repeating: bytes, count: count))
        }
    }

    @Test(arguments: [true, false])
    func `whoever holds his own call goes when it has ended`(isCancelled: Bool) async throws {
        try await EchoServer.run { server in
            let connection = try await server.connect()
            func call() async throws -> @Sendable () -> Bool {
                let recorder = StreamRecorder()
                let stream = recorder.open(.chat, [1], single: false, on: connection)
                if isCancelled { stream.cancel() } else { stream.halfClose() }
                try await eventually { recorder.ending != nil }
                return { [weak recorder] in recorder == nil }
            }
            let isGone = try await call()
            try await eventually(isGone)
        }
    }

    @Test func `requests and answers flow both ways until the caller stops`() async throws {
        try await EchoServer.run { server in
            let recorder = StreamRecorder()
            let stream = try await recorder.open(.chat, [1], single: false, on: server.connect())
            for size in [2, 3, 100_000, 2_500_000, 4] { stream.send([UInt8](repeating: 9, count: size)) }
            try await eventually { recorder.messages.count == 6 }
            #expect(recorder.ending == nil)
            stream.halfClose()
            try await eventually { recorder.ending != nil }
            #expect(throws: Never.self) { try recorder.ending?.get() }
            #expect(recorder.messages == [1, 2, 3, 100_000, 2_500_000, 4])
            #expect(server.service.seen.halfClosed == 1)
        }
    }

    @Test func `a cancelled stream ends at both ends`() async throws {
        try await EchoServer.run { server in
            let recorder = StreamRecorder()
            let stream = try await recorder.open(.chat, [1], single: false, on: server.connect())
            try await eventually { recorder.messages.count == 1 }
            stream.cancel()
            try await eventually { recorder.ending != nil && server.service.seen.ended == [.cancelled] }
            let failure = #expect(throws: CallFailure.self) { try recorder.ending?.get() }
            #expect(failure?.status.code == .cancelled)
        }
    }

    @Test func `a reader that does not read is not buffered for`() async throws {
        var options = TransportOptions.client
        options.streamWindowBytes = 100_000
        try await EchoServer.run { server in
            let connection = try await server.connect(options: options)
            let recorder = StreamRecorder(acknowledges: false)
            let request = EchoService.expansion(count: 20_000, bytes: 10_000)
            let stream = recorder.open(.expand, request, single: true, on: connection)
            // The window is full; other calls of the connection are not held up by it.
            try await eventually { recorder.bytes >= 80_000 }
            for _ in 0..<50 { #expect(try await connection.call(.unary, [1]).get().message == [1]) }
            #expect(recorder.bytes <= 100_000)
            #expect(server.service.seen.largestQueue <= TransportOptions.server.streamCreditBytes + 10_000)
            stream.cancel()
            try await eventually { recorder.ending != nil }
        }
    }

    @Test func `streams that nobody reads share one bound, and those that are read go on`() async throws {
        var options = TransportOptions.client
        options.streamWindowBytes = 20_000
        try await EchoServer.run { server in
            let connection = try await server.connect(options: options)
            let request = EchoService.expansion(count: 40, bytes: 10_000)
            let unread = (0..<200).map { _ in StreamRecorder(acknowledges: false) }
            for recorder in unread { _ = recorder.open(.expand, request, single: true, on: connection) }
            try await eventually { unread.allSatisfy { !$0.messages.isEmpty } }
            let live = StreamRecorder()
            _ = live.open(
                .expand, EchoService.expansion(count: 300, bytes: 10_000), single: true, on: connection)
            // Each stream alone might hold 256 KiB.
            let bound = TransportOptions.server.connectionCreditBytes + 201 * 10_005
            var largest = 0
            try await eventually {
                largest = max(largest, server.server.queuedMessageBytes)
                return live.ending != nil
            }
            #expect(largest > TransportOptions.server.connectionCreditBytes / 2)
            #expect(largest <= bound)
            #expect(live.messages == Array(repeating: 10_000, count: 300))
            #expect(unread.allSatisfy { $0.ending == nil })
            #expect(try await connection.call(.unary, [1]).get().message == [1])
            for recorder in unread { recorder.read() }
            try await eventually {
                largest = max(largest, server.server.queuedMessageBytes)
                return unread.allSatisfy { $0.ending != nil }
            }
            #expect(unread.allSatisfy { $0.messages == Array(repeating: 10_000, count: 40) })
            #expect(largest <= bound)
            try await eventually { server.server.queuedMessageBytes == 0 }
        }
    }

    @Test func `what streams that end had queued is forgotten`() async throws {
        var options = TransportOptions.client
        options.streamWindowBytes = 20_000
        try await EchoServer.run { server in
            let connection = try await server.connect(options: options)
            let request = EchoService.expansion(count: 40, bytes: 10_000)
            let unread = (0..<40).map { _ in StreamRecorder(acknowledges: false) }
            let streams = unread.map { $0.open(.expand, request, single: true, on: connection) }
            try await eventually {
                server.server.queuedMessageBytes >= TransportOptions.server.connectionCreditBytes / 2
            }
            for stream in streams.dropLast() { stream.cancel() }
            try await eventually { server.server.queuedMessageBytes <= 40 * 10_005 }
            unread[39].read()
            try await eventually { unread[39].ending != nil }
            #expect(unread[39].messages == Array(repeating: 10_000, count: 40))
            let lost = StreamRecorder(acknowledges: false)
            _ = lost.open(.expand, request, single: true, on: connection)
            try await eventually { server.server.queuedMessageBytes > 0 }
            connection.close()
            try await eventually { server.server.queuedMessageBytes == 0 }
        }
    }

    @Test func `a drained server finishes what it has and takes nothing new`() async throws {
        try await EchoServer.run { server in
            let connection = try await server.connect()
            let recorder = StreamRecorder()
            let stream = recorder.open(.chat, [1], single: false, on: connection)
            try await eventually { recorder.messages.count == 1 }
            let drained = Task {
                await server.server.drain(deadline: .now() + .seconds(20), on: server.group.any())
            }
            try await eventually { !connection.isUsable }
            let refused = await #expect(throws: CallFailure.self) { try await connection.call(.unary).get() }
            #expect(refused?.status.code == .unavailable)
            #expect(refused?.mayHaveArrived == false)
            stream.send([1, 2])
            try await eventually { recorder.messages.count == 2 }
            stream.halfClose()
            try await eventually { recorder.ending != nil }
            #expect(throws: Never.self) { try recorder.ending?.get() }
            await drained.value
            try await connection.closed.get()
            #expect(server.server.connectionCount == 0)
        }
    }

    @Test func `answers that nobody reads close their connection, and others do not notice`() async throws {
        var options = TransportOptions.server
        options.maximumAnswerBytes = 4 << 20
        try await EchoServer.run(options: options) { server in
            let good = try await server.connect()
            var slow = TransportOptions.client
            // A reader that takes next to nothing at a time.
            slow.streamWindowBytes = 1000
            let connection = try await server.connect(options: slow)
            let message = [UInt8](repeating: 7, count: 1 << 20)
            let failures = await withTaskGroup(of: Bool.self, returning: Int.self) { group in
                for _ in 0..<24 {
                    group.addTask {
                        if case .failure = await connection.call(.unary, message, timeout: .seconds(30)) { return true }
                        return false
                    }
                }
                return await group.reduce(0) { $0 + ($1 ? 1 : 0) }
            }
            #expect(failures > 0)
            try await connection.closed.get()
            #expect(try await good.call(.unary, [1]).get().message == [1])
            try await eventually { server.server.connectionCount == 1 }
        }
    }

    @Test func `a drain ends watches of the health with a status`() async throws {
        try await EchoServer.run { server in
            let connection = try await server.connect()
            let recorder = StreamRecorder()
            let call = ClientCall(path: "/grpc.health.v1.Health/Watch", message: [], timeout: nil)
            _ = recorder.open(call, single: true, on: connection)
            try await eventually { recorder.messages.count == 1 }
            await server.server.drain(deadline: .now() + .seconds(20), on: server.group.any())
            let failure = #expect(throws: CallFailure.self) { try recorder.ending?.get() }
            #expect(failure?.status == GRPCStatus(.unavailable, "the server is stopping"))
        }
    }

    @Test func `a drain closes what has not ended at its deadline`() async throws {
        try await EchoServer.run { server in
            let connection = try await server.connect()
            let waiting = Task { await connection.call(.hang) }
            try await eventually { server.service.seen.batches == [1] }
            await server.server.drain(deadline: .now() + .milliseconds(50), on: server.group.any())
            let failure = await #expect(throws: CallFailure.self) { try await waiting.value.get() }
            #expect(failure?.status.code == .unavailable)
        }
    }
}
