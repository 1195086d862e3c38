public import EsperTypes
package import RaftCore

/// A state machine's digest after one entry of the log.
package struct StateMark: Hashable, Sendable {
    package var index: LogIndex
    package var hash: UInt64

    package init(index: LogIndex, hash: UInt64) {
        self.index = index
        self.hash = hash
    }
}

/// Compares what this node's state machine has become with what the peers say of theirs, at equal indexes.
///
/// Every node marks its digest at each multiple of ``interval``, which is the same index everywhere, and whenever it reports
/// itself, which is an equal index while nothing is written. A value: it takes marks and returns what follows from them.
///
/// The voters judge. A node stops only when a majority of them (of both halves of a joint configuration) agree on another
/// digest at one index; it decides that of itself, so no node has the power to stop another. Without such a majority a
/// difference is told and nothing more: nobody knows who is right.
package struct StateAgreement: Sendable {
    /// What one more mark shows.
    package enum Finding: Hashable, Sendable {
        /// A majority of the voters agrees on another digest than ours.
        case weDiffer(StateDifference)
        /// This peer's digest is not ours; `isOutvoted` when ours is the majority's.
        case peerDiffers(NodeID, StateDifference, isOutvoted: Bool)
        /// This peer differed, and agrees at a later index.
        case peerAgrees(NodeID)
    }

    /// Entries between two marks: at 20,000 entries a second 20 marks.
    package static let interval: UInt64 = 1024
    /// Marks that are kept of each node: a peer may lag by so many intervals and still be compared.
    package static let maximumMarks = 256
    /// Marks in one message, newest last: 16 bytes each.
    package static let maximumSent = 64

    private var own: [StateMark] = []
    private var peers: [NodeID: [StateMark]] = [:]
    /// Peers that were found to differ, and have not agreed since.
    package private(set) var differing: Set<NodeID> = []
    /// The highest index at which a peer agreed.
    package private(set) var agreedThrough: LogIndex = .zero
    /// What was marked since the last ``marksToSend()``.
    private var unsent = 0

    package init() {}

    /// Whether an entry at this index is marked by every node.
    package static func isMarked(_ index: LogIndex) -> Bool { index.rawValue % interval == 0 }

    // MARK: - Marks

    /// Our digest after an entry. Marks come in order; one that is there already changes nothing.
    package mutating func mark(
        _ mark: StateMark, id: NodeID, _ configuration: Configuration
    ) -> [Finding] {
        guard mark.index > own.last?.index ?? .zero else { return [] }
        own.append(mark)
        unsent += 1
        if own.count > Self.maximumMarks { own.removeFirst(own.count - Self.maximumMarks) }
        return peers.keys.sorted().flatMap { compare(mark, with: $0, id: id, configuration) }
    }

    /// What a peer says of itself, oldest first; repetitions change nothing.
    package mutating func marked(
        _ marks: [StateMark], by peer: NodeID, id: NodeID, _ configuration: Configuration
    ) -> [Finding] {
        var findings: [Finding] = []
        for mark in marks where mark.index > peers[peer]?.last?.index ?? .zero {
            peers[peer, default: []].append(mark)
            guard let ours = own.mark(at: mark.index) else { continue }
            findings += compare(ours, with: peer, id: id, configuration)
        }
        if let count = peers[peer]?.count, count > Self.maximumMarks {
            peers[peer]?.removeFirst(count - Self.maximumMarks)
        }
        return findings
    }

    /// Our marks since the last call, the newest ``maximumSent`` of them.
    package mutating func marksToSend() -> [StateMark] {
        defer { unsent = 0 }
        return Array(own.suffix(min(unsent, Self.maximumSent)))
    }

    /// For a peer that has heard nothing of us.
    package var newestMarks: [StateMark] { Array(own.suffix(Self.maximumSent)) }

    // MARK: - Beginnings

    /// Our state was replaced: what it was before is not compared any more.
    package mutating func stateRestored() {
        own.removeAll()
        unsent = 0
    }

    /// The peer may come back as another process: what it says then counts from the beginning.
    package mutating func forget(_ peer: NodeID) {
        peers[peer] = nil
        differing.remove(peer)
    }

    // MARK: - Judging

    private mutating func compare(
        _ ours: StateMark, with peer: NodeID, id: NodeID, _ configuration: Configuration
    ) -> [Finding] {
        guard let theirs = peers[peer]?.mark(at: ours.index) else { return [] }
        guard theirs.hash != ours.hash else {
            agreedThrough = max(agreedThrough, ours.index)
            return differing.remove(peer) == nil ? [] : [.peerAgrees(peer)]
        }
        let difference = StateDifference(index: ours.index, own: ours.hash, other: theirs.hash)
        let agreed = majority(at: ours, id: id, configuration)
        if let agreed, agreed != ours.hash {
            return [.weDiffer(StateDifference(index: ours.index, own: ours.hash, other: agreed))]
        }
        guard differing.insert(peer).inserted else { return [] }
        return [.peerDiffers(peer, difference, isOutvoted: agreed == ours.hash)]
    }

    /// The digest that a majority of the voters has at an index, if there is one.
    private func majority(at ours: StateMark, id: NodeID, _ configuration: Configuration) -> UInt64? {
        func hash(_ node: NodeID) -> UInt64? {
            node == id ? ours.hash : peers[node]?.mark(at: ours.index)?.hash
        }
        func majority(of voters: [NodeID]) -> UInt64? {
            let hashes = voters.compactMap(hash)
            return hashes.first { candidate in hashes.count { $0 == candidate } > voters.count / 2 }
        }
        let agreed = majority(of: configuration.incoming)
        guard configuration.isJoint else { return agreed }
        return agreed == majority(of: configuration.outgoing) ? agreed : nil
    }
}

/// Two state machines that applied the same entries and are not the same.
public struct StateDifference: Hashable, Sendable, CustomStringConvertible {
    /// The entry after which they differ: the first that was compared, at most ``StateAgreement/interval`` behind the one
    /// that made them differ.
    public var index: LogIndex
    public var own: UInt64
    public var other: UInt64

    public init(index: LogIndex, own: UInt64, other: UInt64) {
        self.index = index
        self.own = own
        self.other = other
    }

    /// The digests as sixteen hexadecimal digits.
    public var hashes: (own: String, other: String) { (Self.hexadecimal(own), Self.hexadecimal(other)) }

    public var description: String { "after entry \(index): \(hashes.own), not \(hashes.other)" }

    private static func hexadecimal(_ hash: UInt64) -> String {
        let digits = String(hash, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}

extension [StateMark] {
    /// The mark at an index; they are in order of it.
    fileprivate func mark(at index: LogIndex) -> StateMark? {
        var (low, high) = (0, count)
        while low < high {
            let middle = (low + high) / 2
            if self[middle].index < index { low = middle + 1 } else { high = middle }
        }
        return low < count && self[low].index == index ? self[low] : nil
    }
}
