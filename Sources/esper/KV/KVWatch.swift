import ArgumentParser
import EsperClient

struct KVWatch: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "watch", abstract: "Print changes as they happen, in order, without gaps.",
        discussion: "Goes on through lost connections and changes of leader, where it left off.")

    @Argument(help: "How the watched keys begin; nothing watches all.")
    var prefix = ""

    @Flag(help: "Watch one key of exactly this name.")
    var exact = false

    @Flag(name: [.customLong("prefix")], help: "The default; says it aloud.")
    var isPrefix = false

    @Option(help: "Begin with this revision, which may lie in the past.")
    var fromRevision: UInt64?

    @Option(help: "End after this many changes.")
    var limit: Int?

    @OptionGroup var cluster: ClusterOptions

    func run() async throws {
        let range: KeyRange = exact ? .key(Bytes.of(prefix)) : .prefix(Bytes.of(prefix))
        var printed = 0
        try await cluster.withClient { client in
            for try await batch in client.watch(range, fromRevision: fromRevision) {
                for event in batch.events {
                    cluster.output.print(
                        .object(
                            [.init(name: "type", value: .string(event.isDelete ? "delete" : "put"))] + event.pair.fields
                        ),
                        text: event.isDelete
                            ? "\(event.pair.modRevision)\tdelete\t\(Bytes.readable(event.pair.key))"
                            : "\(event.pair.modRevision)\tput\t\(Bytes.readable(event.pair.key))\t"
                                + Bytes.readable(event.pair.value))
                    printed += 1
                    if printed == limit { return }
                }
            }
        }
    }
}
