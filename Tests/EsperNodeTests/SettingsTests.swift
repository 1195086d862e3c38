import EsperNode
import EsperTypes
import Logging
import ObjectStore
import Testing

@Suite struct SettingsTests {
    private static let sound = """
        cluster_id: 00000000000000ab
        name: n1
        data_directory: /var/lib/esper
        members:
          - {name: n1, id: 1, peer: "127.0.0.1:7400", api: "127.0.0.1:7401", zone: a}
          - {name: n2, id: 2, peer: "127.0.0.1:7410", api: "127.0.0.1:7411"}
        tls: {ca: ca.pem, certificate: n1.pem, private_key: n1.key}
        raft:
          heartbeat: 20ms
          snapshot_after: 8MiB
        audit_prefixes: [config/]
        """

    private static func read(
        _ text: String, environment: [String: String] = [:], overrides: [(key: String, value: String)] = []
    ) throws -> NodeSettings {
        try SettingsReader.read(file: ("node.yaml", text), environment: environment, overrides: overrides)
    }

    private static func problems(_ text: String, environment: [String: String] = [:]) -> [String] {
        do {
            _ = try SettingsReader.read(file: ("node.yaml", text), environment: environment, overrides: [])
            return []
        } catch {
            return error.problems.map(\.description)
        }
    }

    @Test func `the cache has defaults, and says what is wrong`() throws {
        let cache = try Self.read(Self.sound).cache
        #expect(cache.isEnabled)
        #expect(cache.memoryBytes == 256 << 20)
        #expect(cache.policy == "s3fifo")
        #expect(cache.copies == 2)
        #expect(cache.redisDoor == nil)
        #expect(cache.usesCatalog)
        #expect(cache.demoteAfter == .seconds(30 * 86400))
        #expect(cache.demoteBytesPerSecond == 8 << 20)
        #expect(cache.syncInterval == .seconds(3600))
        #expect(try Self.read(Self.sound + "\ncache: {sync_interval: 0}").cache.syncInterval == .zero)
        let written = try Self.read(
            Self.sound + "\ncache: {memory: 1GiB, policy: cost, copies: 3, redis_door: {address: \"127.0.0.1:6379\"}}")
        #expect(written.cache.memoryBytes == 1 << 30)
        #expect(written.cache.policy == "cost")
        #expect(written.cache.redisDoor?.address == HostPort(host: "127.0.0.1", port: 6379))
        #expect(written.cache.redisDoor?.tls == nil)
        let problems = Self.problems(
            Self.sound
                + "\ncache: {policy: best, copies: 4, redis: \"http://h\", redis_door: {address: \"0.0.0.0:6379\", tls: false}, garbage_after: 1m, demote_after: 1h, sync_interval: 59s}"
        )
        #expect(problems.count == 7)
    }

