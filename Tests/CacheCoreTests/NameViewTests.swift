import CacheCore
import EsperTypes
import Testing

/// What a node may say of names by itself.
@Suite struct NameViewTests {
    private let kernel = NameChange.mark(Array("default/kernel".utf8))
    private let other = NameChange.mark(Array("default/other".utf8))

    private func view(through index: UInt64 = 5, base: UInt64 = 5) -> NameView<Int> {
        var view = NameView(0, applied: LogIndex(index))
        view.leased(until: Instant(nanoseconds: 100), base: LogIndex(base))
        return view
    }

    private func answers(_ view: NameView<Int>, _ mark: UInt64) -> Int? {
        if case .clear(let glance) = view.glance(mark) { glance.table } else { nil }
    }

    @Test func `without a lease, and before what it begins with is applied, nothing is told`() {
        var view = NameView(7, applied: LogIndex(4))
        #expect(answers(view, kernel) == nil)
        view.leased(until: Instant(nanoseconds: 100), base: LogIndex(5))
        #expect(view.answersUntil == nil && answers(view, kernel) == nil)
        view.applied(through: LogIndex(5), 8)
        #expect(answers(view, kernel) == 8 && view.answersUntil == Instant(nanoseconds: 100))
        view.leased(until: nil, base: .zero)
        #expect(answers(view, kernel) == nil)
    }

    @Test func `all names are told of at once while none is pending, and under a lease`() {
        var view = view()
        #expect(view.glance()?.table == 0 && view.glance()?.until == Instant(nanoseconds: 100))
        for (number, change) in [NameChange.names([kernel]), .all].enumerated() {
            let index = LogIndex(UInt64(6 + number))
            view.appended(index, change, stamp: 9)
            #expect(view.glance() == nil, "\(change)")
            view.applied(through: index, number + 1)
            #expect(view.glance()?.table == number + 1, "\(change)")
        }
        view.appended(LogIndex(8), .none, stamp: 12)
        #expect(view.glance()?.pendingTime == 12)
        view.leased(until: nil, base: .zero)
        #expect(view.glance() == nil)
        view.leased(until: Instant(nanoseconds: 200), base: LogIndex(8))
        #expect(view.glance() == nil, "what the lease begins with is not applied")
        view.applied(through: LogIndex(8), 4)
        view.snapshotInstalled()
        view.leased(until: Instant(nanoseconds: 200), base: .zero)
        #expect(view.glance() == nil, "the table is behind the snapshot")
    }

    @Test func `a name is pending from its append to its apply, others are not`() {
        var view = view()
        view.appended(LogIndex(6), .names([kernel]))
        view.appended(LogIndex(7), .names([kernel]))
        #expect(answers(view, kernel) == nil && answers(view, other) == 0)
        view.applied(through: LogIndex(6), 1)
        #expect(answers(view, kernel) == nil)
        view.applied(through: LogIndex(7), 2)
        #expect(answers(view, kernel) == 2)
    }

    @Test func `what is cut off is not pending any more`() {
        var view = view()
        view.appended(LogIndex(6), .names([kernel]))
        view.appended(LogIndex(7), .all)
        #expect(answers(view, other) == nil)
        view.truncated(from: LogIndex(7))
        #expect(answers(view, kernel) == nil && answers(view, other) == 0)
        view.truncated(from: LogIndex(6))
        #expect(answers(view, kernel) == 0)
    }

    @Test func `between a snapshot and its state nothing is told, whatever lease there is`() {
        var view = view()
        view.snapshotInstalled()
        view.leased(until: Instant(nanoseconds: 100), base: .zero)
        #expect(answers(view, kernel) == nil)
        view.applied(through: LogIndex(9), 3, isRestored: true)
        #expect(answers(view, kernel) == 3)
    }

    @Test func `stamps of what is not applied bound what may have ended`() {
        var view = view()
        view.appended(LogIndex(6), .none, stamp: 50)
        view.appended(LogIndex(7), .none, stamp: 40)
        #expect(view.pendingTime == 50)
        view.applied(through: LogIndex(7), 1)
        #expect(view.pendingTime == 0)
    }

    @Test func `marks tell names apart`() {
        var marks: Set<UInt64> = []
        for number in 0..<20_000 { marks.insert(NameChange.mark(Array("default/kernel-\(number)".utf8))) }
        for length in 0..<40 { marks.insert(NameChange.mark([UInt8](repeating: 0, count: length))) }
        #expect(marks.count == 20_040)
    }
}
