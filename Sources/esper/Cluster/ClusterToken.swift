import ArgumentParser
import Enrollment
import EsperClient
import EsperTypes
import Foundation
import Identity

struct ClusterToken: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "token", abstract: "Tokens by which new hosts join, see 'esper node join'.",
        subcommands: [TokenCreate.self, TokenList.self, TokenRevoke.self])
}

struct TokenCreate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Make a token: prints it, and what it is good for on standard error.",
        discussion: """
            Whoever has the token can become a node, which every node and client trusts: hand it over as you would a \
            password, and let it live no longer than that takes. The cluster keeps a digest of it alone.
            """)

    @Option(help: "How long it lives: one second to seven days.", transform: WrittenDuration.read)
    var ttl = WrittenDuration(.seconds(3600))

    @Option(help: "How many nodes may join by it.")
    var uses = 1

    @Option(help: "The one node that may join by it; default: any.")
    var node = ""

    @Option(
        name: [.customLong("endpoint")],
        help: "HOST:PORT where hosts shall join; repeatable. Default: what the nodes say that let hosts in.",
        transform: WrittenAddress.read)
    var endpoints: [WrittenAddress] = []

    @OptionGroup var cluster: ClusterOptions

    func validate() throws {
        guard endpoints.count <= JoinToken.maximumEndpoints else {
            throw ValidationError("a token names at most \(JoinToken.maximumEndpoints) endpoints")
        }
    }

    func run() async throws {
        let settings = try ClientSettings.load(cluster.config.path())
        try await cluster.changing { client in
            let offers = try await EnrollmentOffers.ask(client, settings)
            let token = try await TokenMaking(
                ttl: ttl.duration, uses: uses, node: node, endpoints: endpoints.map(\.address)
            ).make(client, offers)
            let expires = Date(timeIntervalSince1970: Double(token.expires)).ISO8601Format()
            if !cluster.output.isJSON {
                Terminal.progress(
                    "\(token): \(uses) use\(uses == 1 ? "" : "s")\(node.isEmpty ? "" : " by \(node)"), until \(expires)"
                )
            }
            cluster.output.print(
                .fields([
                    "token": .string(token.text), "id": .string(token.id.description), "expires_at": .string(expires),
                    "uses": .int(uses), "node": node.isEmpty ? .null : .string(node),
                    "cluster_id": .string(token.cluster.description),
                    "endpoints": .array(token.endpoints.map { .string($0.description) }),
                    "authority_sha256": .string(offers.fingerprint),
                ]),
                text: token.text)
        }
    }
}

/// Draws a token's secret and has the cluster take note of its digest.
struct TokenMaking {
    var ttl: Duration
    var uses = 1
    var node = ""
    /// Empty: those that the nodes offer.
    var endpoints: [HostPort] = []

    func make(_ client: EsperClient, _ offers: EnrollmentOffers) async throws -> JoinToken {
        var random = SystemRandomNumberGenerator()
        let secret = (0..<JoinToken.secretBytes).map { _ in UInt8.random(in: .min ... .max, using: &random) }
        let id = JoinTokenID(.random(in: 1 ... .max, using: &random))
        let (_, expires) = try await client.createJoinToken(
            id, secretDigest: JoinToken.digest(of: secret), node: node, uses: uses, ttl: ttl)
        return JoinToken(
            id: id, secret: secret, authorityFingerprint: offers.fingerprintBytes, cluster: offers.cluster,
            // Rounded up: a hint shall not end before the token does.
            expires: (expires + 999) / 1000,
            endpoints: endpoints.isEmpty
                ? Array(offers.addresses.prefix(JoinToken.maximumEndpoints)) : endpoints)
    }
}

/// Which nodes let hosts in, and whom hosts may trust there.
struct EnrollmentOffers {
    let cluster: ClusterID
    /// SHA-256 of the authority's certificate, in hexadecimal.
    let fingerprint: String
    let addresses: [HostPort]

