import EsperTypes
import RaftCore
import RaftStorage
import Synchronization
import Testing

#if canImport(Glibc)
    import Glibc
#endif

/// Collects what a writer reports, and lets a test wait for it.
final class Reports: Sendable {
    struct State {
        var durable: [UInt64] = []
        var failures: [StorageError] = []
        /// Why there was none; nil: there was again.
        var space: [StorageError?] = []
    }

    let state = Monitor(State())

    var callbacks: LogWriter.Callbacks {
        LogWriter.Callbacks(
            onDurable: { [self] sequence in change { $0.durable.append(sequence.rawValue) } },
            onFailure: { [self] error in change { $0.failures.append(error) } },
            onSpaceReserved: { [self] refusal in change { $0.space.append(refusal) } })
    }

    func waitUntil(_ isTrue: (State) -> Bool) -> Bool {
        state.wait(atMost: .seconds(20)) { isTrue($0) ? true : nil } ?? false
    }

    private func change(_ body: (inout State) -> Void) {
        state.withLock(body)
        state.notify()
    }
}

@Sendable func monotonicNow() -> Instant {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Instant(nanoseconds: UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec))
}

/// A directory of the real file system, removed with the object.
final class TemporaryDirectory {
    let path: String

    init() {
        var template = Array("/tmp/esper-storage-XXXXXX".utf8CString)
        path = template.withUnsafeMutableBufferPointer { String(cString: mkdtemp($0.baseAddress!)) }
    }

    deinit { Self.remove(path) }

    private static func remove(_ path: String) {
        for name in (try? POSIXFileSystem().list(path)) ?? [] {
            let child = path + "/" + name
            if unlink(child) != 0 { remove(child) }
        }
        rmdir(path)
    }
}

@Suite struct `The log's threads` {
    private let options = StorageOptions(segmentBytes: 64 << 10, maximumGroupBytes: 16 << 10)

    private func open(_ path: String, _ fileSystem: any FileSystem) throws -> (DataDirectory, DataDirectory.Recovery) {
        if try !DataDirectory.exists(path, in: fileSystem) {
            try DataDirectory.create(
                path, identity: identity, configuration: firstConfiguration, in: fileSystem, options: options,
                entropy: entropy(1))
        }
        let directory = try DataDirectory.open(
            path, cluster: identity.cluster, node: identity.node, in: fileSystem, options: options, entropy: entropy(2))
        return (directory, try directory.recover())
    }

    @Test(.timeLimit(.minutes(1)))
    func `batches become durable in order, in fewer groups, and are there after a restart on a real disk`() throws {
        let temporary = TemporaryDirectory()
        let path = temporary.path + "/node"
        let total: UInt64 = 3000
        for life in 0..<2 as Range<UInt64> {
            let (directory, recovery) = try open(path, POSIXFileSystem())
            #expect(recovery.restored.entries.count == Int(life * total))
            let reports = Reports()
            let writer = LogWriter(recovery.log, now: monotonicNow, callbacks: reports.callbacks)
            for number in 1...total {
                writer.append(
                    WriteBatch(
                        sequence: WriteSequence(number), entries: [entry(0, life * total + number, bytes: 100)]))
            }
            #expect(reports.waitUntil { $0.durable.last == total })
            let durable = reports.state.withLock { $0.durable }
            #expect(durable == durable.sorted())
            #expect(durable.count < Int(total))
            writer.close()
            directory.close()
            #expect(reports.state.withLock { $0.failures.isEmpty })
        }
        let (directory, recovery) = try open(path, POSIXFileSystem())
        #expect(recovery.restored.entries == (1...2 * total).map { entry(0, $0, bytes: 100) })
        #expect(recovery.tornTail == nil)
        directory.close()
    }

