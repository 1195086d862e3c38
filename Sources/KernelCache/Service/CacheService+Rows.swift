import CacheCore
import Catalog
import Coordination
package import EsperTypes
import Logging
import Metrics
import RaftRuntime

/// What the catalog's rows tell of names, against what the cluster has agreed on. Rows are written anew from that, and nothing ever
/// from them.
///
/// A row counts only when the catalog has been told all that the name has been through, and tells something else; and only when a second look,
/// at what is agreed by then, shows the same. Both are taken at an entry that a quorum has confirmed after the row was read, so that a row can be
/// late, but never ahead.
extension CacheService {
    /// A row that tells something else of a name than what is bound.
    package struct WrongRow: Hashable, Sendable {
        package enum Fault: String, CaseIterable, Sendable {
            /// There is none, and something is bound.
            case missing
            /// Of an older version.
            case older
            /// Of a version that the name has never had.
            case newer
            /// Of the right version, with another content or state.
            case differing
            /// Something is bound by it, and nothing is.
            case surplus
        }

        package var name: [UInt8]
        package var fault: Fault
        /// By how many versions it is off; a version that should not be there is off by all of itself.
        package var distance: UInt64

        package init(name: [UInt8], fault: Fault, distance: UInt64) {
            self.name = name
            self.fault = fault
            self.distance = distance
        }
    }

    /// Some of the names, in order.
    package struct RowPage: Sendable {
        package var compared = 0
        package var wrong: [WrongRow] = []
        package var repaired = 0
        /// Where the next page begins, after it; nil: this is the last.
        package var next: [UInt8]?
    }

    /// Of names above `first`; an empty page where no catalog is told of names.
    ///
    /// - Parameter limit: of names that the cluster knows.
    package func compareRows(
        after first: [UInt8]?, limit: Int, repairs: Bool, deadline: Instant
    ) async throws(CacheFailure) -> RowPage {
        guard let rows, let settled = try await names.settled(deadline: deadline) else { return RowPage() }
        let known = names.records(after: first, limit: limit).map(\.name)
        var page = RowPage(next: known.count < limit ? nil : known.last)
        let found: [BindingTable.Row]
        do throws(CatalogError) {
            found = try await rows.rows(
                after: first, through: page.next, and: known, within: deadline - NodeClock.now())
        } catch { throw Self.unreadable(error) }
        var all = Set(known).union(found.map(\.name))
        if found.count == BindingTable.maximumRows, let last = found.last?.name {
            // As far as the rows go.
            all = all.filter { !last.precedes($0) }
            page.next = last
        }
        page.compared = all.count
        let suspects = try await judge(all, found, settled: settled, deadline)
        if suspects.isEmpty { return page }
        guard let settled = try await names.settled(deadline: deadline) else { return page }
        let again: [BindingTable.Row]
        do throws(CatalogError) {
            again = try await rows.rows(of: suspects.map(\.0.name), within: deadline - NodeClock.now())
        } catch { throw Self.unreadable(error) }
        let judged = try await judge(Set(suspects.map(\.0.name)), again, settled: settled, deadline)
        page.wrong = judged.map(\.0)
        for wrong in page.wrong {
            counters.wrongRows(wrong.fault).add()
            counters.rowViolations.record(wrong.distance)
        }
        if repairs {
            do throws(CatalogError) {
                for part in judged.map(\.1).parts(of: Self.repairedAtOnce) {
                    page.repaired += try await rows.repair(part, within: deadline - NodeClock.now())
                }
            } catch { throw Self.unreadable(error) }
            counters.repairedRows.add(UInt64(page.repaired))
        }
        return page
    }

    private static let repairedAtOnce = 256

    private static func unreadable(_ error: CatalogError) -> CacheFailure {
        CacheFailure(.tierUnavailable, "the catalog's rows of names: \(error)")
    }

    /// - Parameters:
    ///   - found: rows of these names, read after `settled` was known.
    ///   - settled: what was changed later may not have come to the catalog yet.
    private func judge(
        _ names: Set<[UInt8]>, _ found: [BindingTable.Row], settled: LogIndex, _ deadline: Instant
    ) async throws(CacheFailure) -> [(WrongRow, BindingTable.Repair)] {
        // From here on this node knows all that any row tells.
        _ = try await self.names.confirmedMap(deadline: deadline)
        let rows = Dictionary(found.map { ($0.name, $0) }) { $1 }
        return names.sorted { $0.precedes($1) }.compactMap { name in
            let (row, record) = (rows[name], self.names.record(name))
            if let record, record.version > settled { return nil }
            let right =
                record.map { BindingTable.Row(name, $0) }
                ?? row.map { BindingTable.Row(nothingAt: name, version: min($0.version, settled)) }
            guard let right, row != right, row != nil || right.state != .tombstone else { return nil }
            let fault: WrongRow.Fault
            switch (row?.version, record?.version) {
            // Of a name that was forgotten, nothing is left to compare with.
            case (_, nil): if row?.state == .tombstone { return nil } else { fault = .surplus }
            case (nil, _): fault = .missing
            case (let found?, let version?):
                fault = found < version ? .older : found > version ? .newer : .differing
            }
            let (one, other) = (row?.version.rawValue ?? 0, record?.version.rawValue ?? 0)
            return (
                WrongRow(name: name, fault: fault, distance: max(one, other) - min(one, other)),
                BindingTable.Repair(right, tiers: record?.tiers ?? [], found: row?.version)
            )
        }
    }
}
