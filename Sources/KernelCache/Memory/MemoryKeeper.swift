internal import CacheCore
internal import Dispatch
public import Logging

/// Does for a memory tier what is due by time: eviction in small steps, shadow caches, the limit under pressure, metrics
/// and the trace.
public struct MemoryKeeper: Sendable {
    public static let interval = Duration.milliseconds(250)

    private let tier: MemoryTier
    private let trace: TraceRecorder?
    private let logger: Logger
    private let disk = DispatchQueue(label: "esper.cache.trace")

    public init(tier: MemoryTier, trace: TraceRecorder? = nil, logger: Logger) {
        self.tier = tier
        self.trace = trace
        self.logger = logger
    }

    /// Until it is cancelled.
    public func run() async {
        var governor = LimitGovernor(configured: tier.options.limitBytes)
        let pressure = MemoryPressure()
        var metrics = MemoryMetrics()
        var round = 0
        while !Task.isCancelled {
            tier.maintain()
            if round % 4 == 0 {
                let before = governor.limit
                let limit = governor.update(pressure.reading(), accounted: tier.accountedBytes)
                if limit != before {
                    tier.setLimit(limit)
                    if limit < before {
                        logger.info("less memory for the cache", metadata: ["limit": "\(limit)"])
                    }
                }
                writeTrace()
                metrics.publish(tier.stat())
            }
            round &+= 1
            // Cancellation ends the wait and the loop.
            try? await Task.sleep(for: Self.interval)
        }
        writeTrace()
    }

    /// On a thread that may wait for the disk; nobody waits for it.
    private func writeTrace() {
        guard let trace, trace.isWorking else { return }
        disk.async { [logger] in
            guard trace.isWorking, !trace.flush() else { return }
            logger.warning(
                "the trace of the cache could not be written and ends", metadata: ["path": "\(trace.options.path)"])
        }
    }
}
