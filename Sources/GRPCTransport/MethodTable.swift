/// The methods of one service, and the numbers under which it knows them.
///
/// Fixed when the server starts. The services behind one server have a table each; their numbers may overlap, their paths not.
public struct MethodTable: Sendable {
    /// What the two ends of a call send.
    public enum Kind: Sendable {
        /// One message each.
        case unary
        /// One request, any number of answers.
        case serverStreaming
        /// Any number of requests; any number of answers, one among them.
        case streaming
    }

    /// One entry.
    public struct Method: Sendable {
        public let id: Int
        public let path: String
        public let kind: Kind
    }

    public private(set) var methods: [Method] = []

    public init() {}

    /// Adds a method under a number of the service's choosing.
    public mutating func add(_ path: String, id: Int, kind: Kind) {
        precondition(path.hasPrefix("/"), "a method's path begins with a slash: \(path)")
        precondition(!methods.contains { $0.path == path }, "registered twice: \(path)")
        methods.append(Method(id: id, path: path, kind: kind))
    }
}
