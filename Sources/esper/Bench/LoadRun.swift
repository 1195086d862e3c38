import EsperClient
import EsperTypes
import NIOCore
import NIOPosix
import Synchronization

/// Runs a closed loop and measures it.
struct LoadRun {
    let kind: String
    let options: LoadOptions
    /// Whether a client whose node fails goes on with another; otherwise each stays with one, so that the load is spread.
    let roams: Bool

    func measure(
        _ step: any LoadStep<EsperClient>, recorder: HistoryRecorder?, meanwhile: (@Sendable () async -> Void)? = nil
    ) async throws -> LoadReport {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let settings = try settings()
        let endpoints = try await endpoints(settings)
        var clients: [(client: EsperClient, endpoint: String)] = []
        for number in 0..<options.connectionCount {
            let endpoint = endpoints[number % endpoints.count]
            var own = settings
            own.endpoints = roams ? endpoints : [endpoint]
            var patience = Self.patience
            patience.followsLeader = options.target == .leader
            let client = try EsperClient(own, options: patience, eventLoop: group.next())
            _ = try await client.status()
            clients.append((client, roams ? "any" : endpoint))
        }
        let report = await measure(step, over: clients, recorder: recorder, meanwhile: meanwhile) { session in
            try? await session.close()
        }
        try await group.shutdownGracefully()
        return report
    }

    /// Measures over connections that stand, and closes them.
    ///
    /// - Parameter release: ends what a client has kept.
    func measure<Connection: LoadConnection>(
        _ step: any LoadStep<Connection>, over clients: [(client: Connection, endpoint: String)],
        recorder: HistoryRecorder? = nil, meanwhile: (@Sendable () async -> Void)? = nil,
        release: (Connection.WorkerState) async -> Void
    ) async -> LoadReport {
        let workers = (0..<options.clients).map { index in
            let (client, endpoint) = clients[index % clients.count]
            return LoadWorker(
                index: index, client: client, endpoint: endpoint, recorder: recorder, step: step,
                interval: options.interval)
        }
        let (seconds, processors) = await work(workers, meanwhile: meanwhile)
        var tally = LoadReport.Tally()
        for worker in workers {
            tally.merge(worker.tally)
            if let state = worker.state { await release(state) }
        }
        for (client, _) in clients { client.close() }
        return LoadReport(kind: kind, options: options, tally: tally, seconds: seconds, processors: processors)
    }

    /// Writes every key once, so that reads find something.
    func preload(_ keys: LoadKeys) async throws {
        let client = try EsperClient(settings(), options: Self.patience)
        defer { client.close() }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for worker in 0..<32 {
                group.addTask {
                    for number in stride(from: worker, to: keys.count, by: 32) {
                        try await client.put(Bytes.of(keys.name(number)), keys.value(Int64(number)))
                    }
                }
            }
            try await group.waitForAll()
        }
    }

    static let patience: ClientOptions = {
        var options = Connecting.options(timeout: .seconds(15))
        options.label = "bench"
        return options
    }()

    /// Lets all workers run through warm-up and window, and reads processors at the window's ends.
    private func work<Connection>(
        _ workers: [LoadWorker<Connection>], meanwhile: (@Sendable () async -> Void)?
    ) async -> (seconds: Double, processors: JSON) {
        let cluster = options.developmentCluster()
        let processes = cluster.map { cluster in cluster.nodes.compactMap(cluster.process) } ?? []
        let from = MonotonicClock.nanoseconds() + UInt64(options.warmUp.duration.nanoseconds)
        let window = LoadWindow(from: from, to: from + UInt64(options.duration.duration.nanoseconds))
        async let extra: Void? = meanwhile?()
        async let use = Self.processorUse(over: window, of: processes)
        await withCheckedContinuation { continuation in
            let left = Mutex(workers.count)
            for worker in workers {
                worker.begin(window) {
                    let isLast = left.withLock { left in
                        left -= 1
                        return left == 0
                    }
                    if isLast { continuation.resume() }
                }
            }
        }
        _ = await extra
        return (options.duration.seconds, await use)
    }

    private static func processorUse(over window: LoadWindow, of processes: [ProcessRecord]) async -> JSON {
        await sleep(until: window.from)
        let first = ProcessorUse(servers: processes)
        let start = MonotonicClock.nanoseconds()
        await sleep(until: window.to)
        return ProcessorUse(servers: processes).json(
            since: first, seconds: Double(MonotonicClock.nanoseconds() - start) / 1e9)
    }

    static func sleep(until moment: UInt64) async {
        let now = MonotonicClock.nanoseconds()
        // A cancelled sleep ends early; whoever cancels does not look at the result.
        if moment > now { try? await Task.sleep(for: .nanoseconds(Int64(moment - now))) }
    }

    private func settings() throws -> ClientSettings { try ClientSettings.load(try options.config.path()) }

    private func endpoints(_ settings: ClientSettings) async throws -> [String] {
        guard options.target == .leader, !roams else { return settings.endpoints }
        let client = try EsperClient(settings, options: Self.patience)
        defer { client.close() }
        let view = try await client.status()
        guard !view.leaderEndpoint.isEmpty else { throw CommandFailure("no node leads at present") }
        return [view.leaderEndpoint]
    }
}
