import ArgumentParser
import EsperClient
import EsperTypes
import EtcdProtocol
import FoundationEssentials
import GRPCTransport
import NIOCore
import NIOPosix
import SwiftProtobuf

/// Closed loops over etcd's API.
struct BenchEtcd: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "etcd", abstract: "Measure etcd's API, of Esper or of etcd itself: the same load for both.",
        discussion: """
            --config names what is measured: a client.yaml with the endpoints, the authority and a client's certificate \
            of either. Clients are spread over all endpoints.
            """,
        subcommands: [
            EtcdPut.self, EtcdRange.self, EtcdTxn.self, EtcdKeepAlive.self, EtcdLock.self, EtcdWatch.self,
            EtcdFill.self,
        ])
}

extension LoadOptions {
    /// Measures a step over connections of etcd's API.
    ///
    /// - Parameter prepares: writes every key first, so that reads find something.
    fileprivate func measureEtcd(
        _ kind: String, _ step: any LoadStep<EtcdConnection>, prepares: Bool = false
    ) async throws {
        guard history == nil else { throw CommandFailure(.usage, "histories are recorded with 'esper bench mixed'") }
        try await measuring {
            let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
            let settings = try ClientSettings.load(try config.path())
            let connections = try await EtcdConnection.connect(settings, count: connectionCount, on: group)
            if prepares { try await EtcdFiller(connections: connections.map(\.client)).fill(names().keys) }
            let report = await LoadRun(kind: "etcd-\(kind)", options: self, roams: false)
                .measure(step, over: connections) { $0.keepAlives?.cancel() }
            try await group.shutdownGracefully()
            try finish(report, nil)
        }
    }
}

struct EtcdPut: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "put", abstract: "KV/Put.")
    @OptionGroup var load: LoadOptions

    func run() async throws { try await load.measureEtcd("put", EtcdPutStep(keys: load.names().keys)) }
}

struct EtcdRange: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "range", abstract: "KV/Range of one key.")
    @OptionGroup var load: LoadOptions
    @Flag(help: "Answered by the asked node alone.")
    var serializable = false

    func run() async throws {
        try await load.measureEtcd(
            serializable ? "range-serializable" : "range",
            EtcdRangeStep(keys: load.names().keys, isSerializable: serializable), prepares: true)
    }
}

struct EtcdTxn: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "txn", abstract: "KV/Txn: compare-and-swap, each client its own key.")
    @OptionGroup var load: LoadOptions

    func run() async throws { try await load.measureEtcd("txn", EtcdSwapStep(keys: load.names().keys)) }
}

struct EtcdKeepAlive: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keepalive", abstract: "Lease/LeaseKeepAlive, each client its own lease and stream.")
    @OptionGroup var load: LoadOptions

    func run() async throws { try await load.measureEtcd("keepalive", EtcdKeepAliveStep()) }
}

struct EtcdLock: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "lock", abstract: "Lock/Lock and Lock/Unlock.")
    @OptionGroup var load: LoadOptions
    @Option(help: "Different locks (default: one each; 1: all clients contend).")
    var locks: Int?

    func validate() throws {
        guard locks.map({ $0 > 0 }) ?? true else { throw ValidationError("--locks takes a number above zero") }
    }

    func run() async throws {
        try await load.measureEtcd(
            "lock", EtcdLockStep(prefix: load.names().prefix, locks: locks ?? load.clients))
    }
}

struct EtcdFill: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fill", abstract: "Write each of --keys once, to see what so many keys cost.")
    @OptionGroup var load: LoadOptions

    func run() async throws {
        try await load.measuring {
            let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
            let settings = try ClientSettings.load(try load.config.path())
            let connections = try await EtcdConnection.connect(settings, count: load.connectionCount, on: group)
            let start = MonotonicClock.nanoseconds()
            try await EtcdFiller(connections: connections.map(\.client)).fill(load.names().keys)
            let seconds = Double(MonotonicClock.nanoseconds() - start) / 1e9
            for (client, _) in connections { client.close() }
            try await group.shutdownGracefully()
            load.output.print(
                .fields(["keys": .int(load.keys), "seconds": .rounded(seconds)]),
                text: "\(load.keys) keys in \(Int(seconds.rounded())) s")
        }
    }
}

/// Writes keys in transactions.
struct EtcdFiller {
    /// As many operations as etcd takes in one.
    private static let batch = 100
    private static let inFlight = 32

    let connections: [EtcdConnection]

    func fill(_ keys: LoadKeys) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for worker in 0..<Self.inFlight {
                let connection = connections[worker % connections.count]
                group.addTask {
                    for first in stride(from: worker * Self.batch, to: keys.count, by: Self.inFlight * Self.batch) {
                        let request = EtcdTxnRequest.with { request in
                            request.success = (first..<min(first + Self.batch, keys.count)).map { number in
                                .with {
                                    $0.requestPut.key = Data(keys.name(number).utf8)
                                    $0.requestPut.value = Data(keys.value(Int64(number)))
                                }
                            }
                        }
                        _ = try await connection.call(.txn, request, EtcdTxnResponse.self)
                    }
                }
            }
            try await group.waitForAll()
        }
    }
}
