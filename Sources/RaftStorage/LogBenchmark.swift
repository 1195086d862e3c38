public import EsperTypes
internal import RaftCore
internal import Synchronization

/// How fast the log makes batches durable on a given disk: a closed loop over the whole writer, threads included.
public enum LogBenchmark {
    public struct Settings: Hashable, Sendable {
        public var batches: Int
        public var entriesPerBatch: Int
        public var payloadBytes: Int
        /// Batches in flight: 1 waits for each, more let group commit work.
        public var inFlight: Int

        public init(batches: Int = 20_000, entriesPerBatch: Int = 1, payloadBytes: Int = 256, inFlight: Int = 1) {
            self.batches = batches
            self.entriesPerBatch = entriesPerBatch
            self.payloadBytes = payloadBytes
            self.inFlight = inFlight
        }
    }

    public struct Result: Sendable {
        /// From hand-over to the durable callback of each batch, sorted.
        public var latencies: [Duration]
        public var elapsed: Duration
        public var entries: Int

        public var entriesPerSecond: Double {
            Double(entries) / (Double(max(elapsed.nanoseconds, 1)) / 1_000_000_000)
        }

        /// - Parameter quantile: from 0 to 1.
        public func latency(at quantile: Double) -> Duration {
            guard !latencies.isEmpty else { return .zero }
            return latencies[min(latencies.count - 1, Int(Double(latencies.count) * quantile))]
        }
    }

    private struct Progress {
        var durable: UInt64 = 0
        var failure: StorageError?
        var finishedAt: [Instant] = []
    }

    /// Creates a data directory at `path`, which must not hold one, and writes to it. Blocks until done.
    public static func run(
        at path: String, _ settings: Settings, options: StorageOptions = StorageOptions(),
        now: @escaping @Sendable () -> Instant, entropy: @escaping @Sendable () -> UInt64
    ) throws(StorageError) -> Result {
        let identity = StorageIdentity(cluster: ClusterID(1), node: NodeID(1), incarnation: Incarnation(1))
        try DataDirectory.create(
            path, identity: identity, configuration: Configuration(voters: [NodeID(1)]), options: options,
            entropy: entropy)
        let directory = try DataDirectory.open(path, options: options, entropy: entropy)
        defer { directory.close() }
        let progress = Monitor(Progress())
        let writer = LogWriter(
            try directory.recover().log, now: now,
            callbacks: LogWriter.Callbacks(
                onDurable: { sequence in
                    let moment = now()
                    progress.withLock { progress in
                        while progress.durable < sequence.rawValue {
                            progress.durable += 1
                            progress.finishedAt.append(moment)
                        }
                    }
                    progress.notify()
                },
                onFailure: { error in
                    progress.withLock { $0.failure = error }
                    progress.notify()
                }))
        defer { writer.close() }
        var startedAt: [Instant] = []
        startedAt.reserveCapacity(settings.batches)
        let payload = [UInt8](repeating: 0x61, count: settings.payloadBytes)
        var index = LogIndex.zero
        let begin = now()
        for number in 1...UInt64(max(settings.batches, 1)) {
            try waitUntilDurable(number > UInt64(settings.inFlight) ? number - UInt64(settings.inFlight) : 0, progress)
            let entries = (0..<settings.entriesPerBatch).map { _ in
                index = index.next
                return Entry(id: EntryID(term: Term(1), index: index), kind: .command, payload: payload)
            }
            startedAt.append(now())
            writer.append(WriteBatch(sequence: WriteSequence(number), entries: entries))
        }
        try waitUntilDurable(UInt64(startedAt.count), progress)
        let elapsed = now() - begin
        let latencies = zip(progress.withLock { $0.finishedAt }, startedAt).map { $0 - $1 }.sorted()
        return Result(latencies: latencies, elapsed: elapsed, entries: startedAt.count * settings.entriesPerBatch)
    }

    private static func waitUntilDurable(_ sequence: UInt64, _ progress: Monitor<Progress>) throws(StorageError) {
        let failure: StorageError?? = progress.wait { progress -> StorageError?? in
            if let failure = progress.failure { return .some(failure) }
            return progress.durable >= sequence ? .some(nil) : nil
        }
        if case .some(.some(let failure)) = failure { throw failure }
    }
}