    var fingerprintBytes: [UInt8] {
        let digits = fingerprint.compactMap(\.hexDigitValue)
        return stride(from: 0, to: digits.count - 1, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }

    /// Asks every member; those that do not answer within a second are passed over.
    ///
    /// - Throws: ``CommandFailure`` when nobody lets hosts in, or only by an authority that this client does not trust.
    static func ask(_ client: EsperClient, _ settings: ClientSettings) async throws -> EnrollmentOffers {
        let first = try await client.status()
        guard let cluster = ClusterID(first.clusterID) else {
            throw CommandFailure("the cluster did not say which one it is")
        }
        let others = first.members.filter { $0.name != first.answeredBy }
        let views = await withTaskGroup(of: ClusterView?.self) { group in
            for member in others {
                group.addTask {
                    var settings = settings
                    settings.endpoints = [member.endpoint]
                    // Whoever does not answer is not where hosts should be sent.
                    guard
                        let client = try? EsperClient(settings, options: Connecting.options(timeout: .seconds(1)))
                    else { return nil }
                    defer { client.close() }
                    return try? await client.status()
                }
            }
            return await group.reduce(into: [first]) { views, view in if let view { views.append(view) } }
        }
        let offers = views.filter { !$0.enrollAddress.isEmpty }.sorted { $0.answeredBy < $1.answeredBy }
        guard !offers.isEmpty else {
            throw CommandFailure(
                "no node that answers lets hosts in: set tls.authority_key and enroll.address in the settings of one, "
                    + "see docs/OPERATIONS.md")
        }
        // Not more than this client trusts itself: a node cannot have hosts trust an authority of its own.
        let trusted = Set(try CertificateSummary.read(pem: PEMFile.read(settings.authority)).map(\.fingerprint))
        guard let fingerprint = offers.map(\.authorityFingerprint).first(where: trusted.contains) else {
            throw CommandFailure(
                "the authority that signs there is not in \(settings.authority); bring that up to date")
        }
        return EnrollmentOffers(
            cluster: cluster, fingerprint: fingerprint,
            addresses: offers.filter { $0.authorityFingerprint == fingerprint }
                .compactMap { HostPort($0.enrollAddress) })
    }
}

struct TokenList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "Tokens that the cluster keeps, without their secrets.")

    @OptionGroup var cluster: ClusterOptions

    func run() async throws {
        try await cluster.withClient { client in
            let tokens = try await client.joinTokens()
            let now = Date()
            var table = Table("id", "state", "used", "node", "expires", "creator", "used by")
            for token in tokens {
                table.add(
                    token.id, token.state(now), "\(token.usedBy.count)/\(token.uses)", token.node,
                    token.expires.ISO8601Format(), token.creator, token.usedBy.joined(separator: ", "))
            }
            cluster.output.print(
                .fields(["tokens": .array(tokens.map { $0.json(now) })]),
                text: tokens.isEmpty ? "no join tokens" : table.text)
        }
    }
}

struct TokenRevoke: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "revoke", abstract: "End a token now; nodes that have joined by it stay.")

    @Argument(help: "The token's id, sixteen hexadecimal digits, as 'esper cluster token list' has it.")
    var id: String

    @OptionGroup var cluster: ClusterOptions

    func validate() throws {
        guard id.utf8.count == 16, JoinTokenID(id) != nil else {
            throw ValidationError("'\(id)' is no token's id: sixteen hexadecimal digits")
        }
    }

    func run() async throws {
        try await cluster.changing { client in
            let commit = try await client.revokeJoinToken(JoinTokenID(id) ?? JoinTokenID(0))
            cluster.output.print(.object(commit.fields), text: "revoked \(id)")
        }
    }
}

extension JoinTokenInfo {
    fileprivate var expires: Date { Date(timeIntervalSince1970: Double(expiresUnixMilliseconds) / 1000) }

    fileprivate func state(_ now: Date) -> String {
        if isRevoked { return "revoked" }
        if usedBy.count >= uses { return "used" }
        return expires <= now ? "expired" : "active"
    }

    fileprivate func json(_ now: Date) -> JSON {
        .fields([
            "id": .string(id), "state": .string(state(now)), "uses": .int(uses),
            "node": node.isEmpty ? .null : .string(node), "expires_at": .string(expires.ISO8601Format()),
            "creator": .string(creator), "used_by": .array(usedBy.map(JSON.string)),
        ])
    }
}
