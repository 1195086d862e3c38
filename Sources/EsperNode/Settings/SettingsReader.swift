import EsperTypes
import Logging

/// Turns written settings into checked ones, collecting every problem before giving up.
public struct SettingsReader {
    /// Every scalar key with what it is for; also the list behind `esper-node --help` and the environment names.
    public static let keys: [(name: String, help: String)] =
        [
            ("cluster_id", "sixteen hexadecimal digits, the same on every node"),
            ("name", "this node's name; one of the members"),
            ("data_directory", "where the log and the snapshots live"),
            ("listen.peer", "host:port for peers; default: this member's peer address"),
            ("listen.api", "host:port for clients; default: this member's api address"),
            (
                "listen.probe",
                "host:port of a plaintext loopback listener for /health, /ready and /metrics; default: none"
            ),
            ("tls.ca", "PEM file of the cluster's authority"),
            ("tls.certificate", "PEM file of this node's certificate"),
            ("tls.private_key", "PEM file of this node's key"),
            ("tls.trust_domain", "of the names in certificates; default: esper.local"),
            (
                "tls.authority_key",
                "PEM file of the authority's key, which lets this node certify others; default: none"
            ),
            ("tls.client_minimum", "version of TLS that clients must speak at least, 1.2 or 1.3; default: 1.3"),
            ("enroll.address", "host:port at which hosts with a join token become nodes; default: none"),
            ("enroll.certificate_period", "how long certificates that this node issues are valid; default: 90d"),
            ("catalog.url", "libpq connection string of the PostgreSQL catalog; default: none"),
            ("log.level", "trace, debug, info, notice, warning, error or critical; default: info"),
            ("log.format", "text or json; default: text"),
            ("raft.heartbeat", "of the leader; default: 30ms"),
            ("raft.election_timeout", "silence after which a leader is suspected; default: 150ms"),
            (
                "raft.snapshot_after",
                "log growth that calls for a snapshot, if more than half of the last; default: 64MiB"
            ),
            ("raft.snapshot_rate", "bytes a second of a snapshot on its way to one node; default: 128MiB"),
            (
                "raft.read_lease",
                "reads need no round while a commit is younger than this; a new leader waits as long; default: 0, off"
            ),
            (
                "raft.holder_lease",
                "nodes answer for names of the cache by leases this long; a silent node holds changes of names up once for as long; 0: off; default: 1s, with a heartbeat above 125ms 0"
            ),
            ("raft.segment_size", "of one file of the log; default: 64MiB"),
            ("raft.scrub_interval", "between two checks of what is stored; default: 1h"),
            ("raft.scrub_rate", "bytes a second that the check reads; default: 8MiB"),
            (
                "outbox.maximum_records",
                "records waiting for the catalog before audited commands are refused; default: 1000000"
            ),
            (
                "keyspace.history_revisions",
                "revisions that stay readable at least; older ones are compacted, 0 keeps everything; default: 100000"
            ),
            ("shutdown_timeout", "of a planned stop; default: 10s"),
            ("development", "true serves the fault-injection calls of 'esper dev'; default: false"),
            ("fault.diverge_at", "with development: the state becomes another after this log entry; default: never"),
        ] + cacheKeys + redisDoorKeys

    /// Keys that hold lists and can only stand in the file.
    public static let listKeys = ["members", "audit_prefixes"]

    let layers: SettingsLayers
    private var problems: [SettingsProblem]

    /// - Parameters:
    ///   - file: the text of the settings file with its name for messages; nil when there is none.
    ///   - environment: the process environment; only `ESPER_NODE_…` is looked at.
    ///   - overrides: from the command line; these win.
    /// - Throws: ``InvalidSettings`` with every problem found.
    public static func read(
        file: (name: String, text: String)?, environment: [String: String], overrides: [(key: String, value: String)]
    ) throws(InvalidSettings) -> NodeSettings {
        var layers = SettingsLayers()
        if let file { layers.add(yaml: file.text, named: file.name) }
        layers.add(environment: environment, keys: keys.map(\.name))
        layers.add(overrides: overrides)
        var reader = SettingsReader(layers: layers)
        return try reader.read()
    }

