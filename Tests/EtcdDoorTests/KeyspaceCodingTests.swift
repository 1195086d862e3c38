import Coordination
import EsperTypes
import EtcdDoor
import EtcdProtocol
import FoundationEssentials
import GRPCTransport
import RaftRuntime
import SwiftProtobuf
import RaftCore
import Testing

/// What is read and written by hand, against the generated messages: both must say the same of any message.
@Suite struct KeyspaceCodingTests {
    private static let messages = 2_000

    @Test func requestsAreReadAsTheGeneratedMessagesHaveThem() throws {
        var random = SeededGenerator(seed: 1)
        for _ in 0..<Self.messages {
            let range = EtcdRangeRequest.random(&random)
            let question = try RangeQuestion(WireFields(range.serializedBytes()))
            #expect(question.request == RangeRequest(generated: range))
            #expect(question.isSerializable == range.serializable)
            let put = EtcdPutRequest.random(&random)
            #expect(try Command.Put(WireFields(put.serializedBytes())) == Command.Put(generated: put))
            let delete = EtcdDeleteRangeRequest.random(&random)
            #expect(try Command.Delete(WireFields(delete.serializedBytes())) == Command.Delete(generated: delete))
            let transaction = EtcdTxnRequest.random(&random, depth: 0)
            #expect(
                try TransactionRequest(WireFields(transaction.serializedBytes())).transaction
                    == Transaction(generated: transaction))
        }
    }

    /// A later value of a field replaces an earlier one, whatever the order, and what is unknown is passed over.
    @Test func fieldsMayComeTwiceAndFromTheFuture() throws {
        var unknown = WireWriter()
        unknown.number(99, UInt64(7))
        unknown.element(100, [1, 2, 3])
        let first =
            try EtcdPutRequest.with {
                $0.key = Data("old".utf8)
                $0.lease = 9
            }.serializedBytes() as [UInt8]
        let second = try EtcdPutRequest.with { $0.key = Data("new".utf8) }.serializedBytes() as [UInt8]
        let put = try Command.Put(WireFields(first + unknown.bytes + [0x79] + [UInt8](repeating: 1, count: 8) + second))
        #expect(put.key == Array("new".utf8))
        #expect(put.session == SessionID(9))
    }

    /// Changed bytes are refused or mean what the generated messages take them for; neither ends the process.
    @Test func damagedRequestsMeanTheSameOrNothing() throws {
        var random = SeededGenerator(seed: 2)
        for _ in 0..<Self.messages {
            var bytes = try EtcdTxnRequest.random(&random, depth: 0).serializedBytes() as [UInt8]
            guard !bytes.isEmpty else { continue }
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            guard let read = try? TransactionRequest(WireFields(bytes)).transaction,
                let generated = try? EtcdTxnRequest(serializedBytes: bytes),
                let expected = try? Transaction(generated: generated)
            else { continue }
            #expect(read == expected)
        }
    }

    @Test(
        arguments: [
            [0x0a], [0x0a, 0x05, 0x61], [0x08], [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            [0x00],
            [0x0f], [0x09, 0x01],
        ] as [[UInt8]])
    func brokenMessagesAreRefused(bytes: [UInt8]) {
        #expect(throws: WireFields.Malformed.self) { try Command.Put(WireFields(bytes)) }
        #expect(throws: (any Error).self) { try EtcdPutRequest(serializedBytes: bytes) }
    }

    @Test func transactionsHaveALimitOfDepth() throws {
        var message: [UInt8] = []
        for _ in 0..<40 {
            var operation = WireWriter()
            operation.element(4, message)
            var transaction = WireWriter()
            transaction.element(2, operation.bytes)
            message = transaction.bytes
        }
        #expect(throws: (any Error).self) { try TransactionRequest(WireFields(message)) }
    }

    @Test func answersSayWhatTheGeneratedMessagesSay() throws {
        var random = SeededGenerator(seed: 3)
        let header = EtcdResponseHeader.with {
            $0.clusterID = .max
            $0.memberID = 3
            $0.revision = 1 << 40
            $0.raftTerm = 200
        }
        for _ in 0..<Self.messages {
            let range = RangeReply.random(&random)
            var expected = EtcdRangeResponse(generated: range)
            expected.header = header
            #expect(try EtcdRangeResponse(serializedBytes: EtcdAnswer.range(range, header)) == expected)
            let transaction = TransactionReply.random(&random, depth: 0)
            var answer = EtcdTxnResponse(generated: transaction, at: header.revision)
            answer.header = header
            #expect(
                try EtcdTxnResponse(serializedBytes: EtcdAnswer.transaction(transaction, header)) == answer)
            let events = (0..<Int.random(in: 0...3, using: &random)).map { _ in WatchEvent.random(&random) }
            let isFragment = Bool.random(using: &random)
            let told = EtcdWatchResponse.with {
                $0.header = header
                $0.watchID = 77
                $0.fragment = isFragment
                $0.events = events.map(EtcdEvent.init(generated:))
            }
            #expect(
                try EtcdWatchResponse(
                    serializedBytes: EtcdAnswer.events(events[...], watch: 77, isFragment: isFragment, header)) == told)
        }
        let alive = try EtcdLeaseKeepAliveResponse(serializedBytes: EtcdAnswer.keepAlive(-5, seconds: 60, header))
        #expect(alive.header == header && alive.id == -5 && alive.ttl == 60)
    }
}

// MARK: - Any message

extension SeededGenerator {
    /// Lengths on both sides of what one byte can say.
    fileprivate mutating func bytes(from shortest: Int = 0) -> Data {
        let longest = Int.random(in: 0..<8, using: &self) == 0 ? 20_000 : 200
        return Data(
            (0..<Int.random(in: shortest...longest, using: &self)).map { _ in UInt8.random(in: 0...255, using: &self) })
    }

