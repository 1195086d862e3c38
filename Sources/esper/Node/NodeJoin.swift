import ArgumentParser
import Coordination
import Enrollment
import EsperTypes
import Foundation

struct NodeJoin: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "join", abstract: "Make this host a node of a cluster, by a token that the cluster gave.",
        discussion: """
            Makes a key, which stays here, has the cluster certify it, writes the settings, and becomes a learner: a node \
            that is sent the log and has no vote. 'esper cluster token create' makes a token. Doing it again goes on where \
            it ended, and needs no token once the settings are there.

            Example: esper node join --token-file token --name n4 --dir /var/lib/esper \
            --peer-address 10.0.0.4:7400 --api-address 10.0.0.4:7401 --start --voter
            """)

    @OptionGroup var token: TokenOptions

    @Option(help: "The node's name, which its certificate will carry.")
    var name: String

    @Option(name: [.customLong("dir")], help: "The node's directory: key, certificate, settings, data.")
    var directory: String

    @Option(help: "HOST:PORT where its peers reach it.", transform: WrittenAddress.read)
    var peerAddress: WrittenAddress

    @Option(help: "HOST:PORT where clients reach it.", transform: WrittenAddress.read)
    var apiAddress: WrittenAddress

    @Option(help: "Its failure domain.")
    var zone = ""

    @Option(help: "A file of YAML lines that its settings get too, such as raft.heartbeat or catalog.url.")
    var settings: String?

    @Flag(help: "Start the node in the background, with its log in the directory.")
    var start = false

    @Flag(help: "Wait until it has caught up, and give it a vote.")
    var voter = false

    @Option(
        help: "How long to wait for what passes by itself: a missing leader, another change, catching up.",
        transform: WrittenDuration.read)
    var wait = WrittenDuration(.seconds(60))

    @OptionGroup var output: OutputOptions

    func run() async throws {
        let member = NewMember(name: name, peer: peerAddress.address, api: apiAddress.address, zone: zone)
        do {
            try member.validate()
        } catch {
            throw CommandFailure(.usage, error.message)
        }
        let path = (Files.absolute(directory) as NSString).standardizingPath
        var host = JoiningHost(directory: path, member: member)
        if let settings { host.moreSettings = try Files.read(settings) }
        let known = try host.enrollment()
        let enrollment: JoiningHost.EnrolledNode
        if let known {
            try check(try token.read(), against: known)
            Terminal.progress("\(name) is enrolled already, with the id \(known.node); going on from there")
            enrollment = known
        } else {
            guard let shown = try token.read() else {
                throw CommandFailure(.usage, "\(path) has no node yet: give --token or --token-file")
            }
            enrollment = try await host.enroll(by: shown, within: wait.duration)
        }
        let isVoter = try await host.addLearner(enrollment, within: wait.duration)
        if start { try host.start() }
        let command = host.startCommand(program: "esper-node").joined(separator: " ")
        if voter, !isVoter {
            if !host.isRunning { Terminal.progress("waiting until the node runs and has caught up: \(command)") }
            try await host.promote(enrollment, within: wait.duration) {
                guard !start || host.isRunning else {
                    throw CommandFailure("\(name) ended: \(host.lastWords) (\(host.logPath))")
                }
            }
        }
        let role = voter || isVoter ? "voter" : "learner"
        output.print(
            .fields([
                "name": .string(name), "id": .string(enrollment.node.description),
                "cluster_id": .string(enrollment.cluster.description), "role": .string(role),
                "already_enrolled": .bool(known != nil), "settings": .string(host.settingsPath),
                "running": .bool(host.isRunning), "start_command": .string(command),
            ]),
            text: "\(name) is a \(role) of the cluster \(enrollment.cluster), with the id \(enrollment.node)"
                + (host.isRunning || voter ? "" : "\nstart it: \(command)")
                + (voter || isVoter ? "" : "\nonce it has caught up: esper cluster promote \(name)"))
    }

    private func check(_ token: JoinToken?, against known: JoiningHost.EnrolledNode) throws {
        guard let token, token.cluster != known.cluster else { return }
        throw CommandFailure(
            "\(name) belongs to the cluster \(known.cluster), and the token is of \(token.cluster); choose another --dir"
        )
    }
}