    @Test func `two processes never share a directory`() throws {
        let temporary = TemporaryDirectory()
        let path = temporary.path + "/node"
        let (directory, _) = try open(path, POSIXFileSystem())
        #expect(
            code { () throws(StorageError) in
                _ = try DataDirectory.open(path, in: POSIXFileSystem(), options: options, entropy: entropy(3))
            } == .locked)
        directory.close()
        #expect(throws: Never.self) { try open(path, POSIXFileSystem()).0.close() }
    }

    @Test(.timeLimit(.minutes(1)))
    func `a failed write is reported once, and nothing is durable after it`() throws {
        let disk = SimulatedFileSystem()
        let (_, recovery) = try open("/node", disk)
        let reports = Reports()
        let writer = LogWriter(recovery.log, now: monotonicNow, callbacks: reports.callbacks)
        writer.append(WriteBatch(sequence: WriteSequence(1), entries: [entry(0, 1)]))
        #expect(reports.waitUntil { $0.durable == [1] })
        disk.failForGood()
        writer.append(WriteBatch(sequence: WriteSequence(2), entries: [entry(0, 2)]))
        #expect(reports.waitUntil { !$0.failures.isEmpty })
        writer.append(WriteBatch(sequence: WriteSequence(3), entries: [entry(0, 3)]))
        writer.close()
        #expect(reports.state.withLock { $0.failures.count } == 1)
        #expect(reports.state.withLock { $0.durable }.allSatisfy { $0 <= 2 })
    }

    @Test(.timeLimit(.minutes(1)))
    func `a disk that fills up is announced before the log fails`() throws {
        let disk = SimulatedFileSystem()
        let (_, recovery) = try open("/node", disk)
        disk.setFreeBytes(0)
        let reports = Reports()
        let writer = LogWriter(recovery.log, now: monotonicNow, callbacks: reports.callbacks)
        #expect(reports.waitUntil { $0.space.map { $0?.code } == [.outOfSpace] })
        var number: UInt64 = 0
        while reports.state.withLock({ $0.failures.isEmpty }) {
            number += 1
            writer.append(WriteBatch(sequence: WriteSequence(number), entries: [entry(0, number, bytes: 4000)]))
            #expect(reports.waitUntil { $0.durable.last == number || !$0.failures.isEmpty })
        }
        #expect(reports.state.withLock { $0.failures.first?.code } == .outOfSpace)
        #expect(number > 10)
        writer.close()
    }

    @Test(.timeLimit(.minutes(1)))
    func `a file that cannot be prepared is told and tried again, but a sync that fails ends the log`() throws {
        var (ended, told) = (0, 0)
        // All that preparing takes.
        for operation in 0..<10 {
            let disk = SimulatedFileSystem()
            let (_, recovery) = try open("/node", disk)
            let reports = Reports()
            disk.failOperation(operation)
            let writer = LogWriter(recovery.log, now: monotonicNow, callbacks: reports.callbacks)
            #expect(reports.waitUntil { !$0.failures.isEmpty || $0.space.count == 2 }, "operation \(operation)")
            writer.close()
            let state = reports.state.withLock { $0 }
            if let failure = state.failures.first {
                #expect(failure.isFailedSync && state.space.isEmpty, "\(failure)")
                ended += 1
            } else {
                #expect(state.space.first??.code == .inputOutput && state.space.last == .some(nil), "\(state.space)")
                told += 1
            }
        }
        #expect(ended > 0 && told > 0)
    }

    @Test(.timeLimit(.minutes(1)))
    func `a queue beyond its bound ends the log with a typed error`() throws {
        var small = options
        small.congestedQueueBytes = 1000
        small.maximumQueueBytes = 10_000
        let disk = SimulatedFileSystem()
        try DataDirectory.create(
            "/node", identity: identity, configuration: firstConfiguration, in: disk, options: small,
            entropy: entropy(1))
        let directory = try DataDirectory.open("/node", in: disk, options: small, entropy: entropy(2))
        let reports = Reports()
        let writer = LogWriter(try directory.recover().log, now: monotonicNow, callbacks: reports.callbacks)
        let large = WriteBatch(sequence: WriteSequence(1), entries: [entry(0, 1, bytes: 20_000)])
        #expect(writer.append(large) == .congested)
        #expect(reports.waitUntil { $0.failures.first?.code == .queueOverflow })
        writer.close()
    }

    @Test(.timeLimit(.minutes(2)))
    func `a million entries of 256 bytes are recovered within seconds`() throws {
        let temporary = TemporaryDirectory()
        let path = temporary.path + "/node"
        try DataDirectory.create(path, identity: identity, configuration: firstConfiguration, entropy: entropy(1))
        do {
            let directory = try DataDirectory.open(path, entropy: entropy(2))
            let log = try directory.recover().log.log
            let payload = [UInt8](repeating: 7, count: 256)
            var index: UInt64 = 0
            for sequence in 1...250 as ClosedRange<UInt64> {
                var batch = WriteBatch(sequence: WriteSequence(sequence))
                for _ in 0..<4000 {
                    index += 1
                    batch.entries.append(
                        Entry(id: EntryID(term: .zero, index: LogIndex(index)), kind: .command, payload: payload))
                }
                try log.write([batch])
            }
            try log.close()
            directory.close()
        }
        let directory = try DataDirectory.open(path, entropy: entropy(3))
        let started = monotonicNow()
        let restored = try directory.recover().restored
        let elapsed = monotonicNow() - started
        #expect(restored.entries.count == 1_000_000)
        #expect(elapsed < .seconds(10))
        print("recovered 1,000,000 entries of 256 bytes in \(elapsed)")
        directory.close()
    }
}