    private init(layers: SettingsLayers) {
        self.layers = layers
        problems = layers.problems
    }

    private mutating func read() throws(InvalidSettings) -> NodeSettings {
        refuseUnknownKeys()
        let members = readMembers()
        let name = required("name")
        let own = members.first { $0.name == name }
        if !name.isEmpty, own == nil, !members.isEmpty {
            complain("name", "'\(name)' is not among the members (\(members.map(\.name).joined(separator: ", ")))")
        }
        for member in members where member.joins && member.name != name {
            complain("members", "'\(member.name)' has join, which only this node's own line may have")
        }
        if members.allSatisfy(\.joins), !members.isEmpty {
            complain("members", "lists nobody whose cluster this node could join")
        }
        let heartbeat = duration("raft.heartbeat", default: .milliseconds(30))
        let electionTimeout = duration("raft.election_timeout", default: .milliseconds(150))
        if electionTimeout < heartbeat * 3 {
            complain("raft.election_timeout", "must be at least three heartbeats (\(heartbeat * 3))")
        }
        let readLease = duration("raft.read_lease", default: .zero, canBeZero: true)
        if readLease > .seconds(10) || readLease.nanoseconds % 1_000_000 != 0 {
            complain(
                "raft.read_lease", "must be whole milliseconds, at most 10s; writes stop for as long after an election")
        }
        let holderLease = duration(
            "raft.holder_lease", default: heartbeat * 8 <= .seconds(1) ? .seconds(1) : .zero, canBeZero: true)
        if holderLease > .seconds(10) || holderLease.nanoseconds % 1_000_000 != 0
            || holderLease > .zero && holderLease < heartbeat * 8
        {
            complain(
                "raft.holder_lease", "must be 0 or whole milliseconds from eight heartbeats (\(heartbeat * 8)) to 10s")
        }
        let probe = scalar("listen.probe").map { hostPort("listen.probe", $0) }
        if let probe, !probe.isLoopback {
            complain("listen.probe", "'\(probe)' is plaintext, so it must be on loopback")
        }
        let development = flag("development")
        let divergesAt = scalar("fault.diverge_at") == nil ? nil : count("fault.diverge_at", default: 1)
        if divergesAt != nil, !development {
            complain("fault.diverge_at", "is a fault on purpose and needs development")
        }
        let shutdownTimeout = duration("shutdown_timeout", default: .seconds(10))
        let cache = readCache()
        if cache.drainTime * 4 > shutdownTimeout {
            complain(
                "cache.drain_time",
                "must be at most a quarter of shutdown_timeout (\(shutdownTimeout / 4)); raise that, or drain the node before it stops: esper cluster drain"
            )
        }
        let period = duration("enroll.certificate_period", default: .seconds(90 * 86400))
        let enrollment = scalar("enroll.address").map {
            NodeSettings.EnrollmentPort(address: hostPort("enroll.address", $0))
        }
        if enrollment != nil, scalar("tls.authority_key") == nil {
            complain("enroll.address", "needs tls.authority_key: whoever lets hosts in certifies them")
        }
        let settings = NodeSettings(
            clusterID: identifier("cluster_id", required("cluster_id")),
            name: name,
            dataDirectory: required("data_directory"),
            members: members,
            listenPeer: scalar("listen.peer").map { hostPort("listen.peer", $0) } ?? own?.peer ?? Self.nowhere,
            listenAPI: scalar("listen.api").map { hostPort("listen.api", $0) } ?? own?.api ?? Self.nowhere,
            listenProbe: probe,
            enrollment: enrollment, certificatePeriod: period,
            tls: .init(
                authority: required("tls.ca"), certificate: required("tls.certificate"),
                privateKey: required("tls.private_key"), trustDomain: scalar("tls.trust_domain")?.text ?? "esper.local",
                authorityKey: scalar("tls.authority_key")?.text,
                clientMinimum: choice(
                    "tls.client_minimum", from: NodeSettings.TLS.Version.allCases, default: .tls13)),
            catalog: .init(connection: scalar("catalog.url")?.text),
            log: .init(
                level: choice("log.level", from: Logger.Level.allCases, default: .info),
                format: choice("log.format", from: NodeSettings.Log.Format.allCases, default: .text)),
            raft: .init(
                heartbeat: heartbeat, electionTimeout: electionTimeout,
                snapshotAfterBytes: bytes("raft.snapshot_after", default: 64 << 20, atLeast: 64 << 10),
                snapshotBytesPerSecond: bytes("raft.snapshot_rate", default: 128 << 20, atLeast: 1 << 20),
                readLease: readLease, holderLease: holderLease,
                segmentBytes: bytes("raft.segment_size", default: 64 << 20, atLeast: 1 << 20),
                scrubInterval: duration("raft.scrub_interval", default: .seconds(3600)),
                scrubBytesPerSecond: bytes("raft.scrub_rate", default: 8 << 20, atLeast: 64 << 10)),
            outbox: .init(
                auditPrefixes: auditPrefixes(), maximumRecords: count("outbox.maximum_records", default: 1_000_000)),
            historyRevisions: count("keyspace.history_revisions", default: 100_000, atLeast: 0),
            shutdownTimeout: shutdownTimeout,
            cache: cache,
            development: development, divergesAt: divergesAt.map { LogIndex(UInt64($0)) })
        guard problems.isEmpty else { throw InvalidSettings(problems: problems) }
        return settings
    }

