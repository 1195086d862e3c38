import ArgumentParser
import EsperClient

struct KVList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Keys and values in key order.", aliases: ["range"])

    @Argument(help: "How the keys begin; nothing lists all.")
    var prefix = ""

    @Option(help: "Begin at this key instead of a prefix.")
    var from: String?

    @Option(help: "Stop before this key.")
    var to: String?

    @Option(help: "At most this many pairs.")
    var limit: UInt32 = 1000

    @Flag(help: "From the last key to the first.")
    var descending = false

    @Flag(help: "Keys alone.")
    var keysOnly = false

    @Flag(help: "Only how many there are.")
    var count = false

    @OptionGroup var read: ReadOptions
    @OptionGroup var cluster: ClusterOptions

    func validate() throws {
        if !prefix.isEmpty, from != nil || to != nil { throw ValidationError("give a prefix, or --from and --to") }
    }

    func run() async throws {
        let range: KeyRange =
            from == nil && to == nil
            ? .prefix(Bytes.of(prefix)) : .interval(from: Bytes.of(from ?? ""), to: to.map(Bytes.of))
        try await cluster.withClient { client in
            let answer = try await client.range(
                range, revision: read.revision, local: read.local, limit: limit, descending: descending,
                keysOnly: keysOnly, countOnly: count)
            cluster.output.print(
                .fields([
                    "revision": .unsigned(answer.revision), "count": .unsigned(answer.count),
                    "more": .bool(answer.more),
                    "kvs": .array(answer.pairs.map { .object($0.fields) }),
                ]),
                text: text(answer))
        }
    }

    private func text(_ answer: RangeAnswer) -> String {
        if count { return "\(answer.count)" }
        let lines = answer.pairs.map { pair in
            keysOnly ? Bytes.readable(pair.key) : "\(Bytes.readable(pair.key))\t\(Bytes.readable(pair.value))"
        }
        let rest = answer.count > UInt64(answer.pairs.count) ? ["… \(answer.count) in all; raise --limit"] : []
        return (lines + rest).joined(separator: "\n")
    }
}