    @Test func `a policy may be a scorer that the program registers`() throws {
        #expect(
            try Self.read(Self.sound + "\ncache: {policy: \"custom:sampled_cost\"}").cache.policy
                == "custom:sampled_cost")
        let problems = Self.problems(Self.sound + "\ncache: {policy: \"custom:unknown\"}")
        #expect(problems.count == 1 && problems[0].contains("custom:sampled_cost"), "\(problems)")
    }

    @Test func `the archive is a directory or a bucket`() throws {
        #expect(try Self.read(Self.sound).cache.archive == nil)
        let directory = try Self.read(Self.sound + "\ncache: {archive: {directory: /shared}}")
        #expect(directory.cache.archive == .directory("/shared"))
        let bucket = try Self.read(
            Self.sound
                + "\ncache: {archive: {s3: {endpoint: \"https://s3.example\", bucket: kernels, access_key: us}}}",
            environment: [
                "ESPER_NODE_CACHE_ARCHIVE_S3_SECRET_KEY_FILE": "/run/secret",
                "ESPER_NODE_CACHE_ARCHIVE_S3_PREFIX": "esper/a",
            ])
        let expected = NodeSettings.S3(
            endpoint: try #require(S3Endpoint("https://s3.example")), bucket: "kernels", region: "us-east-1",
            prefix: ObjectKey("esper/a"), accessKey: "us", secretKeyFile: "/run/secret")
        #expect(bucket.cache.archive == .s3(expected))
    }

    @Test(arguments: [
        ("{s3: {path_style: false}}", 4),
        ("{s3: {endpoint: \"https://h\", bucket: kernels, access_key: us}}", 1),
        ("{directory: /a, s3: {endpoint: \"https://h\", bucket: kernels, access_key: us, secret_key_file: f}}", 1),
        ("{s3: {endpoint: \"http://h\", bucket: kernels, access_key: us, secret_key_file: f}}", 1),
        ("{s3: {endpoint: \"http://h\", bucket: kernels, access_key: us, secret_key_file: f, insecure: true}}", 0),
        ("{s3: {endpoint: \"http://127.0.0.1\", bucket: kernels, access_key: us, secret_key_file: f}}", 0),
        ("{s3: {endpoint: \"https://h/path\", bucket: kernels, access_key: us, secret_key_file: f}}", 1),
        ("{s3: {endpoint: \"https://h\", bucket: K, access_key: us, secret_key_file: f}}", 1),
        ("{s3: {endpoint: \"https://h\", bucket: kernels, access_key: us, secret_key_file: f, prefix: /a/}}", 1),
        ("{s3: {endpoint: \"https://h\", bucket: kernels, access_key: us, secret_key_file: f, path_style: no}}", 1),
    ])
    func `an archive that is half given, or given twice, says what is wrong`(archive: String, problems: Int) {
        let found = Self.problems(Self.sound + "\ncache: {archive: \(archive)}")
        #expect(found.count == problems, "\(found)")
        #expect(found.allSatisfy { $0.contains("cache.archive.") }, "\(found)")
    }

    @Test func `beyond loopback clients of Redis speak TLS, and show certificates unless there are users`() throws {
        func door(_ fields: String) throws -> NodeSettings.RedisDoor? {
            try Self.read(Self.sound + "\ncache: {redis_door: {\(fields)}}").cache.redisDoor
        }
        #expect(try door("address: \"10.0.0.1:6379\"")?.tls?.requiresCertificates == true)
        let shared = try door("address: \"10.0.0.1:6379\", users_file: u.yaml, certificate: c.pem, private_key: k.pem")
        #expect(shared?.usersFile == "u.yaml")
        #expect(shared?.tls?.requiresCertificates == false)
        #expect(shared?.tls?.shown?.privateKey == "k.pem")
        #expect(try door("address: \"10.0.0.1:6379\", insecure: true")?.tls == nil)
        #expect(try door("address: \"127.0.0.1:6379\", tls: true")?.tls != nil)
        #expect(try door("address: \"127.0.0.1:6379\", value_memory: 64MiB")?.valueBytes == 64 << 20)
    }

    @Test(arguments: [
        (
            "address: \"10.0.0.1:1\", tls: false",
            "cache.redis_door.tls: '10.0.0.1:1' is not on loopback, so it takes TLS, or cache.redis_door.insecure must say otherwise"
        ),
        (
            "address: \"10.0.0.1:1\", client_certificates: optional",
            "cache.redis_door.client_certificates: must be required, or whoever reaches the port may write; or give a users_file"
        ),
        (
            "address: \"10.0.0.1:1\", certificate: c.pem",
            "cache.redis_door.private_key: is missing: a certificate and its key go together"
        ),
        (
            "address: \"127.0.0.1:1\", certificate: c.pem, private_key: k.pem",
            "cache.redis_door.certificate: is for TLS, which this port does not speak"
        ),
        ("users_file: u.yaml", "cache.redis_door.users_file: needs cache.redis_door.address"),
        ("address: \"127.0.0.1:1\", value_memory: 4GiB", "cache.redis_door.value_memory: must be at most 2GiB"),
    ])
    func `a door that would not do what it seems to is refused`(fields: String, expected: String) {
        let problems = Self.problems(Self.sound + "\ncache: {redis_door: {\(fields)}}")
        #expect(problems.contains(expected), "\(problems)")
    }

    @Test func `a sound file is read, with defaults for what it leaves out`() throws {
        let settings = try Self.read(Self.sound)
        #expect(settings.clusterID == ClusterID(0xab))
        #expect(settings.member.id == NodeID(1))
        #expect(settings.members.map(\.zone) == ["a", ""])
        #expect(settings.listenPeer == HostPort(host: "127.0.0.1", port: 7400))
        #expect(settings.listenAPI == HostPort(host: "127.0.0.1", port: 7401))
        #expect(settings.raft.heartbeat == .milliseconds(20))
        #expect(settings.raft.electionTimeout == .milliseconds(150))
        #expect(settings.raft.snapshotAfterBytes == 8 << 20)
        #expect(settings.outbox.auditPrefixes == ["config/"])
        #expect(settings.tls.trustDomain == "esper.local")
        #expect(settings.tls.clientMinimum == .tls13)
        #expect(settings.log.level == .info)
        #expect(!settings.development)
    }

    @Test func `the environment covers the file, the command line covers both`() throws {
        let environment = ["ESPER_NODE_RAFT_HEARTBEAT": "25ms", "ESPER_NODE_LOG_LEVEL": "debug"]
        let settings = try Self.read(
            Self.sound, environment: environment, overrides: [("log.level", "error"), ("development", "true")])
        #expect(settings.raft.heartbeat == .milliseconds(25))
        #expect(settings.log.level == .error)
        #expect(settings.development)
    }

    @Test func `leases of names last a second, unless they are off or the heartbeat is slow`() throws {
        func lease(_ overrides: [(String, String)]) throws -> Duration {
            try Self.read(Self.sound, environment: [:], overrides: overrides).raft.holderLease
        }
        #expect(try lease([]) == .seconds(1))
        #expect(try lease([("raft.holder_lease", "0")]) == .zero)
        #expect(try lease([("raft.holder_lease", "0s")]) == .zero)
        #expect(try lease([("raft.heartbeat", "126ms"), ("raft.election_timeout", "1s")]) == .zero)
        #expect(throws: (any Error).self) { try lease([("raft.holder_lease", "100ms")]) }
    }

    @Test func `a stop drains for a quarter of its time at most, and not at all unless asked to`() throws {
        #expect(try Self.read(Self.sound, environment: [:], overrides: []).cache.drainTime == .zero)
        func problems(_ drainTime: String) -> [String] {
            Self.problems(Self.sound + "\nshutdown_timeout: 40s\ncache: {drain_time: \(drainTime)}")
        }
        #expect(problems("10s") == [])
        #expect(problems("11s").count == 1 && problems("11s")[0].contains("at most a quarter of shutdown_timeout"))
    }

    @Test func `three mistakes are three lines, each naming the key and the place`() {
        let text = Self.sound.replacing("20ms", with: "soon").replacing("name: n1\n", with: "name: n9\n")
            .replacing("data_directory: /var/lib/esper\n", with: "")
        #expect(
            Self.problems(text).sorted() == [
                "data_directory: is missing; set it in the file or as ESPER_NODE_DATA_DIRECTORY",
                "name: 'n9' is not among the members (n1, n2)",
                "raft.heartbeat: 'soon' is not a duration such as 250ms, 15s or 2m (node.yaml:8)",
            ])
    }

    @Test func `a key that is no setting is refused, with the nearest one`() {
        #expect(
            Self.problems(Self.sound + "\nheartbeat: 10ms")
                == ["heartbeat: is not a setting (node.yaml:12); did you mean raft.heartbeat?"])
    }

    @Test(arguments: [
        ("listen: {probe: \"0.0.0.0:9000\"}", "listen.probe: '0.0.0.0:9000' is plaintext, so it must be on loopback"),
        ("listen: {api: nonsense}", "listen.api: 'nonsense' is not host:port (node.yaml:12)"),
        (
            "log: {level: loud}",
            "log.level: 'loud' is none of trace, debug, info, notice, warning, error, critical (node.yaml:12)"
        ),
        (
            "enroll: {address: \"10.0.0.1:7403\"}",
            "enroll.address: needs tls.authority_key: whoever lets hosts in certifies them"
        ),
        (
            "enroll: {certificate_period: never}",
            "enroll.certificate_period: 'never' is not a duration such as 250ms, 15s or 2m (node.yaml:12)"
        ),
        ("tls.client_minimum: \"1.1\"", "tls.client_minimum: '1.1' is none of 1.2, 1.3 (node.yaml:12)"),
        ("development: perhaps", "development: 'perhaps' is not true or false (node.yaml:12)"),
        (
            "outbox: {maximum_records: -1}",
            "outbox.maximum_records: '-1' is not a whole number of at least 1 (node.yaml:12)"
        ),
    ])
    func `each kind of wrong value has its line`(line: String, expected: String) {
        #expect(Self.problems(Self.sound + "\n" + line) == [expected])
    }

    @Test func `an election timeout near the heartbeat is refused`() {
        #expect(
            Self.problems(Self.sound, environment: ["ESPER_NODE_RAFT_ELECTION_TIMEOUT": "40ms"])
                == ["raft.election_timeout: must be at least three heartbeats (0.06 seconds)"])
    }

    @Test func `members must differ and be whole`() {
        let text = Self.sound.replacing("name: n2, id: 2", with: "name: n1, id: 1, color: red")
        #expect(
            Self.problems(text) == [
                "members[1].color: is not a field of a member (node.yaml:6)",
                "members: two members have the name 'n1'", "members: two members have the id '0000000000000001'",
            ])
    }

    @Test(arguments: ["", "just text", "- a\n- list", "a: [unclosed", "members: 7", "{}"])
    func `a file of another shape is refused, never a trap`(text: String) {
        #expect(!Self.problems(text).isEmpty)
    }
}
