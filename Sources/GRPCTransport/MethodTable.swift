/// Resolves the `:path` of a call to the number under which its service knows it.
///
/// Fixed when the server starts; a look-up hashes the path once and allocates nothing.
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
        let bytes: [UInt8]
    }

    private var slots: [Int32]
    private(set) var methods: [Method] = []

    public init() { slots = Array(repeating: -1, count: 128) }

    /// Adds a method under a number of the service's choosing.
    public mutating func add(_ path: String, id: Int, kind: Kind) {
        precondition(path.hasPrefix("/"), "a method's path begins with a slash: \(path)")
        precondition(!methods.contains { $0.path == path }, "registered twice: \(path)")
        methods.append(Method(id: id, path: path, kind: kind, bytes: [UInt8](path.utf8)))
        if methods.count * 4 > slots.count { slots = Array(repeating: -1, count: slots.count * 2) }
        for index in slots.indices { slots[index] = -1 }
        for (index, method) in methods.enumerated() {
            var slot = method.bytes.withUnsafeBufferPointer { Self.hash($0) } & (slots.count - 1)
            while slots[slot] >= 0 { slot = (slot + 1) & (slots.count - 1) }
            slots[slot] = Int32(index)
        }
    }

    func find(_ path: UnsafeBufferPointer<UInt8>) -> (id: Int, kind: Kind)? {
        var slot = Self.hash(path) & (slots.count - 1)
        while slots[slot] >= 0 {
            let index = Int(slots[slot])
            if methods[index].bytes.elementsEqual(path) { return (methods[index].id, methods[index].kind) }
            slot = (slot + 1) & (slots.count - 1)
        }
        return nil
    }

    /// FNV-1a; who chooses paths to collide still meets a table of a fixed few entries.
    private static func hash(_ bytes: UnsafeBufferPointer<UInt8>) -> Int {
        var value: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in bytes { value = (value ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return Int(truncatingIfNeeded: value >> 8 & 0x7fff_ffff)
    }
}
