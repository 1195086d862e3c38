import ArgumentParser
import EsperClient
import EsperTypes
import Glibc

struct CacheRebalance: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rebalance", abstract: "Move the cache's shards between nodes, or see how far that is.",
        subcommands: [
            RebalancePlan.self, RebalanceStart.self, RebalanceStatusCommand.self, RebalanceCancel.self,
            RebalanceThrottle.self,
        ])
}

struct RebalancePlan: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan", abstract: "Show what start would move, and move nothing.")

    @OptionGroup var cluster: ClusterOptions

    func run() async throws {
        try await cluster.withClient { client in
            let status = try await client.cache.rebalance(.plan)
            cluster.output.print(status.json, text: status.planText)
        }
    }
}

struct RebalanceStart: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "start",
        abstract: "Move what is out of balance now, and from now on after every change of the nodes.")

    @Flag(help: "Wait until nothing moves any more, and show how far it is.")
    var wait = false

    @OptionGroup var cluster: ClusterOptions

    func run() async throws {
        try await cluster.changing { client in
            var status = try await client.cache.rebalance(.start)
            if wait { status = try await RebalanceProgress.follow(client, isShown: !cluster.output.isJSON) }
            cluster.output.print(status.json, text: status.text)
        }
    }
}

struct RebalanceStatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "How far the moves are; once, or until none is left and none is to come.")

    @Flag(help: "Go on until nothing moves any more, nor is to move: so after a drain, before the member is removed.")
    var wait = false

    @OptionGroup var cluster: ClusterOptions

    func run() async throws {
        try await cluster.withClient { client in
            let status =
                wait
                ? try await RebalanceProgress.follow(client, isShown: !cluster.output.isJSON)
                : try await client.cache.rebalance(.status)
            cluster.output.print(status.json, text: status.text)
        }
    }
}

struct RebalanceCancel: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "cancel",
        abstract: "End the moves that can be ended; nothing moves for balance until the next start.")

    @OptionGroup var cluster: ClusterOptions

    func run() async throws {
        try await cluster.changing { client in
            let status = try await client.cache.rebalance(.cancel)
            cluster.output.print(status.json, text: "\(status.changed) moves ended\n\(status.text)")
        }
    }
}

struct RebalanceThrottle: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "throttle", abstract: "Change how fast shards move, at once and for all nodes.")

    @Option(
        help: "Bytes a second for each node that receives, such as 64MiB; a blob counts 32 KiB more than it has.",
        transform: WrittenSize.read)
    var rate: WrittenSize?

    @Option(help: "Shards that come to one node at a time.")
    var incoming: UInt8?

    @Option(help: "Shards that leave one node at a time.")
    var outgoing: UInt8?

    @OptionGroup var cluster: ClusterOptions

    func validate() throws {
        guard rate != nil || incoming != nil || outgoing != nil else {
            throw ValidationError("say what changes: --rate, --incoming or --outgoing")
        }
    }

    func run() async throws {
        try await cluster.changing { client in
            let status = try await client.cache.rebalance(
                .throttle(bytesPerSecond: rate?.bytes, maximumIncoming: incoming, maximumOutgoing: outgoing))
            cluster.output.print(status.json, text: status.throttleText)
        }
    }
}

/// Shows how far moves are until none is left, and none is to come: a bar that is drawn again on a terminal, a line for each change
/// elsewhere.
package enum RebalanceProgress {
    private static let interval = Duration.milliseconds(500)
    /// In a row without anything to move: a drain or a new node is known to all after less.
    private static let quietLooks = 3
    private static let width = 32

    static func follow(_ client: EsperClient, isShown: Bool) async throws -> RebalanceStatus {
        let isTerminal = isatty(STDERR_FILENO) == 1
        var (most, last, quiet) = (0, "", 0)
        while true {
            let status = try await client.cache.rebalance(.status)
            let waiting = status.moves.isEmpty ? try await client.cache.rebalance(.plan).automaticMoves : 0
            let rest = status.moves.count + waiting
            most = max(most, rest)
            quiet = rest == 0 ? quiet + 1 : 0
            let text = waiting > 0 ? "yet to be planned" : status.progressText
            let line = bar(done: most - rest, of: most) + " " + text
            if isShown, line != last {
                if isTerminal { Terminal.redraw(line) } else { Terminal.progress(line) }
                last = line
            }
            if quiet == quietLooks {
                if isShown, isTerminal { Terminal.progress("") }
                return status
            }
            try await Task.sleep(for: interval)
        }
    }

    package static func bar(done: Int, of all: Int) -> String {
        let filled = all == 0 ? width : width * done / all
        return "[" + String(repeating: "#", count: filled) + String(repeating: ".", count: width - filled)
            + "] \(done)/\(all) shards"
    }
}

