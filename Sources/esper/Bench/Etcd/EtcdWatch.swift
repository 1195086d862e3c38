import ArgumentParser
import EsperClient
import EsperTypes
import EtcdProtocol
import FoundationEssentials
import GRPCTransport
import NIOCore
import NIOPosix
import SwiftProtobuf

/// How long a change takes to its watchers.
struct EtcdWatch: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "watch", abstract: "From the begin of a put to its event, for many watches.",
        discussion: """
            Puts begin at --rate, whatever the watchers do. 'each' counts every event, 'last' the last of those of one put.
            """)

    @OptionGroup var load: LoadOptions
    @Option(help: "Watches, spread over the streams.")
    var watches = 1000
    @Option(help: "Streams, each with a connection of its own.")
    var streams = 1
    @Flag(help: "All watch one key; otherwise each has its own.")
    var oneKey = false

    func validate() throws {
        guard watches > 0, streams > 0, streams <= watches else {
            throw ValidationError("--watches and --streams take numbers above zero, of which the second is not larger")
        }
        guard load.rate != nil else { throw ValidationError("--rate is needed: puts a second") }
    }

    func run() async throws {
        try await load.measuring {
            let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
            let settings = try ClientSettings.load(try load.config.path())
            // All on one loop, where the tally lives; the last connection puts.
            let connections = try await EtcdConnection.connect(settings, count: streams + 1, on: group)
            let probe = WatchProbe(
                connections: connections.map(\.client), watches: watches, oneKey: oneKey, keys: load.names().keys)
            try await probe.open()
            let rate = load.rate ?? 1
            let interval = 1_000_000_000 / UInt64(rate)
            let start = MonotonicClock.nanoseconds()
            let from = start + UInt64(load.warmUp.duration.nanoseconds)
            let end = from + UInt64(load.duration.duration.nanoseconds)
            await probe.put(every: interval, from: start, countingFrom: from, to: end)
            let found = await probe.finish()
            for (client, _) in connections { client.close() }
            try await group.shutdownGracefully()
            load.output.print(
                .fields([
                    "kind": "etcd-watch", "label": .optional(load.label) { .string($0) }, "watches": .int(watches),
                    "streams": .int(streams), "one_key": .bool(oneKey), "rate": .int(rate),
                    "puts": .unsigned(found.last.count), "incomplete": .int(found.incomplete), "each": found.each.json,
                    "last": found.last.json, "failures": .int(found.failures),
                ]),
                text: """
                    etcd-watch: \(watches) watches on \(streams) streams, \(rate) puts/s
                      each: \(found.each.text)
                      last: \(found.last.text)
                      \(found.incomplete) puts were not told to all, \(found.failures) failed
                    """)
        }
    }
}

/// Watches and puts on one event loop.
///
/// `@unchecked Sendable`: everything that changes is touched on that loop alone.
private final class WatchProbe: @unchecked Sendable {
    struct Found: Sendable {
        var each = Histogram()
        var last = Histogram()
        var incomplete = 0
        var failures = 0
    }

    /// How long to wait for what is still on its way at the end.
    private static let settling = Duration.seconds(3)

    private let connections: [EtcdConnection]
    private let watches: Int
    private let oneKey: Bool
    private let keys: LoadKeys
    private let eventLoop: any EventLoop

    private var streams: [ClientStream] = []
    private var uncreated: Int
    private var ready: EventLoopPromise<Void>
    private var found = Found()
    /// Puts that count, by the moment they began: how many watchers have not been told.
    private var untold: [UInt64: Int] = [:]
    private var counting: Range<UInt64> = 0..<0

    init(connections: [EtcdConnection], watches: Int, oneKey: Bool, keys: LoadKeys) {
        self.connections = connections
        self.watches = watches
        self.oneKey = oneKey
        self.keys = keys
        eventLoop = connections[0].eventLoop
        uncreated = watches
        ready = connections[0].eventLoop.makePromise()
    }

