/// Which server owns which slot of a cluster, as far as it is known.
package struct SlotMap: Equatable, Sendable {
    package typealias Endpoint = RedisSettings.Endpoint

    /// The owners, each once.
    package private(set) var masters: [Endpoint] = []
    /// For each slot its owner's place among them; -1: not known.
    private var owners = [Int16](repeating: -1, count: HashSlot.count)

    /// Of nothing yet.
    package init() {}

    /// - Parameters:
    ///   - slots: the answer to CLUSTER SLOTS.
    ///   - asked: the server that gave it: one that does not know its own name leaves its host empty.
    /// - Returns: nil when it is no such answer.
    package init?(_ slots: RedisReply, from asked: Endpoint) {
        guard case .array(let ranges) = slots else { return nil }
        for range in ranges {
            guard case .array(let fields) = range, fields.count >= 3, case .integer(let first) = fields[0],
                case .integer(let last) = fields[1], case .array(let master) = fields[2], master.count >= 2,
                case .integer(let port) = master[1], (1...65_535).contains(port), first >= 0, first <= last,
                last < HashSlot.count
            else { return nil }
            var host = asked.host
            if case .bytes(let name) = master[0], !name.isEmpty, name != [UInt8(ascii: "?")] {
                host = String(decoding: name, as: UTF8.self)
            }
            let place = place(of: Endpoint(host: host, port: Int(port)))
            for slot in Int(first)...Int(last) { owners[slot] = place }
        }
    }

    package subscript(slot: Int) -> Endpoint? {
        let place = owners[slot]
        return place < 0 ? nil : masters[Int(place)]
    }

    /// Another owner of one slot, as a redirection says.
    package mutating func move(_ slot: Int, to endpoint: Endpoint) { owners[slot] = place(of: endpoint) }

    /// -1 when there are as many owners as slots already: some of them own nothing any more.
    private mutating func place(of endpoint: Endpoint) -> Int16 {
        if let place = masters.firstIndex(of: endpoint) { return Int16(place) }
        guard masters.count < HashSlot.count else { return -1 }
        masters.append(endpoint)
        return Int16(masters.count - 1)
    }
}
