import GRPCTransport

/// The requests and answers of the busiest loads, written and read by hand: a load generator that spends its time on messages
/// measures itself, and it shares the processors with what it measures.
enum EtcdMessages {
    /// `PutRequest`.
    static func put(_ key: [UInt8], _ value: [UInt8]) -> [UInt8] {
        var writer = WireWriter(capacity: key.count + value.count + 16)
        writer.put(key, value)
        return writer.bytes
    }

    /// `RangeRequest` of one key.
    static func range(_ key: [UInt8], isSerializable: Bool) -> [UInt8] {
        var writer = WireWriter(capacity: key.count + 16)
        writer.bytes(1, key)
        writer.flag(7, isSerializable)
        return writer.bytes
    }

    /// `TxnRequest`: a put, if the key still has the value that is expected.
    static func swap(_ key: [UInt8], from expected: [UInt8]?, to value: [UInt8]) -> [UInt8] {
        var writer = WireWriter(capacity: 2 * key.count + value.count + (expected?.count ?? 0) + 48)
        if let expected {
            writer.message(1) {
                $0.number(2, Int64(3))
                $0.bytes(3, key)
                $0.bytes(7, expected)
            }
        }
        writer.message(2) { $0.message(2) { $0.put(key, value) } }
        return writer.bytes
    }

    static func holdsOneKey(rangeAnswer: [UInt8]) -> Bool {
        var fields = WireFields(rangeAnswer)
        var keys = 0
        while let (field, value) = try? fields.next() {
            if field == 2, case .bytes = value { keys += 1 }
        }
        return keys == 1
    }

    static func hasSucceeded(transactionAnswer: [UInt8]) -> Bool {
        var fields = WireFields(transactionAnswer)
        while let (field, value) = try? fields.next() {
            if field == 2, case .number(let flag) = value { return flag != 0 }
        }
        return false
    }
}

extension WireWriter {
    fileprivate mutating func put(_ key: [UInt8], _ value: [UInt8]) {
        bytes(1, key)
        bytes(2, value)
    }
}
