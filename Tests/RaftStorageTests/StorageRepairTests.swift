import EsperTypes
import RaftStorage
import Testing

@Suite struct StorageRepairTests {
    private let start = Instant(nanoseconds: 1_000_000_000)

    /// The macro takes no call that changes its operand.
    private func begin(_ repair: inout StorageRepair) -> Bool { repair.snapshotBegins() }

    @Test func `nothing is owed without damage, whatever becomes of snapshots`() {
        var repair = StorageRepair()
        #expect(!repair.isDue(at: start))
        #expect(!begin(&repair))
        repair.snapshotFailed(at: start)
        #expect(!repair.isDue(at: .distantFuture))
    }

    @Test func `damage is owed a snapshot until one has been written, with pauses after those that failed`() {
        var repair = StorageRepair()
        repair.damageFound(at: start)
        var now = start
        for _ in 0..<3 {
            #expect(repair.isDue(at: now))
            #expect(begin(&repair))
            #expect(!repair.isDue(at: .distantFuture), "one is being written")
            repair.snapshotFailed(at: now)
            #expect(!repair.isDue(at: now))
            now = now + StorageRepair.pause
        }
        #expect(begin(&repair))
        repair.snapshotWritten()
        #expect(!repair.isDue(at: .distantFuture))
        #expect(!begin(&repair))
    }

    @Test func `a pass of the scrub is owed a snapshot when it finds something`() {
        var repair = StorageRepair()
        var report = Scrubber.Report()
        repair.scrubbed(report, at: start)
        #expect(!repair.isDue(at: .distantFuture))
        report.damages.append(StorageError(.corrupted, "", path: "a"))
        repair.scrubbed(report, at: start)
        #expect(repair.isDue(at: start))
    }

    @Test(arguments: [StorageError.Code.corrupted, .snapshotMissing, .inputOutput], [false, true])
    func `a snapshot that a peer cannot be sent is replaced when it is damaged and the newest`(
        code: StorageError.Code, isNewest: Bool
    ) {
        var repair = StorageRepair()
        repair.readFailed(StorageError(code, "", path: "a"), isNewest: isNewest, at: start)
        #expect(repair.isDue(at: start) == (isNewest && code != .inputOutput))
    }

    @Test(arguments: [false, true])
    func `damage that is found while a snapshot is being written is owed another one at once`(fails: Bool) {
        var repair = StorageRepair()
        repair.damageFound(at: start)
        _ = repair.snapshotBegins()
        repair.damageFound(at: start)
        if fails { repair.snapshotFailed(at: start) } else { repair.snapshotWritten() }
        #expect(repair.isDue(at: start))
    }
}
