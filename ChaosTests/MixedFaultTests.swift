import ClusterSupport
import EsperProtocol
import Glibc
import SwiftProtobuf
import TestSupport
import Testing

/// Sixteen clients at work while one node at a time, the leader more often than not, is killed, sleeps or is cut off.
@Suite(.timeLimit(.minutes(ChaosDuration.load / 30 + 4)))
struct MixedFaultTests {
    enum Fault: String, CaseIterable {
        case kill, sleep
        /// From both peers, or from one.
        case isolate, cut
    }

    /// With leases longer than elections take, and shorter than many a sleep.
    @Test(arguments: ["", ", read_lease: 300ms"])
    func `whatever happens to one node at a time, the history is linearizable`(raft: String) async throws {
        try await LoadedCluster.endure(raft: raft) { loaded, end in
            var counts: [Fault: Int] = [:]
            // Every kind in turn, in a new order each time round.
            var due: [Fault] = []
            while ContinuousClock.now + .seconds(2) < end {
                if due.isEmpty { due = Fault.allCases.shuffled() }
                let fault = due.removeLast()
                try await perform(fault, loaded)
                counts[fault, default: 0] += 1
                await pause(.milliseconds(.random(in: 0..<500)))
            }
            #expect(counts.values.reduce(0, +) >= max(1, ChaosDuration.load / 10))
            return counts.sorted { $0.key.rawValue < $1.key.rawValue }.map { "\($0.value) \($0.key)" }
                .joined(separator: ", ")
        }
    }

    private func perform(_ fault: Fault, _ loaded: LoadedCluster) async throws {
        let (cluster, observatory) = (loaded.cluster, loaded.observatory)
        let leader = try await observatory.leader()
        let others = cluster.members.map(\.name).filter { $0 != leader }
        let target = Int.random(in: 0..<3) < 2 ? leader : others.randomElement()!
        let duration = Duration.milliseconds(.random(in: 50..<2000))
        let start = loaded.recorder.now()
        switch fault {
        case .kill:
            await cluster.kill(target)
            await pause(duration)
            try cluster.start(target)
        case .sleep:
            cluster.process(target).signal(SIGSTOP)
            await pause(duration)
            cluster.process(target).signal(SIGCONT)
        case .isolate, .cut:
            let peers = fault == .cut ? [cluster.members.map(\.name).filter { $0 != target }.randomElement()!] : []
            let door = try await observatory.door(target)
            let _: ProtoIsolateResponse = try await door.call(.isolate, ProtoIsolateRequest.with { $0.peers = peers })
            await pause(duration)
            let _: ProtoHealResponse = try await eventually("\(target) to be healed") {
                try? await observatory.door(target).call(.heal, ProtoHealRequest())
            }
        }
        loaded.recorder.recordFault(fault.rawValue, target, since: start)
        try await observatory.waitUntilCaughtUp(target)
    }
}
