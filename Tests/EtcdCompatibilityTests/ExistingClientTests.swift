import ClusterSupport
import Testing

/// Unmodified clients of etcd drive a real etcd and real nodes at the same time; what they are told is compared.
///
/// Differences that are meant stand in `python/differences.json`, each with its reason; docs/ETCD.md quotes them.
@Suite(.serialized, .timeLimit(.minutes(5)))
struct ExistingClientTests {
    @Test(
        .enabled("needs etcd, etcdctl and Python clients; cluster/test prepares them") {
            try await CompatibilitySuite.isPossible()
        })
    func `clients of etcd are answered as etcd answers them`() async throws {
        // etcdctl 3.5.1 speaks nothing newer.
        try await LocalCluster.run(3, settings: "tls.client_minimum: \"1.2\"") { esper in
            try await EtcdCluster.run(besides: esper) { etcd in
                async let expected = CompatibilitySuite.documents(of: "etcd", ports: etcd.ports, in: esper.root)
                async let actual = CompatibilitySuite.documents(
                    of: "esper", ports: esper.members.map(\.apiPort), in: esper.root)
                let differences = try await CompatibilitySuite.differences(between: expected, and: actual)
                for difference in differences { Issue.record("\(difference)") }
            }
        }
    }
}