extension RebalanceStatus {
    /// Of a plan: how many shards move without being told to.
    package var automaticMoves: Int { moves.count { !isManual || $0.reason != "balance" } }

    /// Nothing is promised that was not measured.
    var progressText: String {
        guard !moves.isEmpty else { return "nothing moves" }
        let left = WrittenSize.text(leftBytes)
        guard let bytesPerSecond, let remaining else { return "\(left) left, speed and end unknown" }
        let seconds = remaining.components.seconds
        let time = seconds < 120 ? "\(max(1, seconds)) s" : "\(seconds / 60) min"
        return "\(left) left at \(WrittenSize.text(bytesPerSecond))/s, about \(time)"
    }

    var throttleText: String {
        "at most \(WrittenSize.text(maximumBytesPerSecond))/s and \(maximumIncoming) shards to a node, "
            + "\(maximumOutgoing) from a node at a time"
    }

    var text: String {
        var lines = [epoch == 0 ? "there is no map of shards yet" : "\(moves.count) moves; \(progressText)"]
        for (step, moves) in Dictionary(grouping: moves, by: \.step).sorted(by: { $0.key < $1.key }) {
            let reasons = Dictionary(grouping: moves, by: \.reason).sorted { $0.key < $1.key }
            lines.append(
                "\(step): \(moves.count) (\(reasons.map { "\($0.key) \($0.value.count)" }.joined(separator: ", ")))")
        }
        lines.append(throttleText)
        if isManual { lines.append("stopped: nothing moves for balance until 'esper cache rebalance start'") }
        if !unreachable.isEmpty { lines.append("not heard: \(unreachable.joined(separator: ", "))") }
        return lines.joined(separator: "\n")
    }

    var planText: String {
        guard !moves.isEmpty else { return "everything is where it should be" }
        var table = Table("shard", "reason", "from", "to", "bytes")
        for move in moves {
            table.add(
                "\(move.shard)", move.reason, move.from.joined(separator: " "), move.to.joined(separator: " "),
                "\(move.estimatedBytes)")
        }
        return table.text + "\n\(moves.count) shards, \(WrittenSize.text(leftBytes)) to copy"
    }

    var json: JSON {
        .fields([
            "epoch": .unsigned(epoch),
            "moves": .array(
                moves.map { move in
                    .fields([
                        "shard": .unsigned(UInt64(move.shard)), "step": .string(move.step),
                        "reason": .string(move.reason), "from": .array(move.from.map(JSON.string)),
                        "to": .array(move.to.map(JSON.string)), "estimated_bytes": .unsigned(move.estimatedBytes),
                    ])
                }), "left_bytes": .unsigned(leftBytes), "copied_bytes": .unsigned(copiedBytes),
            "bytes_per_second": .optional(bytesPerSecond) { .unsigned($0) },
            "remaining_seconds": .optional(remaining) { .integer($0.components.seconds) },
            "manual": .bool(isManual), "maximum_bytes_per_second": .unsigned(maximumBytesPerSecond),
            "maximum_incoming": .unsigned(UInt64(maximumIncoming)),
            "maximum_outgoing": .unsigned(UInt64(maximumOutgoing)),
            "unreachable": .array(unreachable.map(JSON.string)), "changed": .unsigned(UInt64(changed)),
        ])
    }
}