    func open() async throws {
        eventLoop.execute { self.openStreams() }
        let timer = eventLoop.scheduleTask(in: .seconds(60)) {
            self.ready.fail(
                CommandFailure("\(self.uncreated) of \(self.watches) watches were not there after a minute"))
        }
        try await ready.futureResult.get()
        timer.cancel()
    }

    private func openStreams() {
        let readers = connections.dropLast()
        for (number, reader) in readers.enumerated() {
            let mine = stride(from: number, to: watches, by: readers.count).map { request(for: $0) }
            let stream = reader.connection.open(
                ClientCall(path: EtcdMethod.watch.path, message: mine[0], timeout: nil), endsWithFirstMessage: false
            ) { event in self.told(event, on: number) }
            streams.append(stream)
            for request in mine.dropFirst() { stream.send(request) }
        }
    }

    private func request(for watch: Int) -> [UInt8] {
        // A message of a key can be written.
        (try? EtcdWatchRequest.with { $0.createRequest.key = Data(key(of: watch).utf8) }.serializedBytes()) ?? []
    }

    private func key(of watch: Int) -> String { keys.name(oneKey ? 0 : watch) }

    private func told(_ event: ClientStreamEvent, on stream: Int) {
        switch event {
        case .began: break
        case .message(let message):
            streams[stream].acknowledge(messageBytes: message.count)
            guard let response = try? EtcdWatchResponse(serializedBytes: message) else { return failed() }
            if response.created {
                uncreated -= 1
                if uncreated == 0 { ready.succeed() }
            }
            if response.canceled { failed() }
            let now = MonotonicClock.nanoseconds()
            for event in response.events { arrived(event.kv.value, at: now) }
        case .ended: if uncreated > 0 { ready.fail(CommandFailure("a stream of watches was ended")) } else { failed() }
        }
    }

    private func failed() { found.failures += 1 }

    private func arrived(_ value: Data, at now: UInt64) {
        guard case .integer(let number) = LoadKeys.number(in: [UInt8](value)),
            let left = untold[UInt64(number)]
        else { return }
        let begun = UInt64(number)
        found.each.record(nanoseconds: now - begun)
        untold[begun] = left > 1 ? left - 1 : nil
        if left == 1 { found.last.record(nanoseconds: now - begun) }
    }

    /// One put after the other begins at its time, whether those before it are done or not.
    func put(every interval: UInt64, from start: UInt64, countingFrom from: UInt64, to end: UInt64) async {
        eventLoop.execute { self.counting = from..<end }
        var due = start
        var random = SplitMix(seed: start)
        while due < end {
            await LoadRun.sleep(until: due)
            var batch: [Int] = []
            let now = MonotonicClock.nanoseconds()
            while due <= now, due < end {
                batch.append(Int.random(in: 0..<watches, using: &random))
                due += interval
            }
            let chosen = batch
            eventLoop.execute { for watch in chosen { self.put(watch) } }
        }
    }

    private func put(_ watch: Int) {
        let now = MonotonicClock.nanoseconds()
        if counting.contains(now) { untold[now] = oneKey ? watches : 1 }
        let request = EtcdPutRequest.with {
            $0.key = Data(key(of: watch).utf8)
            $0.value = Data(keys.value(Int64(now)))
        }
        connections[connections.count - 1].start(.put, request, EtcdPutResponse.self) { result in
            if case .failure = result { self.failed() }
        }
    }

    func finish() async -> Found {
        let deadline = MonotonicClock.nanoseconds() + UInt64(Self.settling.nanoseconds)
        while MonotonicClock.nanoseconds() < deadline {
            let isDone = (try? await eventLoop.submit { self.untold.isEmpty }.get()) ?? true
            if isDone { break }
            await LoadRun.sleep(until: MonotonicClock.nanoseconds() + 10_000_000)
        }
        return
            (try? await eventLoop.submit {
                self.found.incomplete = self.untold.count
                for stream in self.streams { stream.cancel() }
                return self.found
            }.get()) ?? Found()
    }
}