    // MARK: - Shapes

    typealias Scalar = (text: String, origin: String)

    private static let nowhere = HostPort(host: "unset", port: 0)

    mutating func complain(_ key: String, _ message: String) {
        problems.append(SettingsProblem(key: key, message: message))
    }

    mutating func scalar(_ key: String) -> Scalar? {
        guard let value = layers.values[key] else { return nil }
        guard case .scalar(let text) = value.content else {
            complain(key, "must be a single value (\(value.origin))")
            return nil
        }
        return text.isEmpty ? nil : (text, value.origin)
    }

    mutating func required(_ key: String) -> String {
        if let scalar = scalar(key) { return scalar.text }
        complain(key, "is missing; set it in the file or as \(SettingsLayers.environmentName(for: key))")
        return ""
    }

    mutating func hostPort(_ key: String, _ scalar: Scalar) -> HostPort {
        if let value = HostPort(scalar.text) { return value }
        complain(key, "'\(scalar.text)' is not host:port (\(scalar.origin))")
        return Self.nowhere
    }

    mutating func identifier<ID: Identifier>(_ key: String, _ text: String) -> ID {
        if text.isEmpty { return ID(0) }
        if let id = ID(text), id.rawValue != 0 { return id }
        complain(key, "'\(text)' is not one to sixteen hexadecimal digits above zero")
        return ID(0)
    }

    /// - Parameter canBeZero: whether 0 switches something off.
    mutating func duration(_ key: String, default fallback: Duration, canBeZero: Bool = false) -> Duration {
        guard let scalar = scalar(key) else { return fallback }
        if let value = Duration(written: scalar.text), value > .zero || canBeZero { return value }
        complain(key, "'\(scalar.text)' is not a duration such as 250ms, 15s or 2m (\(scalar.origin))")
        return fallback
    }

    mutating func bytes(_ key: String, default fallback: Int, atLeast minimum: Int) -> Int {
        guard let scalar = scalar(key) else { return fallback }
        guard let value = Int(writtenBytes: scalar.text) else {
            complain(key, "'\(scalar.text)' is not a size such as 512KiB, 64MiB or 1GiB (\(scalar.origin))")
            return fallback
        }
        if value < minimum { complain(key, "must be at least \(minimum) bytes (\(scalar.origin))") }
        return value
    }

    mutating func count(_ key: String, default fallback: Int, atLeast minimum: Int = 1) -> Int {
        guard let scalar = scalar(key) else { return fallback }
        if let value = Int(scalar.text), value >= minimum { return value }
        complain(key, "'\(scalar.text)' is not a whole number of at least \(minimum) (\(scalar.origin))")
        return fallback
    }

    mutating func flag(_ key: String, default fallback: Bool = false) -> Bool {
        guard let scalar = scalar(key) else { return fallback }
        if let value = Bool(scalar.text) { return value }
        complain(key, "'\(scalar.text)' is not true or false (\(scalar.origin))")
        return fallback
    }

