import Coordination
public import EsperTypes
import RaftCore
public import RaftStorage
import Synchronization

/// What a snapshot costs those who wait for apply: a state of a given size, written as a node writes it, while puts go on.
public struct SnapshotBenchmark: Sendable {
    public struct Settings: Hashable, Sendable {
        public var keys: Int
        public var valueBytes: Int
        /// Puts a second while it is measured.
        public var rate: Int

        public init(keys: Int, valueBytes: Int, rate: Int) {
            self.keys = keys
            self.valueBytes = valueBytes
            self.rate = rate
        }
    }

    public struct Result: Sendable {
        /// How long each put took to apply, in the five seconds before the snapshot.
        public var quiet: [Duration]
        /// The same, from the snapshot's beginning to a second after its end.
        public var during: [Duration]
        public var snapshotBytes: UInt64
        public var writing: Duration
        public var restoring: Duration
    }

    private static let historyKept = 100_000

    private let settings: Settings
    private let now: @Sendable () -> Instant
    private var state = StateMachine()
    private var output = ApplyOutput()
    private var number: UInt64 = 0

    private init(_ settings: Settings, now: @escaping @Sendable () -> Instant) {
        self.settings = settings
        self.now = now
    }

    /// Creates a data directory at `path`, which must not hold one, and writes one snapshot to it. Blocks until done.
    ///
    /// - Parameter pause: sleeps for so long.
    public static func run(
        at path: String, _ settings: Settings, now: @escaping @Sendable () -> Instant,
        pause: (Duration) -> Void, entropy: @escaping @Sendable () -> UInt64
    ) throws(StorageError) -> Result {
        let identity = StorageIdentity(cluster: ClusterID(1), node: NodeID(1), incarnation: Incarnation(1))
        let configuration = Configuration(voters: [NodeID(1)])
        try DataDirectory.create(path, identity: identity, configuration: configuration, entropy: entropy)
        let directory = try DataDirectory.open(path, entropy: entropy)
        defer { directory.close() }
        var benchmark = Self(settings, now: now)
        benchmark.load()
        let worker = SnapshotWorker(store: directory.snapshots)
        let quiet = benchmark.measure(pause: pause) { [start = now()] at in at - start >= .seconds(5) }

        let begun = now()
        let basis = SnapshotBasis(
            id: benchmark.state.applied, configuration: configuration, configurationIndex: LogIndex(1))
        let written = Mutex<(Swift.Result<SnapshotDescriptor, StorageError>, Instant)?>(nil)
        worker.submit { [state = benchmark.state] in
            let result = Swift.Result { () throws(StorageError) in try worker.write(state, basis) }
            written.withLock { $0 = (result, now()) }
        }
        let during = benchmark.measure(pause: pause) { at in
            written.withLock { $0.map { at - $0.1 >= .seconds(1) } ?? false }
        }
        guard let (result, ended) = written.withLock({ $0 }) else { preconditionFailure("nothing was written") }
        let descriptor = try result.get()
        let beforeRestore = now()
        let restored = try worker.restore(descriptor).state
        guard restored.applied == descriptor.id else {
            throw StorageError(.corrupted, "restored at \(restored.applied), not \(descriptor.id)", path: path)
        }
        return Result(
            quiet: quiet, during: during, snapshotBytes: descriptor.sizeBytes, writing: ended - begun,
            restoring: now() - beforeRestore)
    }

    private mutating func load() {
        for key in 0..<settings.keys { put(UInt64(key)) }
    }

    /// Puts at the rate until `isOver`.
    private mutating func measure(pause: (Duration) -> Void, until isOver: (Instant) -> Bool) -> [Duration] {
        var durations: [Duration] = []
        let interval = Duration.seconds(1) / settings.rate
        var due = now()
        while true {
            let begin = now()
            if isOver(begin) { return durations }
            if begin < due {
                pause(due - begin)
                continue
            }
            // Scattered over the keys, the same in every run.
            put(number &* 0x9e37_79b9_7f4a_7c15 % UInt64(settings.keys))
            durations.append(now() - begin)
            due = due + interval
        }
    }

    private mutating func put(_ key: UInt64) {
        var bytes = Array("key/".utf8)
        for shift in stride(from: 56, through: 0, by: -8) {
            bytes.append(UInt8(truncatingIfNeeded: key >> UInt64(shift)))
        }
        apply(
            .put(
                .init(
                    key: bytes, value: [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: settings.valueBytes)
                )))
        // As a leader does it, so that the state is as large as its keys.
        if number % UInt64(Self.historyKept / 10) == 0, number > UInt64(Self.historyKept) {
            apply(.compact(through: Revision(state.revision.rawValue - UInt64(Self.historyKept))))
        }
    }

    private mutating func apply(_ command: Command) {
        number += 1
        let envelope = Envelope(
            time: number, proposal: ProposalID(origin: NodeID(1), boot: 1, number: number), principal: "client/bench",
            command: command)
        state.apply(index: state.applied.index.next, term: Term(1), payload: envelope.encoded(), into: &output)
        output = ApplyOutput()
    }
}
