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
        for node in nodes where !Files.exists(keys.certificatePath(node.name)) {
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
            ca: \(Self.quoted(keys.trustPath))
            certificate: \(Self.quoted(keys.certificatePath(Self.clientName)))
            private_key: \(Self.quoted(keys.keyPath(Self.clientName)))

            """
        try Files.write(text, to: clientPath)
    }

    /// Writes a node's settings, unless they exist: they are the user's to change.
    ///
    /// - Parameter joins: the cluster is there already, and takes this node in.
    func writeSettings(of node: Node, catalogURL: String?, joins: Bool = false) throws {
        try Files.createDirectory(directory(of: node), mode: 0o700)
        guard !Files.exists(settingsPath(of: node)) else { return }
        var text = """
            # Settings of \(node.name), written once by 'esper dev up' and yours to change; docs/OPERATIONS.md lists them all.
            cluster_id: "\(clusterID)"
            name: \(node.name)
            data_directory: \(Self.quoted(dataDirectory(of: node)))
            members:

            """
        for member in nodes {
            text += """
                  - name: \(member.name)
                    id: "\(member.id)"
                    peer: 127.0.0.1:\(member.peerPort)
                    api: 127.0.0.1:\(member.apiPort)

                """
            if joins, member == node { text += "    join: true\n" }
        }
        text += """
            listen:
              peer: 127.0.0.1:\(node.peerPort)
              api: 127.0.0.1:\(node.apiPort)
            tls:
              ca: \(Self.quoted(keys.trustPath))
              certificate: \(Self.quoted(keys.certificatePath(node.name)))
              private_key: \(Self.quoted(keys.keyPath(node.name)))
              trust_domain: \(Self.trustDomain)
            log:
              level: info
              format: text
            development: true

            """
        if let catalogURL { text += "catalog:\n  url: \(Self.quoted(catalogURL))\n" }
        try Files.write(text, to: settingsPath(of: node))
    }

    /// A YAML scalar in single quotes, which take everything but themselves as it is.
    private static func quoted(_ text: String) -> String {
        "'" + text.split(separator: "'", omittingEmptySubsequences: false).joined(separator: "''") + "'"
    }
}