    fileprivate mutating func number() -> Int64 {
        [0, 1, -1, 127, 128, .max, .min, Int64.random(in: 0...100_000, using: &self)].randomElement(using: &self) ?? 0
    }

    fileprivate mutating func end() -> Data {
        switch Int.random(in: 0..<3, using: &self) {
        case 0: Data()
        case 1: Data([0])
        default: bytes()
        }
    }
}

extension EtcdRangeRequest {
    fileprivate static func random(_ random: inout SeededGenerator) -> Self {
        .with {
            $0.key = random.bytes(from: 1)
            $0.rangeEnd = random.end()
            $0.limit = random.number()
            $0.revision = random.number()
            $0.sortOrder = SortOrder.allCases.randomElement(using: &random) ?? .none
            $0.sortTarget = SortTarget.allCases.randomElement(using: &random) ?? .key
            $0.serializable = .random(using: &random)
            $0.keysOnly = .random(using: &random)
            $0.countOnly = .random(using: &random)
            $0.minModRevision = random.number()
            $0.maxModRevision = random.number()
            $0.minCreateRevision = random.number()
            $0.maxCreateRevision = random.number()
        }
    }
}

extension EtcdPutRequest {
    fileprivate static func random(_ random: inout SeededGenerator) -> Self {
        .with {
            $0.key = random.bytes(from: 1)
            $0.ignoreValue = .random(using: &random)
            $0.ignoreLease = .random(using: &random)
            if !$0.ignoreValue { $0.value = random.bytes() }
            if !$0.ignoreLease { $0.lease = random.number() }
            $0.prevKv = .random(using: &random)
        }
    }
}

extension EtcdDeleteRangeRequest {
    fileprivate static func random(_ random: inout SeededGenerator) -> Self {
        .with {
            $0.key = random.bytes(from: 1)
            $0.rangeEnd = random.end()
            $0.prevKv = .random(using: &random)
        }
    }
}

extension EtcdTxnRequest {
    fileprivate static func random(_ random: inout SeededGenerator, depth: Int) -> Self {
        func operations(_ random: inout SeededGenerator) -> [EtcdRequestOp] {
            (0..<Int.random(in: 0...3, using: &random)).map { _ in
                switch Int.random(in: 0..<(depth < 3 ? 4 : 3), using: &random) {
                case 0: .with { $0.requestRange = .random(&random) }
                case 1: .with { $0.requestPut = .random(&random) }
                case 2: .with { $0.requestDeleteRange = .random(&random) }
                default: .with { $0.requestTxn = .random(&random, depth: depth + 1) }
                }
            }
        }
        return .with {
            $0.compare = (0..<Int.random(in: 0...2, using: &random)).map { _ in
                .with {
                    $0.key = random.bytes(from: 1)
                    $0.rangeEnd = random.end()
                    $0.result = EtcdCompare.CompareResult.allCases.randomElement(using: &random) ?? .equal
                    $0.target = EtcdCompare.CompareTarget.allCases.randomElement(using: &random) ?? .version
                    // Often another operand than the target names, which then counts for nothing.
                    switch Int.random(in: 0..<6, using: &random) {
                    case 0: $0.version = random.number()
                    case 1: $0.createRevision = random.number()
                    case 2: $0.modRevision = random.number()
                    case 3: $0.value = random.bytes()
                    case 4: $0.lease = random.number()
                    default: break
                    }
                }
            }
            $0.success = operations(&random)
            $0.failure = operations(&random)
        }
    }
}

extension KeyValue {
    fileprivate static func random(_ random: inout SeededGenerator) -> Self {
        KeyValue(
            key: [UInt8](random.bytes()), value: [UInt8](random.bytes()),
            createRevision: Revision(.random(in: 0...1000, using: &random)),
            modRevision: Revision(.random(in: 1...UInt64(Int64.max), using: &random)),
            version: .random(in: 1...300, using: &random),
            session: Bool.random(using: &random) ? nil : SessionID(.random(in: 1 ... .max, using: &random)))
    }
}

extension WatchEvent {
    fileprivate static func random(_ random: inout SeededGenerator) -> Self {
        let now = KeyValue.random(&random)
        let previous = Bool.random(using: &random) ? KeyValue.random(&random) : nil
        guard Bool.random(using: &random) else { return WatchEvent(keyValue: now, previous: previous) }
        return WatchEvent(
            keyValue: KeyValue(
                key: now.key, value: [], createRevision: .zero, modRevision: now.modRevision, version: 0),
            previous: previous)
    }
}

extension RangeReply {
    fileprivate static func random(_ random: inout SeededGenerator) -> Self {
        RangeReply(
            keyValues: (0..<Int.random(in: 0...3, using: &random)).map { _ in .random(&random) },
            more: .random(using: &random), count: .random(in: 0...1_000_000, using: &random))
    }
}

extension TransactionReply {
    fileprivate static func random(_ random: inout SeededGenerator, depth: Int) -> Self {
        TransactionReply(
            succeeded: .random(using: &random),
            replies: (0..<Int.random(in: 0...3, using: &random)).map { _ in
                switch Int.random(in: 0..<(depth < 3 ? 4 : 3), using: &random) {
                case 0: .range(.random(&random))
                case 1: .put(PutReply(previous: Bool.random(using: &random) ? .random(&random) : nil))
                case 2: .delete(DeleteReply(count: 2, previous: [.random(&random), .random(&random)]))
                default: .transaction(.random(&random, depth: depth + 1))
                }
            })
    }
}
