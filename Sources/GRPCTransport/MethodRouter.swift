/// Resolves the `:path` of a call to a method and the service it belongs to.
///
/// Fixed when the server starts; a look-up hashes the path once and allocates nothing.
struct MethodRouter: Sendable {
    /// One method of one of the services.
    struct Route: Sendable {
        /// Position among the server's services.
        let service: Int
        /// The number under which the service knows it.
        let id: Int
        let kind: MethodTable.Kind
        let path: String
        let bytes: [UInt8]
    }

    let routes: [Route]
    private let slots: [Int32]
    /// `/package.Service/` and whose it is.
    private let prefixes: [(bytes: [UInt8], service: Int)]

    init(_ tables: [MethodTable]) {
        var routes: [Route] = []
        var prefixes: [(bytes: [UInt8], service: Int)] = []
        for (service, table) in tables.enumerated() {
            for method in table.methods {
                precondition(!routes.contains { $0.path == method.path }, "served twice: \(method.path)")
                let bytes = [UInt8](method.path.utf8)
                routes.append(
                    Route(service: service, id: method.id, kind: method.kind, path: method.path, bytes: bytes))
                let prefix = Self.prefix(bytes)
                if !prefixes.contains(where: { $0.bytes == prefix }) { prefixes.append((prefix, service)) }
            }
        }
        var count = 128
        while routes.count * 4 > count { count *= 2 }
        var slots = [Int32](repeating: -1, count: count)
        for (number, route) in routes.enumerated() {
            var slot = route.bytes.withUnsafeBufferPointer { Self.hash($0) } & (count - 1)
            while slots[slot] >= 0 { slot = (slot + 1) & (count - 1) }
            slots[slot] = Int32(number)
        }
        self.routes = routes
        self.slots = slots
        self.prefixes = prefixes
    }

    /// - Returns: the position in ``routes``.
    func find(_ path: UnsafeBufferPointer<UInt8>) -> Int? {
        var slot = Self.hash(path) & (slots.count - 1)
        while slots[slot] >= 0 {
            let number = Int(slots[slot])
            if routes[number].bytes.elementsEqual(path) { return number }
            slot = (slot + 1) & (slots.count - 1)
        }
        return nil
    }

    /// Who speaks for a path that leads nowhere: whoever has another method of the same name before the last slash,
    /// otherwise the first service.
    func owner(ofUnknown path: UnsafeBufferPointer<UInt8>) -> Int {
        prefixes.first { path.starts(with: $0.bytes) }?.service ?? 0
    }

    private static func prefix(_ path: [UInt8]) -> [UInt8] {
        [UInt8](path.prefix((path.lastIndex(of: UInt8(ascii: "/")) ?? 0) + 1))
    }

    /// FNV-1a; who chooses paths to collide still meets a table of a fixed few entries.
    private static func hash(_ bytes: UnsafeBufferPointer<UInt8>) -> Int {
        var value: UInt64 = 0xcbf2_9ce4_8422_2325
        for byte in bytes { value = (value ^ UInt64(byte)) &* 0x100_0000_01b3 }
        return Int(truncatingIfNeeded: value >> 8 & 0x7fff_ffff)
    }
}
