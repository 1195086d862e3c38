import CacheCore
package import EsperTypes
import Logging
import Metrics
import RaftRuntime

/// An outside look at the promise that every node tells the same of a name: it asks, compares and tells an operator. Of what it finds
/// only rows of the catalog are repaired.
extension CacheService {
    /// A node that told something else than was true all the while.
    package struct Violation: Hashable, Sendable {
        package var name: [UInt8]
        package var node: NodeID
        /// By how many versions it was off; 0: it told another content or state of the right one.
        package var distance: UInt64

        package init(name: [UInt8], node: NodeID, distance: UInt64) {
            self.name = name
            self.node = node
            self.distance = distance
        }
    }

    /// Asks every node what the names stand for, and this one before and after. What changed in between says nothing; what did not
    /// is what every node must have told.
    package func audit(_ names: [[UInt8]], deadline: Instant) async -> [Violation] {
        let before = await bindings(names, deadline: deadline)
        var told: [NodeID: [NameReading]] = [:]
        for node in placements.others {
            // Who does not answer tells nothing wrong.
            told[node] = try? await peers.bindings(names, at: node, deadline: deadline)
        }
        let after = await bindings(names, deadline: deadline)
        var violations: [Violation] = []
        for (number, name) in names.enumerated() where before[number] == after[number] && before[number] != .unknown {
            counters.audited.add()
            for (node, readings) in told.sorted(by: { $0.key < $1.key }) {
                guard readings[number] != .unknown, readings[number] != before[number] else { continue }
                let (right, wrong) = (before[number].version, readings[number].version)
                violations.append(Violation(name: name, node: node, distance: max(right, wrong) - min(right, wrong)))
            }
        }
        return violations
    }

    /// One node does it, name after name, until the task is cancelled.
    func keepAuditing() async {
        var last: [UInt8]?
        var lastRow: [UInt8]?
        while true {
            // Cancelled: the loop ends.
            try? await Task.sleep(for: options.auditInterval)
            if Task.isCancelled { return }
            guard let first = ShardID(0), coordinates(first) else { continue }
            let deadline = NodeClock.now() + .seconds(10)
            lastRow = await auditRows(after: lastRow, deadline)
            guard
                let page = try? await names.list(
                    prefix: [], after: last, limit: options.auditedNames, principal: "node/" + options.node,
                    deadline: deadline)
            else { continue }
            last = page.more ? page.bindings.last?.name : nil
            let violations = await audit(page.bindings.map(\.name), deadline: deadline)
            for violation in violations { counters.auditViolations.record(violation.distance) }
            guard let worst = violations.max(by: { $0.distance < $1.distance }) else { continue }
            logger.error(
                "nodes do not tell the same of a name",
                metadata: [
                    "count": "\(violations.count)", "peer.id": "\(worst.node)", "cache.distance": "\(worst.distance)",
                ])
        }
    }

    /// - Returns: where the next rows begin.
    private func auditRows(after last: [UInt8]?, _ deadline: Instant) async -> [UInt8]? {
        do throws(CacheFailure) {
            let page = try await compareRows(
                after: last, limit: options.auditedNames, repairs: true, deadline: deadline)
            guard let worst = page.wrong.max(by: { $0.distance < $1.distance }) else { return page.next }
            logger.error(
                "the catalog tells something else of names than what is bound",
                metadata: [
                    "count": "\(page.wrong.count)", "repaired": "\(page.repaired)", "cache.fault": "\(worst.fault)",
                    "cache.distance": "\(worst.distance)",
                ])
            return page.next
        } catch {
            logger.debug("the catalog's rows are not compared now", metadata: ["error": "\(error.message)"])
            return last
        }
    }
}

extension NameReading {
    /// 0: there is none.
    fileprivate var version: UInt64 {
        if case .bound(let version, _, _) = self { version.rawValue } else { 0 }
    }
}
