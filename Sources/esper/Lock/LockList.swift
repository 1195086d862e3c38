import ArgumentParser
import EsperClient
import EsperTypes

struct LockList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Locks that are held, their holders and queues.")

    @Argument(help: "How the names begin; nothing lists all.")
    var prefix = ""

    @OptionGroup var cluster: ClusterOptions

    func run() async throws {
        try await cluster.withClient { client in
            let locks = try await client.locks(prefix: prefix)
            var table = Table("name", "holder", "token", "waiting")
            for lock in locks {
                table.add(lock.name, "\(lock.holder)", "\(lock.token)", "\(lock.waiting.count)")
            }
            cluster.output.print(
                .fields([
                    "locks": .array(
                        locks.map { lock in
                            .fields([
                                "name": .string(lock.name), "holder_session_id": .string(lock.holder.description),
                                "fencing_token": .unsigned(lock.token.rawValue),
                                "waiting_session_ids": .array(lock.waiting.map { .string($0.description) }),
                            ])
                        })
                ]),
                text: locks.isEmpty ? "no locks are held" : table.text)
        }
    }
}
