import ClusterSupport
import Foundation
import Glibc
import Testing

/// What clients of etcd are told when something is wrong with the cluster.
@Suite(
    .serialized, .timeLimit(.minutes(5)),
    .enabled("needs etcd, etcdctl and Python clients; cluster/test prepares them") {
        try await CompatibilitySuite.isPossible()
    })
struct FaultTests {
    @Test func `a member that has lost its leader tells those who require one, as etcd's does`() async throws {
        try await LocalCluster.run(3) { esper in
            try await EtcdCluster.run(besides: esper) { etcd in
                let others = esper.members.dropFirst().map { esper.process($0.name).identifier }
                async let expected = leaderless(etcd.ports, killing: etcd.processes.dropFirst(), in: esper.root)
                async let actual = leaderless(
                    esper.members.map(\.apiPort), killing: others[...], in: esper.root)
                let (etcds, ours) = try await (expected, actual)
                #expect(ours == etcds)
                #expect(ours.count { $0.hasSuffix("UNAVAILABLE: etcdserver: no leader") } == 8, "\(ours)")
            }
        }
    }

    private func leaderless(
        _ ports: [Int], killing processes: ArraySlice<Int32>, in root: String
    ) async throws -> [String] {
        try await CompatibilitySuite.report(
            "leaderless.py", ports: ports, in: root,
            ["--kill", processes.map(String.init).joined(separator: ",")])
    }

    @Test func `watches that nobody reads cost their member little, and miss nothing`() async throws {
        try await LocalCluster.run(1) { cluster in
            let member = cluster.members[0]
            let told = try await CompatibilitySuite.report(
                "unread.py", ports: [member.apiPort], in: cluster.root,
                ["--process", "\(cluster.process(member.name).identifier)"])
            #expect(
                told == [
                    "watches: 100", "the member holds no more than it may: True", "the reader is told: 80",
                    "others are served: True", "everything comes when it is read: True", "no revision in parts: True",
                ])
        }
    }

    @Test func `a member whose state differs is an alarm`() async throws {
        try await LocalCluster.run(2, started: false) { cluster in
            let file = cluster.settingsFile(of: "n2")
            let text = try String(contentsOfFile: file, encoding: .utf8)
            try (text + "\nfault: {diverge_at: 50}\n").write(toFile: file, atomically: true, encoding: .utf8)
            for member in cluster.members { try cluster.start(member.name) }
            let told = try await CompatibilitySuite.report(
                "differing.py", ports: cluster.members.map(\.apiPort), in: cluster.root, [])
            #expect(told == ["member 1: [(2, 2)] ['CORRUPT']", "member 2: [(1, 2)] ['CORRUPT']"])
        }
    }

    @Test(.enabled(if: SmallDisks.arePossible, "mounting needs the rights of root"))
    func `a full disk is an alarm, as long as it is full`() async throws {
        try await LocalCluster.run(3, settings: "raft: {segment_size: 1MiB}", started: false) { cluster in
            let disks = try SmallDisks(for: cluster)
            defer { disks.unmount() }
            for member in cluster.members { try cluster.start(member.name) }
            let told = try await CompatibilitySuite.report(
                "full_disk.py", ports: cluster.members.map(\.apiPort), in: cluster.root,
                ["--directories", disks.directories.joined(separator: ",")])
            let noSpace = "RESOURCE_EXHAUSTED: etcdserver: mvcc: database space exceeded"
            #expect(
                told == [
                    "before: [] []", "a put: \(noSpace)", "told by every member: True", "the leader's alone: True",
                    "as status: ['NOSPACE']", "of another kind: 0", "a transaction: \(noSpace)", "a lease: \(noSpace)",
                    "reads go on: True", "etcdctl alarm list: True", "etcdctl alarm disarm: True",
                    "it is there as long as it is true: True", "with space again: True", "no alarm: True []",
                    "another member's: True", "puts go on: True", "no alarm: True",
                ])
        }
    }
}
