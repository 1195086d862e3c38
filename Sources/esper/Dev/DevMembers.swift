import ArgumentParser
import Coordination
import EsperClient
import EsperTypes
import Glibc

struct DevAdd: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "add", abstract: "Start one more node, take it in, and give it a vote when it has caught up.")

    @OptionGroup var development: DevelopmentOptions
    @OptionGroup var output: OutputOptions

    @Option(help: "How long to wait until the node has its vote.", transform: WrittenDuration.read)
    var wait = WrittenDuration(.seconds(60))

    func run() async throws {
        var cluster = try development.cluster()
        guard cluster.nodes.count < DevelopmentCluster.maximumNodes else {
            throw CommandFailure("a cluster on one host has at most \(DevelopmentCluster.maximumNodes) nodes")
        }
        var node = try cluster.nextNode()
        try PortCheck([
            (node.peerPort, "\(node.name)'s peers"), (node.apiPort, "\(node.name)'s clients"),
            (node.enrollPort, "hosts that join at \(node.name)"),
            (node.redisDoorPort, "\(node.name)'s clients of Redis"),
        ]).run(isNew: false, directory: cluster.directory)
        let catalog = cluster.usesCatalog ? try DevelopmentPostgreSQL(cluster: cluster).connectionString() : nil
        let host = JoiningHost(
            directory: cluster.directory(of: node),
            member: NewMember(
                name: node.name, peer: HostPort(host: "127.0.0.1", port: node.peerPort),
                api: HostPort(host: "127.0.0.1", port: node.apiPort)),
            moreSettings: cluster.commonSettings(
                of: node, catalogURL: catalog, redisURL: try DevelopmentRedis(cluster: cluster)?.url()))
        let enrollment = try await enroll(host, in: cluster)
        node.id = enrollment.node
        cluster.nodes.append(node)
        // First of all the description: whatever fails from here on, 'dev up' goes on with this node.
        try cluster.save()
        try cluster.writeClientSettings()
        try await host.addLearner(enrollment, within: wait.duration)
        try cluster.start(node)
        defer { cluster.recordInitialization(of: node) }
        do {
            try await host.promote(enrollment, within: wait.duration) { [node] in
                guard cluster.state(of: node) != .down else {
                    throw CommandFailure("\(node.name) ended: \(host.lastWords) (\(host.logPath))")
                }
            }
        } catch let failure as CommandFailure where failure.reason != "failed" {
            throw CommandFailure(
                .timedOut, "\(node.name) has no vote yet: \(failure.message); 'esper cluster promote' gives it one")
        }
        let status = try await cluster.waitUntilReady(for: wait)
        output.print(status.json, text: status.text)
    }

    /// As any host joins: by a token, used at once.
    private func enroll(_ host: JoiningHost, in cluster: DevelopmentCluster) async throws -> JoiningHost.EnrolledNode {
        if let known = try host.enrollment() { return known }
        let settings = try ClientSettings.load(cluster.clientPath)
        let token = try await Connecting.withClient(cluster.clientPath, timeout: wait.duration) { client in
            try await TokenMaking(ttl: .seconds(300), node: host.member.name)
                .make(client, try await EnrollmentOffers.ask(client, settings))
        }
        return try await host.enroll(by: token, within: wait.duration)
    }
}

struct DevRemove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "remove", abstract: "Take a node out of the cluster and stop it; its files are kept aside.")

    @Argument(help: "A node's name, or 'leader'.")
    var target: String

    @OptionGroup var development: DevelopmentOptions
    @OptionGroup var output: OutputOptions

    func run() async throws {
        var cluster = try development.cluster()
        let node = try await cluster.node(of: target)
        let change = try await Connecting.withClient(cluster.clientPath, timeout: .seconds(30)) { client in
            try await client.removeMembers([node.name])
        }
        if let record = cluster.process(of: node) {
            _ = try await DevelopmentCluster.stop([(node.name, record)], with: SIGTERM, within: 10)
        }
        cluster.nodes.removeAll { $0 == node }
        try cluster.save()
        try cluster.writeClientSettings()
        // Its identity is spent: should the name come back, it begins with an empty directory.
        try Files.move(cluster.directory(of: node), to: "\(cluster.directory(of: node))-\(node.id)")
        output.print(change.json, text: "\(node.name) is removed")
    }
}

extension DevelopmentCluster {
    /// The node after the last: its number gives name and ports. The cluster gives the ID.
    fileprivate func nextNode() throws -> Node {
        let highest = nodes.compactMap { Int($0.name.dropFirst()) }.max() ?? 0
        let peerPort = basePort + 10 * highest
        guard peerPort < Self.highestPort else {
            throw CommandFailure("there are no ports left above those of the last node")
        }
        return Node(name: "n\(highest + 1)", id: NodeID(0), peerPort: peerPort, apiPort: peerPort + 1)
    }
}
