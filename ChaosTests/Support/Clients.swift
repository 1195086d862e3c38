import ClusterSupport
import EsperClient
import Foundation

extension LocalCluster {
    /// A client that goes on with another node when one fails, until `timeout` has passed.
    func client(of names: [String]? = nil, timeout: Duration = .seconds(15)) throws -> EsperClient {
        var settings = try ClientSettings.load(clientFile)
        if let names { settings.endpoints = names.map { "127.0.0.1:\(member($0).apiPort)" } }
        var options = ClientOptions()
        options.timeout = timeout
        options.maximumAttempts = 10_000
        options.label = "chaos"
        return try EsperClient(settings, options: options)
    }
}

extension Array where Element == UInt8 {
    init(_ text: String) { self = Array(text.utf8) }
    var text: String { String(decoding: self, as: UTF8.self) }
}

/// How long the suites that take time take, by environment; docs/TESTING.md has the table.
enum ChaosDuration {
    /// Of faults under load.
    static let load = seconds("ESPER_CHAOS_SECONDS", default: 20)
    /// Of each catalog outage.
    static let outage = seconds("ESPER_CHAOS_OUTAGE_SECONDS", default: 10)

    /// Of the moments at which something happens, where they are drawn from one.
    static let seed =
        ProcessInfo.processInfo.environment["ESPER_CHAOS_SEED"].flatMap { UInt64($0) } ?? .random(in: 0..<1_000_000)

    private static func seconds(_ variable: String, default fallback: Int) -> Int {
        ProcessInfo.processInfo.environment[variable].flatMap { Int($0) }.map { Swift.max($0, 5) } ?? fallback
    }
}
