import EsperTypes
import Foundation

/// Somebody who speaks Redis's protocol.
struct RedisTarget: Sendable {
    var address: HostPort
    var user: String?
    var password: String?

    /// Of redis-benchmark and redis-cli; the password goes by the environment, which others cannot read.
    var arguments: [String] {
        ["-h", address.host, "-p", "\(address.port)"] + (user.map { ["--user", $0] } ?? [])
    }

    var environment: [String: String] { password.map { ["REDISCLI_AUTH": $0] } ?? [:] }
}

/// A load of redis-benchmark: gets of values that are there.
struct RedisLoad: Sendable {
    var name: String
    var valueBytes: Int
    var pipeline: Int
    /// Of the requests of a run, one in so many is sent.
    var thinning: Int
    /// What Esper reaches of Redis's rate.
    var goal: Double

    static let all = [
        RedisLoad(name: "GET 256 B", valueBytes: 256, pipeline: 1, thinning: 1, goal: 1),
        RedisLoad(name: "GET 256 B, -P 16", valueBytes: 256, pipeline: 16, thinning: 1, goal: 0.8),
        RedisLoad(name: "GET 64 KiB", valueBytes: 64 << 10, pipeline: 1, thinning: 10, goal: 0.9),
    ]

    private static let program = "redis-benchmark"

    /// Binds the keys: drawn so often that e⁻¹² of them are left out, about one in 160,000.
    func prepare(_ target: RedisTarget, keys: Int, clients: Int) async throws {
        try await Spawn.run(
            common(target, keys: keys, clients: clients) + ["-t", "set", "-n", "\(12 * keys)"],
            environment: target.environment)
    }

    /// - Returns: requests a second.
    func run(_ target: RedisTarget, keys: Int, clients: Int, requests: Int) async throws -> Double {
        let said = try await Spawn.run(
            common(target, keys: keys, clients: clients)
                + ["-t", "get", "-n", "\(requests / thinning)", "-P", "\(pipeline)"], environment: target.environment)
        // "GET","123456.78",…
        for line in said.split(whereSeparator: \.isNewline) where line.hasPrefix("\"GET\"") {
            let fields = line.split(separator: ",").map { $0.filter { $0 != "\"" } }
            if fields.count > 1, let rate = Double(fields[1]), rate > 0 { return rate }
        }
        throw CommandFailure("\(Self.program) told no rate for \(name) at \(target.address): \(said.prefix(200))")
    }

    private func common(_ target: RedisTarget, keys: Int, clients: Int) -> [String] {
        [Self.program] + target.arguments
            + ["-c", "\(clients)", "-d", "\(valueBytes)", "-r", "\(keys)", "--csv"]
    }
}
