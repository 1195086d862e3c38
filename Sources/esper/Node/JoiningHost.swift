import Coordination
import Enrollment
import EsperClient
import EsperTypes
import Foundation
import Glibc
import Identity
import Yams

/// The directory of one node on a host that joins a cluster, and the steps of joining; each may be done again.
///
///     DIR/node.key    made here, mode 0600; never leaves the host
///     DIR/node.pem    the certificate that the cluster gave for it
///     DIR/ca.pem      the authorities that the cluster trusts
///     DIR/node.yaml   the settings, written last: where they are, the node is enrolled
///     DIR/data/       made by the node's first start
struct JoiningHost {
    let directory: String
    let member: NewMember
    /// Lines of YAML that the settings get beyond those that every node has.
    var moreSettings = ""

    /// What the settings say of a host that is enrolled.
    struct EnrolledNode: Equatable {
        var cluster: ClusterID
        var node: NodeID
        /// API ports of the other members.
        var endpoints: [String]
    }

    var settingsPath: String { "\(directory)/node.yaml" }
    var logPath: String { "\(directory)/node.log" }
    var processPath: String { "\(directory)/node.pid" }
    var dataDirectory: String { "\(directory)/data" }
    private var keyPath: String { "\(directory)/node.key" }
    private var certificatePath: String { "\(directory)/node.pem" }
    private var authorityPath: String { "\(directory)/ca.pem" }

    /// Whether the node has run: then it must not be initialized again.
    var hasData: Bool { Files.exists("\(dataDirectory)/metadata") }

    // MARK: - Enrolment

    /// What is there already.
    ///
    /// - Throws: ``CommandFailure`` when the directory is another node's.
    func enrollment() throws -> EnrolledNode? {
        guard Files.exists(settingsPath) else {
            guard !hasData else {
                throw CommandFailure("\(directory) holds the data of a node and no settings; choose another --dir")
            }
            return nil
        }
        guard let root = try Yams.compose(yaml: Files.read(settingsPath)),
            let cluster = root["cluster_id"]?.string.flatMap({ ClusterID($0) }), let name = root["name"]?.string,
            let members = root["members"]?.sequence,
            let own = members.first(where: { $0["name"]?.string == name }),
            let id = own["id"]?.string.flatMap({ NodeID($0) })
        else { throw CommandFailure("\(settingsPath) is not what 'esper node join' writes; choose another --dir") }
        guard name == member.name else {
            throw CommandFailure("\(directory) is the directory of \(name) already; choose another --dir")
        }
        guard own["peer"]?.string == member.peer.description, own["api"]?.string == member.api.description else {
            throw CommandFailure(
                "\(name) joined as \(own["peer"]?.string ?? "?") and \(own["api"]?.string ?? "?"), and a member's "
                    + "addresses do not change: join under another name, in another --dir")
        }
        return EnrolledNode(
            cluster: cluster, node: id,
            endpoints: members.compactMap { $0["name"]?.string == name ? nil : $0["api"]?.string })
    }

    /// Makes the key, unless it is there, has it certified, and writes the files.
    ///
    /// - Parameter patience: how long refusals that pass are waited out.
    func enroll(by token: JoinToken, within patience: Duration) async throws -> EnrolledNode {
        try Files.createDirectory(directory, mode: 0o700)
        let outcome = try await certify(by: token, within: patience)
        let enrolled = outcome.enrolled
        try Files.write(settings(enrolled, trustDomain: outcome.identity.trustDomain), to: settingsPath)
        return EnrolledNode(
            cluster: enrolled.cluster, node: enrolled.node, endpoints: enrolled.members.map(\.api.description))
    }

    /// Has the cluster certify the key, and writes what it gives for it.
    func certify(by token: JoinToken, within patience: Duration) async throws -> EnrollmentClient.Outcome {
        let client = EnrollmentClient(token: token, member: member, privateKeyPEM: try key(), now: { Date() })
        let outcome = try await Self.patiently(patience) {
            do throws(EnrollmentRefusal) {
                return .done(try await client.enroll())
            } catch {
                let failure = CommandFailure(.failed, error.message, reason: error.code)
                return error.isRetryable ? .notYet(failure) : .failed(failure)
            }
        }
        try PEMFile.write(outcome.enrolled.authoritiesPEM, to: authorityPath, replacing: true)
        try PEMFile.write(outcome.enrolled.certificatePEM, to: certificatePath, replacing: true)
        return outcome
    }

    /// The host whose settings are in the directory.
    static func enrolled(in directory: String) throws -> JoiningHost {
        let path = "\(directory)/node.yaml"
        guard Files.exists(path), let root = try Yams.compose(yaml: Files.read(path)),
            let name = root["name"]?.string,
            let own = root["members"]?.sequence?.first(where: { $0["name"]?.string == name }),
            let peer = own["peer"]?.string.flatMap({ HostPort($0) }),
            let api = own["api"]?.string.flatMap({ HostPort($0) })
        else { throw CommandFailure("\(directory) has no node that joined with 'esper node join'") }
        let member = NewMember(name: name, peer: peer, api: api, zone: own["zone"]?.string ?? "")
        let host = JoiningHost(directory: directory, member: member)
        guard root["tls"]?["certificate"]?.string == host.certificatePath, Files.exists(host.keyPath) else {
            throw CommandFailure("the certificate of \(name) is not \(host.certificatePath); renew it where it is from")
        }
        return host
    }

    /// - Returns: whether the node runs, started by us, and was told to read its certificate again.
    func reload() -> Bool { ProcessRecord(file: processPath)?.signal(SIGHUP) ?? false }

