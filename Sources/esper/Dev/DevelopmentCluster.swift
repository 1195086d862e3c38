import EsperTypes
import Yams

/// What a cluster on this host consists of; `cluster.yaml` in its directory.
///
///     DIR/cluster.yaml    this description
///     DIR/client.yaml     how to reach it, for `esper` and the client library
///     DIR/pki/            the authority and every certificate
///     DIR/NODE/           node.yaml, node.log, node.pid, data/, initialized (once data/ was made)
///     DIR/postgres/       data/, password, postgres.log, postgres.pid
///     DIR/redis/          password, redis.log, redis.pid
///
/// Node i (from 0) listens on base + 10 i for peers, on base + 10 i + 1 for clients, on base + 10 i + 3 for hosts that join and on
/// base + 10 i + 4 for clients of Redis; PostgreSQL on base + 8, Redis on base + 9.
struct DevelopmentCluster: Equatable, Sendable {
    struct Node: Equatable, Sendable {
        var name: String
        var id: NodeID
        var peerPort: Int
        var apiPort: Int

        /// Where hosts with a join token are let in.
        var enrollPort: Int { peerPort + 3 }
        /// Where clients of Redis find the cache.
        var redisDoorPort: Int { peerPort + 4 }
    }

    static let version = 1
    static let maximumNodes = 9
    static let highestPort = 65_535
    static let trustDomain = "esper.local"

    let directory: String
    var clusterID: ClusterID
    var basePort: Int
    var nodes: [Node]
    var usesCatalog: Bool

    /// Draws identifiers for a new cluster; nothing is written yet.
    init(directory: String, nodes count: Int, basePort: Int, usesCatalog: Bool) {
        self.directory = directory
        clusterID = ClusterID(.random(in: 1 ... .max))
        self.basePort = basePort
        self.usesCatalog = usesCatalog
        nodes = (0..<count).map { position in
            Node(
                name: "n\(position + 1)", id: NodeID(UInt64(position + 1)), peerPort: basePort + 10 * position,
                apiPort: basePort + 10 * position + 1)
        }
    }

    var descriptionPath: String { "\(directory)/cluster.yaml" }
    var clientPath: String { "\(directory)/client.yaml" }
    var keys: KeyStore { KeyStore(directory: "\(directory)/pki") }
    var postgresPort: Int { basePort + 8 }
    var redisPort: Int { basePort + 9 }

    func directory(of node: Node) -> String { "\(directory)/\(node.name)" }
    func settingsPath(of node: Node) -> String { "\(directory(of: node))/node.yaml" }
    func logPath(of node: Node) -> String { "\(directory(of: node))/node.log" }
    func processPath(of node: Node) -> String { "\(directory(of: node))/node.pid" }
    /// Says that the node has had a data directory: one that is gone is lost, and not made again.
    func initializedPath(of node: Node) -> String { "\(directory(of: node))/initialized" }
    func dataDirectory(of node: Node) -> String { "\(directory(of: node))/data" }
    func process(of node: Node) -> ProcessRecord? { ProcessRecord(file: processPath(of: node)) }

    func node(named name: String) throws -> Node {
        guard let node = nodes.first(where: { $0.name == name }) else {
            throw CommandFailure("there is no node \(name); there are \(nodes.map(\.name).joined(separator: ", "))")
        }
        return node
    }

    // MARK: - The description on disk

    static func exists(in directory: String) -> Bool { Files.exists("\(directory)/cluster.yaml") }

    /// Loads the description.
    init(loading directory: String) throws {
        let path = "\(directory)/cluster.yaml"
        guard Files.exists(path) else {
            throw CommandFailure(
                "there is no cluster in \(directory); start one with 'esper dev up --dir \(directory)'")
        }
        guard let root = try Yams.compose(yaml: Files.read(path)) else { throw Self.unreadable(path, "is empty") }
        guard root["version"]?.int == Self.version else {
            throw Self.unreadable(path, "has version \(root["version"]?.string ?? "?"), and this is \(Self.version)")
        }
        guard let cluster = root["cluster_id"]?.string.flatMap({ ClusterID($0) }), let port = root["base_port"]?.int,
            let list = root["nodes"]?.sequence
        else { throw Self.unreadable(path, "lacks cluster_id, base_port or nodes") }
        self.directory = directory
        clusterID = cluster
        basePort = port
        usesCatalog = root["catalog"]?.bool ?? true
        nodes = try list.map { node in
            guard let name = node["name"]?.string, let id = node["id"]?.string.flatMap({ NodeID($0) }),
                let peer = node["peer_port"]?.int, let api = node["api_port"]?.int
            else { throw Self.unreadable(path, "describes a node without name, id, peer_port or api_port") }
            return Node(name: name, id: id, peerPort: peer, apiPort: api)
        }
    }

    func save() throws {
        var text = """
            # Written by 'esper dev up'. Edit nothing here: data directories and certificates carry the same names.
            version: \(Self.version)
            cluster_id: "\(clusterID)"
            base_port: \(basePort)
            catalog: \(usesCatalog)
            nodes:

            """
        for node in nodes {
            text += """
                  - name: \(node.name)
                    id: "\(node.id)"
                    peer_port: \(node.peerPort)
                    api_port: \(node.apiPort)

                """
        }
        try Files.write(text, to: descriptionPath)
    }

    private static func unreadable(_ path: String, _ reason: String) -> CommandFailure {
        CommandFailure("\(path) \(reason); remove the directory to start over")
    }
}
