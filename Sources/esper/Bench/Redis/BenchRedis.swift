import ArgumentParser
import EsperTypes
import Foundation

/// The door for clients of Redis beside Redis itself.
struct BenchRedis: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "redis",
        abstract: "Hits at a node's Redis door beside those of a redis-server, by redis-benchmark.",
        discussion: """
            Starts a redis-server and a cluster of one node of its own, or uses the door given, and loads both in turn, round \
            after round; medians are compared. Servers and load share this machine: the ratios count, not the numbers.
            """)

    @Option(
        help: "A door in plain text to measure, host:port; without it a node is started.",
        transform: WrittenAddress.read)
    var door: WrittenAddress?

    @Option(help: "The door's user.")
    var user: String?

    @Option(help: "The user's password; better given as REDISCLI_AUTH.")
    var password: String?

    @Option(help: "Connections.")
    var clients = 50

    @Option(help: "Keys, all of them bound before.")
    var keys = 100

    @Option(help: "How often each load is run against each.")
    var rounds = 3

    @Option(help: "Requests of each run; those of 64 KiB are a tenth.")
    var requests = 200_000

    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard clients > 0, keys > 0, rounds > 0, requests >= 1000 else {
            throw ValidationError("--clients, --keys and --rounds are above zero, --requests at least 1000")
        }
    }

    func run() async throws {
        let directory = NSTemporaryDirectory() + "/esper-bench-redis-\(UInt64.random(in: 0 ... .max))"
        try Files.createDirectory(directory, mode: 0o755)
        let servers = RedisBenchServers(directory: directory)
        do {
            let reference = try await servers.startRedis()
            let measured =
                if let door {
                    RedisTarget(address: door.address, user: user, password: password)
                } else {
                    try await servers.startNode()
                }
            let rows = try await measure(reference, measured)
            await servers.stop()
            report(rows)
        } catch {
            await servers.stop()
            throw error
        }
    }

    private struct Row {
        var load: RedisLoad
        var redis: Double
        var esper: Double

        var ratio: Double { esper / redis }
    }

    private func measure(_ redis: RedisTarget, _ esper: RedisTarget) async throws -> [Row] {
        var rows: [Row] = []
        for load in RedisLoad.all {
            for target in [redis, esper] { try await load.prepare(target, keys: keys, clients: clients) }
            var rates: (redis: [Double], esper: [Double]) = ([], [])
            for round in 1...rounds {
                Terminal.progress("\(load.name): round \(round) of \(rounds)")
                rates.redis.append(try await load.run(redis, keys: keys, clients: clients, requests: requests))
                rates.esper.append(try await load.run(esper, keys: keys, clients: clients, requests: requests))
            }
            rows.append(Row(load: load, redis: Self.median(rates.redis), esper: Self.median(rates.esper)))
        }
        return rows
    }

    private static func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }

    private func report(_ rows: [Row]) {
        var table = Table("load", "redis/s", "esper/s", "ratio", "goal")
        for row in rows {
            table.add(
                row.load.name, "\(Int(row.redis.rounded()))", "\(Int(row.esper.rounded()))",
                CacheModelReport.percent(row.ratio / 100), CacheModelReport.percent(row.load.goal / 100))
        }
        output.print(
            .fields([
                "kind": "redis", "clients": .int(clients), "keys": .int(keys), "rounds": .int(rounds),
                "rows": .array(
                    rows.map { row in
                        .fields([
                            "load": .string(row.load.name), "redis_per_second": .rounded(row.redis),
                            "esper_per_second": .rounded(row.esper), "ratio": .rounded(row.ratio),
                            "goal": .rounded(row.load.goal),
                        ])
                    }),
            ]), text: table.text)
    }
}
