import ArgumentParser
import EsperClient
import EsperTypes

struct LockAcquire: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "acquire", abstract: "Acquire a lock, and run a command under it.",
        discussion: """
            With a command after --, the lock is kept while it runs and released when it ends; its exit code becomes \
            ours. ESPER_FENCING_TOKEN, ESPER_SESSION_ID and ESPER_LOCK_NAME are in its environment. When the lock is lost, \
            the command gets SIGTERM and five seconds later SIGKILL, and the exit code is 1. With --output json what \
            the command prints goes to standard error. Without a command the lock is \
            held until its session's time to live is over, or 'esper lock release'.
            """)

    @Argument(help: "The lock's name.")
    var name: String

    @OptionGroup var session: SessionOptions

    @Option(
        help: "How long to wait for the lock; exit code 4 when it is over. 0 tries once.",
        transform: WrittenDuration.read)
    var wait = WrittenDuration(.seconds(30))

    @OptionGroup var cluster: ClusterOptions

    @Argument(parsing: .postTerminator, help: "The command to run under the lock.")
    var command: [String] = []

    func run() async throws {
        try await cluster.changing { client in
            let held = try await HeldSession.open(client, session)
            let grant: LockGrant
            do {
                grant = try await held.whileWaiting {
                    try await client.acquire(name, session: held.id, wait: wait.duration)
                }
            } catch {
                await held.close()
                throw error
            }
            guard let token = grant.token else {
                let holder = grant.holder.rawValue == 0 ? "others" : "session \(grant.holder)"
                await held.close()
                throw CommandFailure(
                    .timedOut,
                    wait.duration == .zero
                        ? "\(name) is held by \(holder); --wait says how long to wait for it"
                        : "\(name) was held by others for \(wait), at last by \(holder); try a longer --wait",
                    reason: "not_granted", outcome: "not_committed")
            }
            let fields =
                grant.commit.fields + [
                    .init(name: "name", value: .string(name)),
                    .init(name: "fencing_token", value: .unsigned(token.rawValue)),
                    .init(name: "session_id", value: .string(held.id.description)),
                    .init(name: "ttl_ms", value: .unsigned(session.ttl.milliseconds)),
                ]
            if command.isEmpty {
                cluster.output.print(
                    .object(fields),
                    text: """
                        acquired \(name)  fencing token \(token)  session \(held.id)
                        held for \(session.ttl); release it with: esper lock release \(name) --session \(held.id)
                        """)
                held.abandon()
            } else {
                let environment = [
                    "ESPER_FENCING_TOKEN": "\(token)", "ESPER_SESSION_ID": "\(held.id)", "ESPER_LOCK_NAME": name,
                ]
                try await held.run(
                    command, environment: environment, holding: "the lock \(name)",
                    .lock(name, session: held.id, token), quietly: cluster.output.isJSON
                ) { code in
                    guard cluster.output.isJSON else { return }
                    Terminal.line(JSON.object(fields + [.init(name: "exit_code", value: .integer(Int64(code)))]).text)
                }
            }
        }
    }
}
