import Glibc
import NIOCore
import NIOPosix

/// The loops that serve clients.
enum DoorGroup {
    /// Loops for connections of clients: one can serve about as much as the core loop takes, so more only pay on a
    /// large host.
    private static var threads: Int { max(1, min(4, System.coreCount / 4)) }

    /// `SCHED_BATCH` of Linux, whose headers Swift does not read this macro from.
    private static let batchPolicy: Int32 = 3

    /// Their threads are scheduled as `SCHED_BATCH` (see sched(7)): where processors are scarce they wait for their turn instead
    /// of interrupting whoever runs when a client's bytes arrive. Heartbeats and logs come first, as do the host's other programs,
    /// and by then more bytes have arrived, so that each turn serves more calls. Where a processor is idle nothing changes.
    static func make() -> MultiThreadedEventLoopGroup {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: threads)
        for loop in group.makeIterator() {
            loop.execute {
                var parameter = sched_param()
                // A sandbox may forbid it; then the loops are scheduled like everything else.
                _ = sched_setscheduler(0, batchPolicy, &parameter)
            }
        }
        return group
    }
}
