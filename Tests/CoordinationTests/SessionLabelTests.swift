import Coordination
import EsperTypes
import Testing

@Suite struct SessionLabelTests {
    private func sessions(_ machine: StateMachine) -> [SessionInfo] {
        guard case .sessions(let sessions, _) = machine.answer(.sessions(after: nil, limit: 0)).result else {
            return []
        }
        return sessions
    }

    @Test func `a session keeps its label, also through a snapshot`() throws {
        var replica = Replica()
        replica.run(.grantSession(ttl: .seconds(5), label: "trainer 7"))
        replica.run(.grantSession(ttl: .seconds(5)))
        #expect(sessions(replica.machine).map(\.label) == ["trainer 7", ""])
        let copy = try restored(replica.machine)
        #expect(sessions(copy) == sessions(replica.machine))
        #expect(copy.stateHash == replica.machine.stateHash)
    }

    @Test func `a label is bounded`() {
        var replica = Replica()
        func grant(_ bytes: Int) -> CommandResult {
            replica.run(.grantSession(ttl: .seconds(5), label: String(repeating: "x", count: bytes)))
        }
        guard case .sessionGranted = grant(CoordinationLimits.labelBytes) else { return wrongAnswer() }
        let tooLong = Command.grantSession(
            ttl: .seconds(5), label: String(repeating: "x", count: CoordinationLimits.labelBytes + 1))
        #expect(throws: InvalidCommand.labelTooLong(CoordinationLimits.labelBytes + 1)) { try tooLong.validate() }
    }

    @Test func `a snapshot of format 1, which has no labels, is restored`() throws {
        var replica = Replica()
        let session = replica.session()
        replica.put("key", "value", session: session)
        // What format 1 wrote for this state: the same without the empty label of the one session.
        var stream: [UInt8] = []
        for chunk in SnapshotEncoder(replica.machine) { stream += chunk }
        let old = try SnapshotFormatOne.rewritten(stream, principal: replica.principal)
        var decoder = SnapshotDecoder()
        try decoder.feed(old)
        let machine = try decoder.finish()
        #expect(sessions(machine).map(\.id) == [session])
        #expect(sessions(machine).map(\.label) == [""])
        #expect(machine.revision == replica.machine.revision && machine.applyChain == replica.machine.applyChain)
        // Its chain was made by another rule, until the next epoch.
        #expect(machine.comparableChain == nil && replica.machine.comparableChain != nil)
        // A newer one is not.
        stream[8] = 8
        var newer = SnapshotDecoder()
        #expect(throws: SnapshotError.unsupportedVersion(8)) { try newer.feed(stream) }
    }
}

/// Rewrites a stream with one unlabelled session as format 1 had it.
enum SnapshotFormatOne {
    struct Unexpected: Error {}

    static func rewritten(_ stream: [UInt8], principal: String) throws -> [UInt8] {
        var frames = try self.frames(of: stream)
        guard frames.count == 2, let end = frames.popLast() else { throw Unexpected() }
        var writer = ByteWriter()
        writer.write(principal)
        writer.write("")
        let (labelled, bare) = (writer.bytes, writer.bytes.dropLast(emptyLabel.count))
        let body = frames[0]
        guard let place = body.indices.first(where: { body[$0...].starts(with: labelled) }) else { throw Unexpected() }
        // Nor did it say by which entry the session began.
        let shorter = Array(body[..<place]) + bare + body[(place + labelled.count + 8)...]
        var digest = Digest64()
        digest.add(shorter)
        var hash = ByteWriter()
        hash.write(digest.value)
        // And there were no names of the cache to be counted.
        return Array(stream[..<8]) + [1, 0] + frame(shorter) + frame(end.dropLast(16) + hash.bytes)
    }

    private static var emptyLabel: [UInt8] {
        var writer = ByteWriter()
        writer.write("")
        return writer.bytes
    }

    static func frames(of stream: [UInt8]) throws -> [[UInt8]] {
        var frames: [[UInt8]] = []
        var reader = ByteReader(Array(stream[10...]))
        while reader.remaining > 0 {
            let length = try reader.read(UInt32.self)
            _ = try reader.read(UInt32.self)
            frames.append(try reader.readRaw(Int(length)))
        }
        return frames
    }

    static func frame(_ body: some Sequence<UInt8>) -> [UInt8] {
        let body = Array(body)
        var writer = ByteWriter()
        writer.write(UInt32(body.count))
        writer.write(CRC32C.checksum(body))
        return writer.bytes + body
    }
}
