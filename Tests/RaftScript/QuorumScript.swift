import EsperTypes
import RaftCore

/// The commands `committed` and `vote`: what a majority, or two, decide.
///
/// `cfg` and `cfgj` name the voters of the halves (`cfgj=zero`: a joint quorum with an empty half). `idx` and `votes` give, in
/// the order in which voters are first named, what each has acknowledged or answered; `_` is nothing.
struct QuorumScript {
    private let line: Int
    private let command: String
    private var incoming: [NodeID] = []
    private var outgoing: [NodeID] = []
    private var isJoint = false
    private var indexes: [NodeID: LogIndex] = [:]
    private var votes: [NodeID: Bool] = [:]

    init(_ script: ScriptCase) throws(ScriptError) {
        line = script.line
        command = script.command
        var given: [String] = []
        for argument in script.arguments {
            switch argument.key {
            case "cfg": incoming = try Self.nodes(argument.values, line)
            case "cfgj":
                isJoint = true
                outgoing = argument.values == ["zero"] ? [] : try Self.nodes(argument.values, line)
            case "idx" where command == "committed": given = argument.values
            case "votes" where command == "vote": given = argument.values
            default: throw ScriptError(line: line, reason: "unknown argument \(argument)")
            }
        }
        var voters: [NodeID] = []
        for voter in incoming + outgoing where !voters.contains(voter) { voters.append(voter) }
        guard voters.count == given.count else {
            throw ScriptError(line: line, reason: "\(given.count) values for \(voters.count) voters")
        }
        for (voter, value) in zip(voters, given) where value != "_" { try take(value, of: voter) }
    }

    private static func nodes(_ values: [String], _ line: Int) throws(ScriptError) -> [NodeID] {
        var nodes: [NodeID] = []
        for value in values {
            guard let number = UInt64(value) else { throw ScriptError(line: line, reason: "no voter: \(value)") }
            nodes.append(NodeID(number))
        }
        return nodes
    }

    private mutating func take(_ value: String, of voter: NodeID) throws(ScriptError) {
        switch (command, value) {
        case ("vote", "y"): votes[voter] = true
        case ("vote", "n"): votes[voter] = false
        case ("committed", _):
            guard let index = UInt64(value), index > 0 else { fallthrough }
            indexes[voter] = LogIndex(index)
        default: throw ScriptError(line: line, reason: "\(value) is nothing that a voter could say")
        }
    }

    func answer() -> String {
        let quorum = JointQuorum(incoming: incoming, outgoing: outgoing)
        let mirrored = JointQuorum(incoming: outgoing, outgoing: incoming)
        if command == "vote" {
            let result = quorum.result { votes[$0] }
            let other = mirrored.result { votes[$0] }
            return (result == other ? "" : "\(other.published) <-- via symmetry\n") + "\(result.published)\n"
        }
        let committed = reached(quorum)
        var text = table
        if reached(mirrored) != committed { text += "\(reached(mirrored)) <-- via symmetry\n" }
        let alone = isJoint ? committed : reached(JointQuorum(incoming: incoming, outgoing: incoming))
        if alone != committed { text += "\(alone) <-- via self-joint quorum\n" }
        return text + committed + "\n"
    }

    private func reached(_ quorum: JointQuorum) -> String {
        quorum.reached { indexes[$0] ?? .zero }.map { "\($0)" } ?? "∞"
    }

    /// One line for each voter, with a bar as long as the number of voters that are behind it.
    private var table: String {
        let voters = Array(Set(incoming + outgoing)).sorted()
        if voters.isEmpty { return "<empty majority quorum>" }
        var text = Self.spaces(voters.count) + "    idx\n"
        for voter in voters {
            let index = indexes[voter] ?? .zero
            let behind = voters.count { indexes[$0] ?? .zero < index }
            if indexes[voter] == nil {
                text += "?" + Self.spaces(voters.count)
            } else {
                text += String(repeating: "x", count: behind) + ">" + Self.spaces(voters.count - behind)
            }
            let number = "\(index)"
            text += " " + Self.spaces(5 - number.count) + number
            text += "    (id=" + String(voter.rawValue, radix: 16) + ")\n"
        }
        return text
    }

    private static func spaces(_ count: Int) -> String { String(repeating: " ", count: max(0, count)) }
}

extension VoteResult {
    fileprivate var published: String {
        switch self {
        case .pending: "VotePending"
        case .won: "VoteWon"
        case .lost: "VoteLost"
        }
    }
}
