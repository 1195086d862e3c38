import TestSupport

/// The catalog's audit trail, as it was found.
struct AuditTrail {
    struct Row {
        var index: UInt64
        var ordinal: UInt64
        var kind: String
        var subject: String
        var token: UInt64?
        var at: Double
        var recorded: Double

        var event: AuditedWork.Event { .init(kind: kind, subject: subject, token: token) }
    }

    /// In the order of the log.
    var rows: [Row]

    init(rows: [Row]) { self.rows = rows }

    init(_ server: PrivatePostgreSQL) async throws {
        let text = try await server.sql(
            """
            SELECT log_index, ordinal, kind, subject, coalesce(details->>'token', ''),
                extract(epoch FROM at), extract(epoch FROM recorded_at)
            FROM esper.audit_event ORDER BY log_index, ordinal
            """)
        rows = text.split(separator: "\n").compactMap { line in
            let fields = line.split(separator: "|", omittingEmptySubsequences: false).map(String.init)
            guard fields.count == 7, let index = UInt64(fields[0]), let ordinal = UInt64(fields[1]),
                let at = Double(fields[5]), let recorded = Double(fields[6])
            else { return nil }
            return Row(
                index: index, ordinal: ordinal, kind: fields[2], subject: fields[3], token: UInt64(fields[4]), at: at,
                recorded: recorded)
        }
    }

    /// Everything that is wrong with it, given what clients know.
    func problems(knowing work: AuditedWork) -> [String] {
        var problems: [String] = []
        var found: [AuditedWork.Event: [UInt64]] = [:]
        for row in rows { found[row.event, default: []].append(row.index) }
        for (event, index) in work.acknowledged {
            let indices = found[event] ?? []
            if indices.count != 1 { problems.append("\(event) was acknowledged and is there \(indices.count) times") }
            if index != 0, indices.first != index { problems.append("\(event) was at \(index) and is at \(indices)") }
        }
        // Whatever its name: a key is put once, a token given and taken back once, a session opened and ended once.
        for (event, indices) in found where indices.count > 1 && Self.happensOnce(event.kind) {
            problems.append("\(event) is there \(indices.count) times, at \(indices)")
        }
        for event in found.keys where event.kind == "key.put" {
            if work.acknowledged[event] == nil, !work.unknownKeys.contains(event.subject) {
                problems.append("\(event) was never asked for, or was refused")
            }
        }
        return problems + orderProblems() + lockProblems()
    }

    private static func happensOnce(_ kind: String) -> Bool {
        ["key.put", "lock.", "election.won", "election.joined", "election.resigned", "session."]
            .contains { kind.hasPrefix($0) }
    }

    /// Later in the log is later on the cluster's clock, and was not stored before what came earlier.
    private func orderProblems() -> [String] {
        zip(rows, rows.dropFirst()).compactMap { earlier, later in
            if later.at < earlier.at { return "\(later.index) happened before \(earlier.index)" }
            if later.recorded < earlier.recorded { return "\(later.index) was stored before \(earlier.index)" }
            return nil
        }
    }

    /// Of one lock or election: granted, then given back, then granted again, with ever higher tokens.
    private func lockProblems() -> [String] {
        var holders: [String: UInt64] = [:]
        var highest: [String: UInt64] = [:]
        var problems: [String] = []
        for row in rows {
            guard let token = row.token else { continue }
            switch row.kind {
            case "lock.acquired", "election.won":
                if let holder = holders[row.subject] {
                    problems.append("\(row.subject): \(token) granted while \(holder) held it")
                }
                if token <= highest[row.subject] ?? 0 { problems.append("\(row.subject): \(token) is not the highest") }
                (holders[row.subject], highest[row.subject]) = (token, token)
            case "lock.released":
                if holders.removeValue(forKey: row.subject) != token {
                    problems.append("\(row.subject): \(token) given back by who did not hold it")
                }
            case "election.resigned":
                // Candidates that were never elected resign as well.
                if holders[row.subject] == token { holders[row.subject] = nil }
            default: break
            }
        }
        return problems
    }
}
