import ArgumentParser
import EsperClient

struct LockRelease: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "release", abstract: "Give a lock back, or leave its queue.")

    @Argument(help: "The lock's name.")
    var name: String

    @Option(help: "The session that holds it or waits for it.", transform: SessionArgument.read)
    var session: SessionArgument

    @OptionGroup var cluster: ClusterOptions

    func run() async throws {
        try await cluster.changing { client in
            let (commit, released) = try await client.releaseAnswer(name, session: session.id)
            cluster.output.print(
                .object(
                    commit.fields + [
                        .init(name: "name", value: .string(name)), .init(name: "released", value: .bool(released)),
                    ]),
                text: released ? "released \(name)" : "left the queue of \(name)")
        }
    }
}
