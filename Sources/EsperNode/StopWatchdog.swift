internal import Dispatch
internal import Glibc

/// Ends the process when an orderly stop does not.
///
/// A disk that hangs blocks the thread that syncs the log, and whoever joins it; no deadline inside the process reaches that.
public enum StopWatchdog {
    /// Given to a stop beyond its own limit, for threads to be joined and the log to be synced.
    public static let grace = Duration.seconds(2)

    /// After `limit` the process writes one line to standard error and ends with exit code 1, whatever else it is doing.
    public static func arm(limit: Duration) {
        let seconds = Double(limit.components.seconds) + Double(limit.components.attoseconds) / 1e18
        // A queue of its own: it gets a thread even when all others hang.
        DispatchQueue(label: "esper.stop.watchdog").asyncAfter(deadline: .now() + seconds) {
            let line = "esper-node: the stop did not end within \(limit), a disk or a link may hang; ended by force\n"
            // Standard error may be what hangs.
            var standardError = pollfd(fd: STDERR_FILENO, events: Int16(POLLOUT), revents: 0)
            if poll(&standardError, 1, 100) == 1 { _ = line.withCString { write(STDERR_FILENO, $0, strlen($0)) } }
            _exit(1)
        }
    }
}
