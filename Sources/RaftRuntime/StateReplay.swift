public import Coordination
import EsperTypes
package import RaftCore
public import RaftStorage

/// The state that a log without a snapshot leads to, made while the rest of the log is still being read.
///
/// What a node finds in its log need not be committed, so nobody is shown this state before its last entry is known to be. Then
/// everything before that entry is committed too (Log Matching, §5.3), and applying it all again would lead to the same state. Should
/// the entry turn out to be in no log, the state is dropped, and everything is applied as it is committed.
public struct StateReplay: Sendable {
    package private(set) var state = StateMachine()
    private(set) var log = AppliedLog()
    private var output = ApplyOutput()
    private var hasEnded = false

    /// What happened while entries were applied interests nobody, and is let go of after so many.
    private static let stride = 256

    package init() {}

    /// Applies entries, in the order in which the log's files hold them.
    package mutating func read(_ entries: [Entry]) {
        for entry in entries {
            guard !hasEnded else { return }
            // The log begins behind a snapshot, or a later leader has replaced what was read before.
            guard entry.index == state.applied.index.next else {
                hasEnded = true
                return
            }
            state.apply(entry, into: &output)
            log.add(entry)
            if entry.index.rawValue % UInt64(Self.stride) == 0 { output.removeAll() }
        }
    }

    /// Whether the log still holds the last entry that was applied here, and so all of them. Where a snapshot took the place of entries, what
    /// the files hold before it and after it need not be one log.
    package func matches(_ restored: RestoredState) -> Bool {
        guard restored.snapshot == nil else { return false }
        let offset = state.applied.index.distance(from: restored.compactedThrough.index) - 1
        return restored.entries.indices.contains(offset) && restored.entries[offset].id == state.applied
    }
}

extension StateMachine {
    /// Applies a committed entry of any kind.
    mutating func apply(_ entry: Entry, into output: inout ApplyOutput) {
        switch entry.kind {
        case .command, .guardedCommand:
            apply(index: entry.index, term: entry.term, payload: entry.payload, into: &output)
        case .noop, .configuration: skip(index: entry.index, term: entry.term)
        }
    }
}

/// What a start makes of a data directory.
public struct RecoveredNode: Sendable {
    public var log: DataDirectory.Recovery
    /// As of the newest snapshot; empty without one.
    public var state: StateMachine
    /// What the log beyond the state leads to, should all of it be committed.
    public var replay: StateReplay?
}

extension DataDirectory {
    /// Reads the log and the newest snapshot. Without a snapshot, what the log leads to is worked out meanwhile.
    ///
    /// - Throws: as ``recover(checking:reading:)``.
    public func recoverNode() throws(StorageError) -> RecoveredNode {
        var snapshot: StateMachine?
        var replay = StateReplay()
        let log = try recover { [snapshots] descriptor throws(StorageError) in
            snapshot = try StateMachine(restoring: descriptor, from: snapshots)
        } reading: {
            replay.read($0)
        }
        let state = log.restored.snapshot == nil ? nil : snapshot
        return RecoveredNode(
            log: log, state: state ?? StateMachine(), replay: replay.matches(log.restored) ? replay : nil)
    }
}