    mutating func choice<Value: RawRepresentable>(
        _ key: String, from values: [Value], default fallback: Value
    ) -> Value where Value.RawValue == String {
        guard let scalar = scalar(key) else { return fallback }
        if let value = Value(rawValue: scalar.text), values.contains(where: { $0.rawValue == value.rawValue }) {
            return value
        }
        complain(
            key, "'\(scalar.text)' is none of \(values.map(\.rawValue).joined(separator: ", ")) (\(scalar.origin))")
        return fallback
    }

    private mutating func auditPrefixes() -> [String] {
        guard let value = layers.values["audit_prefixes"] else { return [] }
        guard case .list(let items) = value.content else {
            complain("audit_prefixes", "must be a list of key prefixes (\(value.origin))")
            return []
        }
        return items.compactMap { item in
            if case .scalar(let text) = item.content, !text.isEmpty { return text }
            complain("audit_prefixes", "holds something that is not text (\(item.origin))")
            return nil
        }
    }

    // MARK: - Members and unknown keys

    private mutating func readMembers() -> [NodeSettings.Member] {
        guard let value = layers.values["members"] else {
            complain("members", "is missing; list every node with name, id, peer and api")
            return []
        }
        guard case .list(let items) = value.content, !items.isEmpty else {
            complain("members", "must be a list of nodes with name, id, peer and api (\(value.origin))")
            return []
        }
        let members = items.enumerated().map { readMember($0.element, at: $0.offset) }
        refuseRepeats(members.map(\.name), of: "name")
        refuseRepeats(members.map(\.id.description), of: "id")
        refuseRepeats(members.map(\.peer.description), of: "peer address")
        return members
    }

    private mutating func readMember(_ item: WrittenValue, at position: Int) -> NodeSettings.Member {
        let key = "members[\(position)]"
        var fields: [String: String] = [:]
        if case .mapping(let mapping) = item.content {
            for (name, value) in mapping.sorted(by: { $0.key < $1.key }) {
                if case .scalar(let text) = value.content, ["name", "id", "peer", "api", "zone", "join"].contains(name)
                {
                    fields[name] = text
                } else {
                    complain("\(key).\(name)", "is not a field of a member (\(value.origin))")
                }
            }
        } else {
            complain(key, "must be a mapping with name, id, peer and api (\(item.origin))")
        }
        func field(_ name: String, _ reader: inout SettingsReader) -> String {
            if let text = fields[name], !text.isEmpty { return text }
            reader.complain("\(key).\(name)", "is missing (\(item.origin))")
            return ""
        }
        let peer = field("peer", &self)
        let api = field("api", &self)
        return NodeSettings.Member(
            name: field("name", &self), id: identifier("\(key).id", field("id", &self)),
            peer: peer.isEmpty ? Self.nowhere : hostPort("\(key).peer", (peer, item.origin)),
            api: api.isEmpty ? Self.nowhere : hostPort("\(key).api", (api, item.origin)),
            zone: fields["zone"] ?? "", joins: joins(fields["join"], "\(key).join", item.origin))
    }

    private mutating func joins(_ text: String?, _ key: String, _ origin: String) -> Bool {
        guard let text else { return false }
        if let value = Bool(text) { return value }
        complain(key, "'\(text)' is not true or false (\(origin))")
        return false
    }

    private mutating func refuseRepeats(_ texts: [String], of what: String) {
        var seen: Set<String> = []
        for text in texts where !text.isEmpty && !seen.insert(text).inserted {
            complain("members", "two members have the \(what) '\(text)'")
        }
    }

    private mutating func refuseUnknownKeys() {
        let known = Set(Self.keys.map(\.name) + Self.listKeys)
        for (key, value) in layers.values.sorted(by: { $0.key < $1.key }) where !known.contains(key) {
            let near = known.sorted().first {
                $0.hasSuffix("." + key) || $0.split(separator: ".").last == key.split(separator: ".").last
            }
            complain(key, "is not a setting (\(value.origin))" + (near.map { "; did you mean \($0)?" } ?? ""))
        }
    }
}
