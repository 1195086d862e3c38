import ArgumentParser
import Foundation

/// What every closed-loop measurement takes.
struct LoadOptions: ParsableArguments {
    enum Target: String, CaseIterable, ExpressibleByArgument {
        case leader, all
    }

    @Option(name: [.short, .long], help: "Clients, each with one operation in flight.")
    var clients = 16

    @Option(help: "Connections that the clients share, spread over the endpoints (default: one each, at most 16).")
    var connections: Int?

    @Option(name: [.short, .long], help: "Measured time.", transform: WrittenDuration.read)
    var duration = WrittenDuration(.seconds(6))

    @Option(
        name: [.customLong("warm-up")], help: "Time before that, which is not counted.", transform: WrittenDuration.read
    )
    var warmUp = WrittenDuration(.seconds(1))

    @Option(help: "Operations a second, of all clients together; without it, as many as there can be.")
    var rate: Int?

    @Option(help: "Bytes of a value.")
    var valueBytes = 256

    @Option(help: "Different keys.")
    var keys = 10_000

    @Option(help: "How keys and locks begin.")
    var prefix = "bench/"

    @Option(help: "leader: clients follow the leader, as the library does; all: each stays with its endpoint.")
    var target = Target.leader

    @Option(help: "Record every operation in this file, for 'esper bench check'.")
    var history: String?

    @Option(help: "The directory of a cluster on this host, whose nodes' processor time is accounted.")
    var dir: String?

    @Option(help: "Free text that is copied to the result.")
    var label: String?

    @OptionGroup var config: ConfigOption
    @OptionGroup var output: OutputOptions

    func validate() throws {
        guard (1...4096).contains(clients) else { throw ValidationError("--clients takes 1 to 4096") }
        guard connections.map({ (1...1024).contains($0) }) ?? true else {
            throw ValidationError("--connections takes 1 to 1024")
        }
        guard rate.map({ (1...1_000_000).contains($0) }) ?? true else {
            throw ValidationError("--rate takes 1 to 1000000")
        }
        guard (0...56 << 10).contains(valueBytes) else { throw ValidationError("--value-bytes takes 0 to 57344") }
        guard keys > 0 else { throw ValidationError("--keys takes a number above zero") }
        guard duration.duration > .zero else { throw ValidationError("--duration must be longer than nothing") }
    }

    /// Nanoseconds between the operations of one client; nil when the next begins as soon as one has ended.
    var interval: UInt64? { rate.map { UInt64(clients) * 1_000_000_000 / UInt64($0) } }

    var connectionCount: Int { min(connections ?? 16, clients) }

    /// The directory of the cluster on this host that is measured; nil when it runs elsewhere.
    func developmentCluster() -> DevelopmentCluster? {
        let place = dir.map(Files.absolute) ?? (try? config.path()).map { ($0 as NSString).deletingLastPathComponent }
        return place.flatMap { try? DevelopmentCluster(loading: ($0 as NSString).standardizingPath) }
    }
}
