import EsperTypes

extension RestoredState {
    /// What cannot be true of any node that kept the rules, in a few words; nil when a node may start on it.
    ///
    /// Storage asks before it hands the state over: checksums tell what the disk did, and not whether a program with a fault wrote it.
    ///
    /// - Complexity: O(entries).
    package var contradiction: String? {
        var last = compactedThrough
        for entry in entries {
            guard entry.index == last.index.next, entry.term >= last.term else {
                return "entry \(entry.id) follows \(last)"
            }
            if entry.kind == .configuration, (try? Configuration(decoding: entry.payload))?.isValid != true {
                return "entry \(entry.id) holds no configuration"
            }
            last = entry.id
        }
        guard last.term <= hardState.term else { return "the log ends with \(last) in term \(hardState.term)" }
        if let lostThrough, lostThrough >= hardState.term {
            return "promises up to term \(lostThrough) are lost in term \(hardState.term)"
        }
        let snapshotID = snapshot?.id ?? .zero
        guard compactedThrough.index <= snapshotID.index, snapshotID.index <= last.index else {
            return "the log from \(compactedThrough) to \(last) does not meet the snapshot at \(snapshotID)"
        }
        let position = snapshotID.index.distance(from: compactedThrough.index)
        let met = position == 0 ? compactedThrough : entries[position - 1].id
        guard met == snapshotID else { return "the log has \(met) where the snapshot ends with \(snapshotID)" }
        return nil
    }
}
