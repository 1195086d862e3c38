import Coordination
import EsperTypes
import Testing

@Suite struct RequestTests {
    private func client(_ replica: inout Replica) -> ClientID {
        guard case .clientRegistered(let client) = replica.run(.registerClient) else { fatalError("no client") }
        return client
    }

    private func put(_ value: String) -> Command {
        .put(.init(key: "k".bytes, value: value.bytes, returnsPrevious: true))
    }

    @Test func `a request proposed again gets its first answer and is executed once`() throws {
        var replica = Replica()
        let client = client(&replica)
        replica.run(put("before"))
        let request = RequestID(client: client, sequence: 1)
        let first = replica.reply(put("a"), request: request)
        replica.run(put("meanwhile"))
        replica = Replica(try restored(replica.machine))
        let second = replica.reply(put("a"), request: request)
        #expect(first == second)
        #expect(replica.output.results[0].isDuplicate)
        #expect(replica.get("k") == "meanwhile")
    }

    @Test func `a refusal too is the answer`() {
        var replica = Replica()
        let client = client(&replica)
        let request = RequestID(client: client, sequence: 1)
        let lock = Command.acquireLock(.init(name: "a", session: SessionID(50)))
        let first = replica.reply(lock, request: request)
        #expect(first.result == .refused(.sessionNotFound(SessionID(50))))
        #expect(replica.reply(lock, request: request) == first)
    }

    @Test func `requests may overtake each other`() {
        var replica = Replica()
        let client = client(&replica)
        for sequence in [5, 2, 9, 1] as [UInt64] {
            #expect(replica.run(put("\(sequence)"), request: .init(client: client, sequence: sequence)).refusal == nil)
            #expect(!replica.output.results[0].isDuplicate)
        }
        replica.run(put("x"), request: .init(client: client, sequence: 2))
        #expect(replica.output.results[0].isDuplicate)
        #expect(replica.get("k") == "1")
    }

    @Test func `acknowledged answers are forgotten and their requests never executed again`() {
        var replica = Replica()
        let client = client(&replica)
        for sequence in 1...3 as ClosedRange<UInt64> {
            replica.run(put("\(sequence)"), request: .init(client: client, sequence: sequence))
        }
        replica.run(put("4"), request: .init(client: client, sequence: 4, acknowledgedThrough: 2))
        let late = replica.run(put("x"), request: .init(client: client, sequence: 2))
        #expect(late == .refused(.requestExpired(through: 2)))
        #expect(late.refusal?.outcome == .unknown)
        replica.run(put("x"), request: .init(client: client, sequence: 3))
        #expect(replica.output.results[0].isDuplicate)
        #expect(replica.get("k") == "4")
    }

    @Test func `a client keeps 256 answers`() {
        var replica = Replica()
        let client = client(&replica)
        for sequence in 1...257 as ClosedRange<UInt64> {
            replica.run(put("\(sequence)"), request: .init(client: client, sequence: sequence))
        }
        #expect(
            replica.run(put("x"), request: .init(client: client, sequence: 1)) == .refused(.requestExpired(through: 1)))
        replica.run(put("x"), request: .init(client: client, sequence: 2))
        #expect(replica.output.results[0].isDuplicate)
    }

    @Test func `a client that is not registered is told that the outcome is unknown`() {
        var replica = Replica()
        let result = replica.run(put("a"), request: .init(client: ClientID(9), sequence: 1))
        #expect(result == .refused(.clientUnknown(ClientID(9))))
        #expect(result.refusal?.outcome == .unknown)
        #expect(replica.get("k") == nil)
    }

    @Test func `a sequence at or below the acknowledged ones is refused`() {
        var replica = Replica()
        let client = client(&replica)
        #expect(
            replica.run(put("a"), request: .init(client: client, sequence: 3, acknowledgedThrough: 3))
                == .refused(.invalid(.requestSequence)))
        #expect(replica.run(put("a"), request: .init(client: client, sequence: 3)) == .put(PutReply()))
    }

    @Test func `beyond the bound the clients longest unused are forgotten`() {
        var table = RequestTable()
        for id in 1...UInt64(CoordinationLimits.clients) { table.register(ClientID(id), owner: "", at: LogIndex(id)) }
        _ = table.judge(.init(client: ClientID(1), sequence: 1), at: LogIndex(70_000))
        #expect(table.clients.count == CoordinationLimits.clients)
        table.register(ClientID(70_001), owner: "", at: LogIndex(70_001))
        #expect(table.clients.count == CoordinationLimits.clients / 16 * 15)
        #expect(table.clients.value(for: 1) != nil)
        #expect(table.clients.value(for: 70_001) != nil)
        #expect(table.clients.value(for: 2) == nil)
    }

    @Test func `bytes of answers are bounded over all clients`() {
        var table = RequestTable()
        let value = [UInt8](repeating: 1, count: 50_000)
        let kept = KeyValue(key: [1], value: value, createRevision: Revision(2), modRevision: Revision(2), version: 1)
        for id in 1...40 as ClosedRange<UInt64> { table.register(ClientID(id), owner: "", at: LogIndex(id)) }
        for round in 1...60 as ClosedRange<UInt64> {
            for id in 1...40 as ClosedRange<UInt64> {
                let request = RequestID(client: ClientID(id), sequence: round)
                guard case .execute = table.judge(request, at: LogIndex(100 + round * 40 + id)) else { continue }
                let reply = CommandReply(
                    index: LogIndex(1), revision: Revision(1), result: .put(PutReply(previous: kept)))
                table.keep(reply, for: request)
                #expect(table.bytes <= CoordinationLimits.replyBytes)
            }
        }
        var sum = 0
        for (_, client) in table.clients.cursor() { for answer in client.answers { sum += answer.cost } }
        #expect(sum == table.bytes)
    }
}
