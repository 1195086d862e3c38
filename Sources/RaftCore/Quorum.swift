public import EsperTypes

/// What the votes seen so far say.
public enum VoteResult: Hashable, Sendable {
    case pending
    case won
    case lost
}

/// More than half of a set of voters (§5.2).
///
/// The majority of no voters agrees to everything and has won every vote, so that the absent half of a joint
/// quorum never decides.
public struct MajorityQuorum: Hashable, Sendable {
    /// Each voter once; the order does not matter.
    public let voters: [NodeID]

    public init(_ voters: [NodeID]) { self.voters = voters }

    /// How many voters a majority has; zero for no voters.
    public var size: Int { voters.isEmpty ? 0 : voters.count / 2 + 1 }

    /// The largest value that a majority of the voters has reached.
    ///
    /// With match indexes this is the committed index (§5.3), with read sequences the newest confirmed round, with
    /// instants the moment since when a majority has been heard.
    ///
    /// - Parameter value: what each voter has reached; called once for each.
    /// - Returns: nil for no voters: they set no bound.
    /// - Complexity: O(n²) for n voters, without allocation: n is at most a dozen.
    @inlinable
    public func reached<Value: Comparable>(_ value: (NodeID) -> Value) -> Value? {
        guard !voters.isEmpty else { return nil }
        return withUnsafeTemporaryAllocation(of: Value.self, capacity: voters.count) { sorted in
            // Insertion sort, largest first; the majority-th value is reached by that many voters.
            for (count, voter) in voters.enumerated() {
                let new = value(voter)
                var place = count
                sorted.initializeElement(at: count, to: new)
                while place > 0, sorted[place - 1] < new {
                    sorted[place] = sorted[place - 1]
                    place -= 1
                }
                sorted[place] = new
            }
            let result = sorted[voters.count / 2]
            sorted.prefix(voters.count).deinitialize()
            return result
        }
    }

    /// Whether the votes decide.
    ///
    /// - Parameter vote: true granted, false refused, nil not answered yet.
    public func result(_ vote: (NodeID) -> Bool?) -> VoteResult {
        var granted = 0
        var refused = 0
        for voter in voters {
            switch vote(voter) {
            case true?: granted += 1
            case false?: refused += 1
            case nil: break
            }
        }
        if granted >= size { return .won }
        return voters.count - refused < size ? .lost : .pending
    }
}

/// Both majorities of a joint configuration (§6); outside joint consensus the outgoing half is empty.
public struct JointQuorum: Hashable, Sendable {
    public let incoming: MajorityQuorum
    public let outgoing: MajorityQuorum

    public init(incoming: [NodeID], outgoing: [NodeID] = []) {
        self.incoming = MajorityQuorum(incoming)
        self.outgoing = MajorityQuorum(outgoing)
    }

    /// The largest value that both majorities have reached; nil when there are no voters at all.
    @inlinable
    public func reached<Value: Comparable>(_ value: (NodeID) -> Value) -> Value? {
        guard let new = incoming.reached(value) else { return outgoing.reached(value) }
        guard let old = outgoing.reached(value) else { return new }
        return min(new, old)
    }

    /// Won when both halves have won, lost when either has lost.
    public func result(_ vote: (NodeID) -> Bool?) -> VoteResult {
        switch (incoming.result(vote), outgoing.result(vote)) {
        case (.won, .won): .won
        case (.lost, _), (_, .lost): .lost
        case (.pending, _), (_, .pending): .pending
        }
    }
}
