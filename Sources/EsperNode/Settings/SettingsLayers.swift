import Yams

/// The value of one setting as it was written, and where.
struct WrittenValue: Sendable, Equatable {
    enum Content: Sendable, Equatable {
        case scalar(String)
        case list([WrittenValue])
        case mapping([String: WrittenValue])
    }

    var content: Content
    /// For messages: `node.yaml:12`, `environment ESPER_NODE_NAME` or `--name`.
    var origin: String
}

/// Settings as written, from the layers that may hold them; a later layer covers an earlier one.
struct SettingsLayers: Sendable {
    private(set) var values: [String: WrittenValue] = [:]
    private(set) var problems: [SettingsProblem] = []

    /// The name of the environment variable that covers a key: `raft.heartbeat` is `ESPER_NODE_RAFT_HEARTBEAT`.
    static func environmentName(for key: String) -> String {
        "ESPER_NODE_" + key.uppercased().map { $0 == "." ? "_" : String($0) }.joined()
    }

    /// Adds a settings file; nested mappings become dotted keys.
    mutating func add(yaml text: String, named file: String) {
        let root: Node?
        do {
            root = try Yams.compose(yaml: text)
        } catch {
            problems.append(SettingsProblem(key: file, message: "is not YAML: \(error)"))
            return
        }
        guard let root else { return }
        guard case .mapping(let mapping) = root else {
            problems.append(SettingsProblem(key: file, message: "must be a mapping of settings"))
            return
        }
        add(mapping, below: "", file: file)
    }

    /// Adds the variables that cover known scalar keys.
    mutating func add(environment: [String: String], keys: some Sequence<String>) {
        for key in keys {
            let name = Self.environmentName(for: key)
            if let text = environment[name] {
                values[key] = WrittenValue(content: .scalar(text), origin: "environment \(name)")
            }
        }
    }

    /// Adds `--set KEY=VALUE` style overrides.
    mutating func add(overrides: [(key: String, value: String)]) {
        for (key, value) in overrides {
            values[key] = WrittenValue(content: .scalar(value), origin: "--set \(key)")
        }
    }

    private mutating func add(_ mapping: Node.Mapping, below prefix: String, file: String) {
        for (keyNode, node) in mapping {
            guard let name = keyNode.string else {
                problems.append(
                    SettingsProblem(key: "\(file):\(keyNode.mark?.line ?? 0)", message: "a key must be text"))
                continue
            }
            let key = prefix.isEmpty ? name : "\(prefix).\(name)"
            if case .mapping(let inner) = node {
                add(inner, below: key, file: file)
            } else if values[key] != nil {
                problems.append(SettingsProblem(key: key, message: "stands twice in \(file)"))
            } else {
                values[key] = Self.written(node, file: file)
            }
        }
    }

    private static func written(_ node: Node, file: String) -> WrittenValue {
        let origin = "\(file):\(node.mark?.line ?? 0)"
        switch node {
        case .scalar(let scalar):
            return WrittenValue(content: .scalar(scalar.string), origin: origin)
        case .sequence(let sequence):
            return WrittenValue(content: .list(sequence.map { written($0, file: file) }), origin: origin)
        case .mapping(let mapping):
            var fields: [String: WrittenValue] = [:]
            for (key, value) in mapping { fields[key.string ?? ""] = written(value, file: file) }
            return WrittenValue(content: .mapping(fields), origin: origin)
        case .alias:
            return WrittenValue(content: .scalar(""), origin: origin)
        }
    }
}

/// One thing that is wrong with the settings, in the words of whoever wrote them.
public struct SettingsProblem: Sendable, Hashable, CustomStringConvertible {
    /// The setting, dotted, or the file.
    public var key: String
    public var message: String

    public var description: String { "\(key): \(message)" }
}

/// Everything that is wrong with the settings, at once; one line each.
public struct InvalidSettings: Error, Sendable, CustomStringConvertible {
    public var problems: [SettingsProblem]

    public var description: String { problems.map(\.description).joined(separator: "\n") }
}
