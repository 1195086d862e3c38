import EsperTypes
import RaftCore

/// The commands `simple`, `enter-joint autoleave=…` and `leave-joint`, one after another on one configuration that
/// begins empty.
///
/// The input is a list of changes: `v1` makes 1 a voter, `l2` makes 2 a learner, `r3` removes 3, `u4` changes nothing; node 0
/// is skipped. The answer is the configuration, and what a leader would keep of each member; `next` tells in which case of
/// the file the member came in.
struct ConfigurationScript {
    private var configuration = Configuration.none
    /// The next index to send to each member.
    private var next: [NodeID: Int] = [:]
    private var lastIndex = 0

    mutating func answer(_ script: ScriptCase) throws(ScriptError) -> String {
        defer { lastIndex += 1 }
        let words = script.input.split { $0.isWhitespace }
        var changes: [ConfigurationChange] = []
        for word in words {
            if let change = try Self.change(word, at: script.line) { changes.append(change) }
        }
        let isEntering = script.command == "enter-joint"
        do throws(Changer.Failure) {
            let changer = Changer(configuration)
            let old = isEntering ? configuration.incoming : []
            switch script.command {
            case "simple": configuration = try changer.simple(changes)
            case "leave-joint" where !words.isEmpty: return "this command takes no input\n"
            case "leave-joint": configuration = try changer.leaveJoint()
            default: configuration = try changer.enterJoint(autoLeave: script.isAutoLeaving, changes)
            }
            follow(changes, old: old)
        } catch {
            return error.published(isEntering: isEntering) + "\n"
        }
        return configuration.published + "\n" + progress
    }

    private static func change(_ word: Substring, at line: Int) throws(ScriptError) -> ConfigurationChange? {
        guard let number = UInt64(word.dropFirst()) else {
            throw ScriptError(line: line, reason: "no change of membership: \(word)")
        }
        let node = NodeID(number)
        switch word.first {
        case _ where number == 0: return nil
        case "v": return .addVoter(node)
        case "l": return .addLearner(node)
        case "r": return .remove(node)
        case "u": return nil
        default: throw ScriptError(line: line, reason: "no change of membership: \(word)")
        }
    }

    /// Whoever is removed and comes back in one list begins anew, unless the old voters keep it.
    private mutating func follow(_ changes: [ConfigurationChange], old: [NodeID]) {
        for change in changes {
            switch change {
            case .remove(let node): if !old.contains(node) { next[node] = nil }
            case .addVoter(let node), .addLearner(let node): next[node] = next[node] ?? max(lastIndex, 1)
            case .demote, .replace: break
            }
        }
        next = next.filter { configuration.contains($0.key) }
    }

    private var progress: String {
        var text = ""
        for (node, next) in next.sorted(by: { $0.key < $1.key }) {
            text += "\(node.rawValue): StateProbe match=0 next=\(next)"
            text += configuration.isLearner(node) ? " learner\n" : "\n"
        }
        return text
    }
}

extension ScriptCase {
    fileprivate var isAutoLeaving: Bool { arguments.contains { $0.key == "autoleave" && $0.values == ["true"] } }
}

extension Configuration {
    /// In the words of the published files.
    fileprivate var published: String {
        func list(_ members: [NodeID]) -> String {
            "(" + members.map { String($0.rawValue, radix: 16) }.joined(separator: " ") + ")"
        }
        var text = "voters=" + list(incoming)
        if isJoint { text += "&&" + list(outgoing) }
        if !learners.isEmpty { text += " learners=" + list(learners) }
        if !learnersNext.isEmpty { text += " learners_next=" + list(learnersNext) }
        return text + (autoLeave ? " autoleave" : "")
    }
}

extension Changer.Failure {
    fileprivate func published(isEntering: Bool) -> String {
        switch self {
        case .alreadyJoint where isEntering: "config is already joint"
        case .alreadyJoint: "can't apply simple config change in joint config"
        case .notJoint: "can't leave a non-joint config"
        case .noVotersToJoin: "can't make a zero-voter config joint"
        case .removesAllVoters: "removed all voters"
        case .changesSeveralVoters: "more than one voter changed without entering joint config"
        }
    }
}
