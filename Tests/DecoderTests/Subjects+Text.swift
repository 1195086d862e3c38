import APIDoor
import EsperNode
import EsperTypes
import Identity

// What people and HTTP clients write.
extension Subject {
    static let all: [Subject] = [
        frames, hello, questions, answers, configurations, logValues, envelopes, snapshots, streams, identities, places,
        durations, documents, settings, enrollmentRequests, enrollmentAnswers, joinTokens,
        certificateRequests, shownCertificates,
    ]

    static let identities = Subject(
        "identities in certificates", .canonical,
        texts: ["spiffe://esper.local/node/n1", "spiffe://a-b_c.d/client/Alice.2"]
    ) { (try? SPIFFEID($0))?.description }

    static let places = Subject(
        "host:port", .stable, texts: ["127.0.0.1:7400", "[::1]:0", "node-1.internal:65535"]
    ) { HostPort($0)?.description }

    static let durations = Subject(
        "durations", .stable, texts: ["250us", "1m30s", "90d", "0", "106751d"]
    ) {
        Duration(written: $0)?.written
    }

    static let documents = Subject(
        "JSON documents", .stable,
        samples: [
            #"{"key":"a2V5","value":"","n":18446744073709551615,"list":[1,-2.5e-3,true,null,{"\u00e4\ud83d\ude00":"\n\\"}]}"#,
            #"[[[[[[[[0]]]]]]]]"#, #" "text" "#, "-0.1E+10",
        ].map { Array($0.utf8) }
    ) { JSONDocument.again($0) }

    static let settings = Subject(
        "settings", .total,
        samples: [
            """
            cluster_id: "00000000000000c1"
            name: n1
            data_directory: /var/lib/esper
            members:
              - {name: n1, id: "1", peer: "10.0.0.1:7400", api: "10.0.0.1:7401", zone: a}
              - {name: n2, id: "2", peer: "10.0.0.2:7400", api: "10.0.0.2:7401"}
            listen: {probe: "127.0.0.1:7409"}
            tls: {ca: ca.pem, certificate: n1.pem, private_key: n1.key}
            raft: {heartbeat: 30ms, election_timeout: 150ms, snapshot_after: 64MiB}
            audit_prefixes: [a/, b/]
            development: true
            """
        ].map { Array($0.utf8) }, share: 0.1
    ) { bytes in
        let text = String(decoding: bytes, as: UTF8.self)
        return (try? SettingsReader.read(file: ("node.yaml", text), environment: [:], overrides: [])) == nil ? nil : []
    }
}
