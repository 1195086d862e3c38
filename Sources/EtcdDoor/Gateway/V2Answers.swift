import APIDoor
package import Coordination
import EsperTypes
import FoundationEssentials

/// A node of the v2 tree, as answers show it.
package struct V2Node: Encodable, Sendable {
    package var key: String
    var value: String?
    package var dir: Bool?
    package var nodes: [V2Node]?
    var modifiedIndex: UInt64
    var createdIndex: UInt64
    var ttl: UInt64?

    static func leaf(_ keyValue: KeyValue) -> V2Node { leaf(keyValue, ttl: nil) }

    static func leaf(_ keyValue: KeyValue, ttl: UInt64?) -> V2Node {
        V2Node(
            key: String(decoding: keyValue.key, as: UTF8.self), value: String(decoding: keyValue.value, as: UTF8.self),
            modifiedIndex: keyValue.modRevision.rawValue, createdIndex: keyValue.createRevision.rawValue, ttl: ttl)
    }

    static func gone(_ key: [UInt8], modified: Revision, created: Revision) -> V2Node {
        V2Node(
            key: String(decoding: key, as: UTF8.self), modifiedIndex: modified.rawValue, createdIndex: created.rawValue)
    }

    /// - Parameter below: every key below it, in order.
    package static func directory(_ key: [UInt8], _ below: [KeyValue], isRecursive: Bool) -> V2Node {
        let depth = key.count + 1
        var children: [V2Node] = []
        var rest = below[...]
        while let first = rest.first {
            guard let slash = first.key.dropFirst(depth).firstIndex(of: 0x2f) else {
                children.append(.leaf(first))
                rest.removeFirst()
                continue
            }
            let path = Array(first.key[..<slash])
            let inside = rest.prefix { $0.key.starts(with: path + [0x2f]) }
            rest = rest.dropFirst(inside.count)
            var child = directory(path, isRecursive ? Array(inside) : [], isRecursive: isRecursive)
            if !isRecursive { child.nodes = nil }
            child.createdIndex = inside.map(\.createRevision.rawValue).min() ?? 0
            child.modifiedIndex = child.createdIndex
            children.append(child)
        }
        return V2Node(
            key: key.isEmpty ? "/" : String(decoding: key, as: UTF8.self), dir: true, nodes: children,
            modifiedIndex: children.map(\.createdIndex).min() ?? 0,
            createdIndex: children.map(\.createdIndex).min() ?? 0)
    }
}

/// What a request of the v2 API came to.
struct V2Answer: Encodable, Sendable {
    var action: String
    var node: V2Node
    var previous: V2Node?
    var index: Revision

    private enum CodingKeys: String, CodingKey {
        case action, node
        case previous = "prevNode"
    }

    func answer(_ status: Int) -> GatewayAnswer {
        // Names, numbers and text can always be written.
        let json = (try? JSONEncoder().encode(self)).map { [UInt8]($0) } ?? []
        var answer = GatewayAnswer(status: status, body: .whole(json))
        answer.fields = [("X-Etcd-Index", "\(index.rawValue)")]
        return answer
    }
}

/// How a request of the v2 API fails: etcd's numbers and words, which clients look at.
struct V2Failure: Error, Encodable, Sendable {
    var status: Int
    var code: Int
    var message: String
    var cause: String
    private var index: UInt64 = 0

    private enum CodingKeys: String, CodingKey {
        case code = "errorCode"
        case message, cause, index
    }

    init(status: Int, code: Int, message: String, cause: String) {
        self.status = status
        self.code = code
        self.message = message
        self.cause = cause
    }

    static func notFound(_ key: [UInt8]) -> V2Failure {
        V2Failure(status: 404, code: 100, message: "Key not found", cause: String(decoding: key, as: UTF8.self))
    }

    static func exists(_ key: [UInt8]) -> V2Failure {
        V2Failure(status: 412, code: 105, message: "Key already exists", cause: String(decoding: key, as: UTF8.self))
    }

    static func notAFile(_ key: [UInt8]) -> V2Failure {
        V2Failure(status: 403, code: 102, message: "Not a file", cause: String(decoding: key, as: UTF8.self))
    }

    static func invalid(_ cause: String) -> V2Failure {
        V2Failure(status: 400, code: 209, message: "Invalid field", cause: cause)
    }

    static let notPermitted = V2Failure(
        status: 401, code: 110, message: "The request requires user authentication", cause: "Insufficient credentials")

    static let cleared = V2Failure(
        status: 400, code: 401, message: "The event in requested index is outdated and cleared", cause: "compacted")

    /// - Parameter found: what the key held when a condition did not hold.
    static func refused(_ key: [UInt8], _ fields: V2Fields, found: TransactionReply.OperationReply?) -> V2Failure {
        guard case .range(let range) = found, let held = range.keyValues.first else { return notFound(key) }
        if fields["prevExist"] == "false" { return exists(key) }
        let conditions = [
            (fields["prevValue"], String(decoding: held.value, as: UTF8.self)),
            (fields["prevIndex"], "\(held.modRevision.rawValue)"),
        ]
        let unmet = conditions.compactMap { wanted, held in
            wanted.flatMap { $0 == held ? nil : "[\($0) != \(held)]" }
        }
        return V2Failure(status: 412, code: 101, message: "Compare failed", cause: unmet.joined(separator: " "))
    }

    func answer(at revision: Revision) -> GatewayAnswer {
        var told = self
        told.index = revision.rawValue
        let json = (try? JSONEncoder().encode(told)).map { [UInt8]($0) } ?? []
        var answer = GatewayAnswer(status: status, body: .whole(json))
        answer.fields = [("X-Etcd-Index", "\(revision.rawValue)")]
        return answer
    }
}
