import EsperTypes
import Testing

/// The judges of the chaos suites object to what they are there for.
struct JudgeTests {
    private func row(
        _ index: UInt64, _ kind: String, _ subject: String, token: UInt64? = nil, at: Double? = nil,
        recorded: Double = 100
    ) -> AuditTrail.Row {
        .init(
            index: index, ordinal: 0, kind: kind, subject: subject, token: token, at: at ?? Double(index),
            recorded: recorded)
    }

    private func work(_ events: [AuditTrail.Row]) -> AuditedWork {
        var work = AuditedWork()
        for row in events { work.acknowledged[row.event] = row.index }
        return work
    }

    private var whole: [AuditTrail.Row] {
        [
            row(1, "session.granted", "1"), row(2, "key.put", "a"), row(3, "lock.acquired", "l", token: 7),
            row(4, "lock.released", "l", token: 7), row(5, "lock.acquired", "l", token: 9),
        ]
    }

    @Test func `a trail that agrees with what was acknowledged has no problems`() {
        #expect(AuditTrail(rows: whole).problems(knowing: work(whole)) == [])
    }

    @Test(arguments: 0..<5) func `an event that is missing is found`(_ missing: Int) {
        var rows = whole
        rows.remove(at: missing)
        #expect(!AuditTrail(rows: rows).problems(knowing: work(whole)).isEmpty)
    }

    @Test(arguments: 0..<5) func `an event that is there twice is found`(_ doubled: Int) {
        var again = whole[doubled]
        again.index = 6
        again.at = 6
        #expect(!AuditTrail(rows: whole + [again]).problems(knowing: work(whole)).isEmpty)
    }

    @Test func `an event out of order, or elsewhere, or of nobody is found`() {
        let known = work(whole)
        let cases = [
            whole + [row(6, "key.put", "b")],
            whole + [row(6, "session.revoked", "1", at: 2)],
            whole + [row(6, "session.revoked", "1", recorded: 99)],
            whole + [row(6, "lock.acquired", "l", token: 11)],
            whole + [row(6, "lock.released", "l", token: 8)],
            whole.map { $0.kind == "key.put" ? row(6, "key.put", "a") : $0 },
        ]
        for rows in cases { #expect(!AuditTrail(rows: rows).problems(knowing: known).isEmpty) }
    }

    @Test func `a put of unknown outcome may be there or not, once`() {
        var known = work(whole)
        known.unknownKeys = ["b"]
        let put = row(6, "key.put", "b")
        #expect(AuditTrail(rows: whole).problems(knowing: known) == [])
        #expect(AuditTrail(rows: whole + [put]).problems(knowing: known) == [])
        #expect(!AuditTrail(rows: whole + [put, row(7, "key.put", "b")]).problems(knowing: known).isEmpty)
    }

    @Test func `the guarded store refuses the past, and objects when its owner is certain`() {
        let store = GuardedStore()
        store.write("l", FencingToken(5), by: 1) { true }
        store.write("l", FencingToken(7), by: 2) { true }
        store.write("l", FencingToken(5), by: 1) { false }
        #expect(store.report.writes == 2 && store.report.refused == 1 && store.report.problems.isEmpty)
        store.write("l", FencingToken(5), by: 1) { true }
        store.write("l", FencingToken(7), by: 3) { true }
        #expect(store.report.problems.count == 2)
    }
}
