import Coordination
import EsperTypes
import Testing

/// A state machine with the bookkeeping that every test needs: indexes, terms and proposals.
struct Replica {
    var machine = StateMachine()
    var output = ApplyOutput()
    var term = Term(1)
    var principal = "client/test"
    private var proposals: UInt64 = 0

    init() {}

    init(_ machine: StateMachine) { self.machine = machine }

    /// Applies a command as the next entry.
    ///
    /// - Returns: what it answered; ``output`` holds what this entry did.
    @discardableResult
    mutating func run(_ command: Command, request: RequestID? = nil, time: UInt64 = 0) -> CommandResult {
        reply(command, request: request, time: time).result
    }

    @discardableResult
    mutating func reply(_ command: Command, request: RequestID? = nil, time: UInt64 = 0) -> CommandReply {
        proposals += 1
        let envelope = Envelope(
            time: time, proposal: ProposalID(origin: NodeID(1), boot: 7, number: proposals), request: request,
            principal: principal, command: command)
        apply(envelope.encoded())
        return output.results.last!.reply
    }

    mutating func apply(_ payload: [UInt8]) {
        output.removeAll()
        machine.apply(index: machine.applied.index.next, term: term, payload: payload, into: &output)
    }

    @discardableResult
    mutating func put(_ key: String, _ value: String, session: SessionID? = nil) -> CommandResult {
        run(.put(.init(key: key.bytes, value: value.bytes, session: session)))
    }

    mutating func session(ttl: Duration = .seconds(10)) -> SessionID {
        guard case .sessionGranted(let session, _) = run(.grantSession(ttl: ttl)) else { fatalError("no session") }
        return session
    }

    func get(_ key: String, at revision: Revision = .zero) -> String? {
        guard case .range(let reply) = machine.answer(.range(.init(.key(key.bytes), revision: revision))).result
        else { return nil }
        return reply.keyValues.first.map { String(decoding: $0.value, as: UTF8.self) }
    }

    func range(_ request: RangeRequest) -> RangeReply? {
        guard case .range(let reply) = machine.answer(.range(request)).result else { return nil }
        return reply
    }
}

extension String {
    var bytes: [UInt8] { Array(utf8) }
}

/// A small generator with a printable seed (SplitMix64).
struct Seeded: RandomNumberGenerator {
    private var state: UInt64

    init(_ seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
        return mixed ^ mixed >> 31
    }
}

/// Restores a copy through the snapshot stream, cut into pieces of `piece` bytes.
func restored(_ machine: StateMachine, piece: Int = 1000) throws -> StateMachine {
    var stream: [UInt8] = []
    for chunk in SnapshotEncoder(machine) { stream += chunk }
    var decoder = SnapshotDecoder()
    for start in stride(from: 0, to: stream.count, by: piece) {
        try decoder.feed(Array(stream[start..<min(stream.count, start + piece)]))
    }
    return try decoder.finish()
}

/// For the `else` of a guard that takes an answer apart.
func wrongAnswer(sourceLocation: SourceLocation = #_sourceLocation) {
    Issue.record("the answer is of another kind", sourceLocation: sourceLocation)
}
