import Identity

/// The files that nodes and clients read, written from the description.
extension DevelopmentCluster {
    /// The development client may do everything.
    static let clientName = "developer"

    /// Makes what is missing: the authority, a certificate per node and one for the client.
    func prepareCertificates() throws {
        if !keys.hasAuthority {
            try keys.createAuthority(
                trustDomain: Self.trustDomain, validFor: KeyStore.authorityPeriod, replacing: false)
        }
        // A node that joined has its own beside its settings.
        for node in nodes
        where !Files.exists(keys.certificatePath(node.name)) && !Files.exists("\(directory(of: node))/node.pem") {
            try keys.issue(
                .node, name: node.name, hosts: ["127.0.0.1", "::1", "localhost"], validFor: KeyStore.leafPeriod,
                replacing: true)
        }
        if !Files.exists(keys.certificatePath(Self.clientName)) {
            try keys.issue(
                .client, name: Self.clientName, hosts: [], validFor: KeyStore.leafPeriod, replacing: true)
        }
    }

    func writeClientSettings() throws {
        var text = "# How to reach this cluster; for 'esper --config' or ESPER_CONFIG.\nendpoints:\n"
        for node in nodes { text += "  - 127.0.0.1:\(node.apiPort)\n" }
        text += """
            ca: \(YAML.quoted(keys.trustPath))
            certificate: \(YAML.quoted(keys.certificatePath(Self.clientName)))
            private_key: \(YAML.quoted(keys.keyPath(Self.clientName)))

            """
        try Files.write(text, to: clientPath)
    }

    /// Writes a founder's settings, unless they exist: they are the user's to change. Whoever joins later writes its own.
    func writeSettings(of node: Node, catalogURL: String?, redisURL: String?) throws {
        try Files.createDirectory(directory(of: node), mode: 0o700)
        guard !Files.exists(settingsPath(of: node)) else { return }
        var text = """
            # Settings of \(node.name), written once by 'esper dev up' and yours to change; docs/OPERATIONS.md lists them all.
            cluster_id: "\(clusterID)"
            name: \(node.name)
            data_directory: \(YAML.quoted(dataDirectory(of: node)))
            members:

            """
        for member in nodes {
            text += """
                  - name: \(member.name)
                    id: "\(member.id)"
                    peer: 127.0.0.1:\(member.peerPort)
                    api: 127.0.0.1:\(member.apiPort)

                """
        }
        text += """
            tls:
              ca: \(YAML.quoted(keys.trustPath))
              certificate: \(YAML.quoted(keys.certificatePath(node.name)))
              private_key: \(YAML.quoted(keys.keyPath(node.name)))
              trust_domain: \(Self.trustDomain)

            """
        text += commonSettings(of: node, catalogURL: catalogURL, redisURL: redisURL)
        try Files.write(text, to: settingsPath(of: node))
    }

    /// What every node of a cluster on one host has: any of them may let others in, because all stand beside the authority.
    func commonSettings(of node: Node, catalogURL: String?, redisURL: String?) -> String {
        var text = """
            tls.authority_key: \(YAML.quoted(keys.authorityKeyPath))
            enroll:
              address: 127.0.0.1:\(node.enrollPort)
            log:
              level: info
              format: text
            development: true
            cache.archive.directory: \(YAML.quoted("\(directory)/archive"))
            cache.redis_door.address: 127.0.0.1:\(node.redisDoorPort)

            """
        if let redisURL { text += "cache.redis: \(YAML.quoted(redisURL))\n" }
        if let catalogURL { text += "catalog:\n  url: \(YAML.quoted(catalogURL))\n" }
        return text
    }
}
