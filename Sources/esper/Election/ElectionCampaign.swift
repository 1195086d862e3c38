import ArgumentParser
import EsperClient
import EsperTypes

struct ElectionCampaign: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "campaign", abstract: "Become a candidate, wait to lead, and run a command while leading.",
        discussion: """
            With a command after --, leadership is kept while it runs and given up when it ends; ESPER_FENCING_TOKEN, \
            ESPER_SESSION_ID and ESPER_ELECTION_NAME are in its environment, and it is ended when leadership is lost. \
            Without one, leadership lasts for the time to live, until 'esper election resign', or with --hold until \
            interrupted.
            """)

    @Argument(help: "The election's name.")
    var name: String

    @Option(help: "What observers are told about the leader.")
    var value = ""

    @OptionGroup var session: SessionOptions

    @Option(help: "How long to wait to lead; exit code 4 when it is over.", transform: WrittenDuration.read)
    var wait = WrittenDuration(.seconds(30))

    @Flag(help: "Keep leading until interrupted.")
    var hold = false

    @OptionGroup var cluster: ClusterOptions

    @Argument(parsing: .postTerminator, help: "The command to run while leading.")
    var command: [String] = []

    func run() async throws {
        try await cluster.changing { client in
            let held = try await HeldSession.open(client, session)
            let answer: CampaignAnswer
            do {
                answer = try await held.whileWaiting {
                    try await client.campaign(name, value: Bytes.of(value), session: held.id, wait: wait.duration)
                }
            } catch {
                await held.close()
                throw error
            }
            guard answer.elected else {
                await held.close()
                let leader = answer.leadership.map { Bytes.readable($0.value) } ?? "somebody else"
                throw CommandFailure(
                    .timedOut,
                    wait.duration == .zero
                        ? "\(leader) leads \(name); --wait says how long to wait"
                        : "others led \(name) for \(wait), at last \(leader); try a longer --wait",
                    reason: "not_granted", outcome: "not_committed")
            }
            let claim = answer.leadership.map { HeldClaim.election(name, session: held.id, $0.token) }
            if command.isEmpty {
                announce(answer, held, code: nil)
                if hold {
                    try await held.holdUntilInterrupted(holding: "the leadership of \(name)", claim)
                } else {
                    held.abandon()
                }
            } else {
                let token = answer.leadership.map { "\($0.token)" } ?? ""
                let environment = [
                    "ESPER_FENCING_TOKEN": token, "ESPER_SESSION_ID": "\(held.id)", "ESPER_ELECTION_NAME": name,
                ]
                try await held.run(
                    command, environment: environment, holding: "the leadership of \(name)", claim,
                    quietly: cluster.output.isJSON
                ) { code in
                    if cluster.output.isJSON { announce(answer, held, code: code) }
                }
            }
        }
    }

    private func announce(_ answer: CampaignAnswer, _ held: HeldSession, code: Int32?) {
        var fields = answer.commit.fields + (answer.leadership?.fields ?? [])
        fields.append(.init(name: "ttl_ms", value: .unsigned(session.ttl.milliseconds)))
        if let code { fields.append(.init(name: "exit_code", value: .integer(Int64(code)))) }
        cluster.output.print(
            .object(fields),
            text: "leading \(name)  fencing token \(answer.leadership.map { "\($0.token)" } ?? "-")  session \(held.id)"
                + (hold
                    ? "" : "\nfor \(session.ttl); resign with: esper election resign \(name) --session \(held.id)"))
    }
}
