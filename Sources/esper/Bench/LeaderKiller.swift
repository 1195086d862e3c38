import EsperTypes
import Glibc

/// Kills the leader of a cluster on this host again and again, and starts it anew.
struct LeaderKiller: Sendable {
    let cluster: DevelopmentCluster
    let recorder: HistoryRecorder?

    static let downTime: UInt64 = 1_000_000_000

    func run(every interval: Duration, until end: UInt64) async {
        let step = UInt64(interval.nanoseconds)
        var next = MonotonicClock.nanoseconds() + step
        while next + Self.downTime < end {
            await LoadRun.sleep(until: next)
            next += step
            guard let leader = await cluster.leader(), let process = cluster.process(of: leader) else {
                Terminal.progress("no leader to kill")
                continue
            }
            let start = recorder?.now() ?? 0
            process.signal(SIGKILL)
            await LoadRun.sleep(until: MonotonicClock.nanoseconds() + Self.downTime)
            do {
                try cluster.start(leader)
            } catch {
                Terminal.complain("cannot start \(leader.name) again: \(CommandFailure(describing: error).message)")
            }
            recorder?.recordFault("kill", target: leader.name, start: start, end: recorder?.now())
        }
    }
}