    private func key() throws -> String {
        if Files.exists(keyPath) {
            let pem = try PEMFile.readSecret(keyPath)
            try PrivateKey.check(pem)
            return pem
        }
        let pem = try PrivateKey.newPEM()
        try PEMFile.write(pem, to: keyPath, replacing: false)
        return pem
    }

    private func settings(_ enrolled: Enrolled, trustDomain: String) -> String {
        var text = """
            # Settings of \(member.name), written once by 'esper node join' and yours to change; docs/OPERATIONS.md lists them all.
            cluster_id: "\(enrolled.cluster)"
            name: \(YAML.quoted(member.name))
            data_directory: \(YAML.quoted(dataDirectory))
            members:

            """
        let own = MemberRecord(
            id: enrolled.node, name: member.name, peer: member.peer, api: member.api, zone: member.zone)
        for record in enrolled.members + [own] {
            text += """
                  - name: \(YAML.quoted(record.name))
                    id: "\(record.id)"
                    peer: \(YAML.quoted(record.peer.description))
                    api: \(YAML.quoted(record.api.description))

                """
            if !record.zone.isEmpty { text += "    zone: \(YAML.quoted(record.zone))\n" }
            if record.id == enrolled.node { text += "    join: true\n" }
        }
        text += """
            tls:
              ca: \(YAML.quoted(authorityPath))
              certificate: \(YAML.quoted(certificatePath))
              private_key: \(YAML.quoted(keyPath))
              trust_domain: \(YAML.quoted(trustDomain))

            """
        return text + moreSettings
    }

    // MARK: - Membership

    /// Has the log sent to the node, which asks with its own certificate.
    ///
    /// - Returns: whether it has a vote already.
    @discardableResult
    func addLearner(_ enrollment: EnrolledNode, within patience: Duration) async throws -> Bool {
        try await Self.patiently(patience) {
            try await ask(enrollment) { client in
                let status = try await client.status()
                guard let known = status.members.first(where: { $0.id == enrollment.node.description }) else {
                    return .notYet(
                        CommandFailure(
                            "\(member.name) is no member any more, by what \(status.answeredBy) knows: to join again, "
                                + "make a token and give another --name and --dir"))
                }
                _ = try await client.addMember(
                    member.name, peer: member.peer, api: member.api, zone: member.zone)
                return .done(known.isVoter)
            }
        }
    }

    /// Gives the node its vote when the cluster says that it has caught up.
    ///
    /// - Parameter check: throws when there is no point in waiting any longer.
    func promote(
        _ enrollment: EnrolledNode, within patience: Duration, while check: () throws -> Void = {}
    ) async throws {
        try await Self.patiently(patience) {
            try check()
            return try await ask(enrollment) { client in
                _ = try await client.promoteMembers([member.name])
                return .done(())
            }
        }
    }

    /// What an attempt came to.
    enum Attempt<Value> {
        case done(Value)
        /// Waiting may help.
        case notYet(CommandFailure)
        case failed(CommandFailure)
    }

    /// Refusals that waiting ends.
    private static let passing: Set<String> = [
        "not_caught_up", "not_heard", "quorum_not_heard", "change_pending", "no_leader", "unavailable", "overloaded",
        "draining", "leadership_changed", "timed_out",
    ]

    private func ask<Value>(
        _ enrollment: EnrolledNode, _ body: (EsperClient) async throws -> Attempt<Value>
    ) async throws -> Attempt<Value> {
        do {
            let settings = ClientSettings(
                endpoints: enrollment.endpoints, authority: authorityPath, certificate: certificatePath,
                privateKey: keyPath)
            let client = try EsperClient(settings, options: Connecting.options(timeout: .seconds(5)))
            defer { client.close() }
            return try await body(client)
        } catch let error as EsperError {
            let failure = CommandFailure(error)
            return Self.passing.contains(failure.reason) ? .notYet(failure) : .failed(failure)
        }
    }

    private static func patiently<Value>(
        _ patience: Duration, _ attempt: () async throws -> Attempt<Value>
    ) async throws -> Value {
        let start = MonotonicClock.nanoseconds()
        while true {
            switch try await attempt() {
            case .done(let value): return value
            case .failed(let failure): throw failure
            case .notYet(let failure):
                guard MonotonicClock.nanoseconds() - start < UInt64(patience.nanoseconds) else { throw failure }
            }
            try await Task.sleep(for: .milliseconds(100))
        }
    }

    // MARK: - The process

    /// How the node is started: with `--initialize` when it never ran.
    func startCommand(program: String) -> [String] {
        [program, "--config", settingsPath] + (hasData ? [] : ["--initialize"])
    }

    var isRunning: Bool { ProcessRecord(file: processPath)?.isRunning ?? false }

    func start() throws {
        guard !isRunning else { return }
        try Spawn.detached(startCommand(program: try NodeProgram.path()), log: logPath).write(to: processPath)
    }

    /// The last lines of the node's log, for messages.
    var lastWords: String {
        let text = (try? Files.read(logPath)) ?? ""
        return text.split(whereSeparator: \.isNewline).suffix(2).joined(separator: "; ")
    }
}

/// Texts in settings files.
enum YAML {
    /// A scalar in single quotes, which take everything but themselves as it is.
    static func quoted(_ text: String) -> String {
        "'" + text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "''") + "'"
    }
}

/// The program that a node runs.
enum NodeProgram {
    /// Beside this one, unless the environment names another.
    static func path() throws -> String {
        if let named = ProcessInfo.processInfo.environment["ESPER_NODE_PROGRAM"] { return named }
        let own = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
        let program = (own as NSString).deletingLastPathComponent + "/esper-node"
        guard Files.exists(program) else {
            throw CommandFailure("\(program) is missing; build it with 'swift build -c release --product esper-node'")
        }
        return program
    }
}
