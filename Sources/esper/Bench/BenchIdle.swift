import ArgumentParser
import EsperTypes

/// What a cluster costs that nobody asks for anything.
struct BenchIdle: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "idle",
        abstract: "Memory and processor time of a cluster on this host while nothing is asked of it.",
        discussion: """
            Nothing is sent to the nodes during the time. Resident memory is that of each node at the end; processor time is \
            that of all nodes, as a share of one core.
            """)

    @OptionGroup var development: DevelopmentOptions
    @OptionGroup var output: OutputOptions

    @Option(help: "How long to watch.", transform: WrittenDuration.read)
    var duration = WrittenDuration(.seconds(20))

    func validate() throws {
        guard duration.duration >= .seconds(1) else { throw ValidationError("--duration takes one second or more") }
    }

    func run() async throws {
        let cluster = try development.cluster()
        let nodes = try cluster.nodes.map { node in
            guard let process = cluster.process(of: node), process.isRunning else {
                throw CommandFailure("\(node.name) does not run; see 'esper dev status'")
            }
            return process
        }
        let start = MonotonicClock.nanoseconds()
        let before = try nodes.map { try Self.reading($0.cpuSeconds) }
        try await Task.sleep(for: duration.duration)
        let seconds = Double(MonotonicClock.nanoseconds() - start) / 1e9
        let used = try zip(nodes, before).map { try Self.reading($0.cpuSeconds) - $1 }
        let resident = try nodes.map { try Self.reading($0.residentBytes) }
        let share = used.reduce(0, +) / seconds
        let largest = resident.max() ?? 0
        output.print(
            .fields([
                "kind": "idle", "nodes": .int(nodes.count), "seconds": .rounded(seconds), "cores": .rounded(share),
                "resident_bytes": .array(resident.map { .int(Int($0)) }),
            ]),
            text: "idle: \(nodes.count) nodes use \((share * 1000).rounded() / 10) % of one core over "
                + "\(Int(seconds.rounded())) s; the largest has \(largest >> 20) MiB resident")
    }

    private static func reading<Value>(_ value: Value?) throws -> Value {
        guard let value else { throw CommandFailure("a node stopped while it was watched") }
        return value
    }
}
