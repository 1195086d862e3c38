import EsperTypes
import RaftCore

/// The smallest machine that can be judged: registers, and a table of the last answer of every client.
struct RegisterMachine: ReplicatedMachine {
    private struct Session: Hashable {
        var client: UInt64
        var sequence: UInt64
        var outcome: MachineAnswer.Outcome
    }

    private(set) var applied = LogIndex.zero
    private(set) var chain: UInt64 = 0
    /// By key; nil is absent.
    private var values: [Int64?] = []
    /// In order of first use.
    private var sessions: [Session] = []

    init() {}

    static let registersClients = false

    static func encode(_ request: ClientRequest, padding: Int, time: UInt64) -> [UInt8] {
        var writer = ByteWriter(capacity: 64 + padding)
        writer.write(request.attempt)
        writer.write(request.identity)
        writer.write(request.sequence)
        switch request.command {
        case .register, .read: writer.write(UInt8(0))
        case .write(let key, let value):
            writer.write(UInt8(1))
            writer.write(UInt32(key))
            writer.write(value)
        case .compareAndSet(let key, let old, let new):
            writer.write(UInt8(2))
            writer.write(UInt32(key))
            writer.write(optional: old) { $0.write($1) }
            writer.write(new)
        case .delete(let key):
            writer.write(UInt8(3))
            writer.write(UInt32(key))
        }
        writer.write([UInt8](repeating: 0, count: padding))
        return writer.bytes
    }

    mutating func apply(_ entry: Entry, into answers: inout [MachineAnswer]) {
        applied = entry.index
        mix(entry.index.rawValue ^ entry.term.rawValue << 32)
        guard entry.kind == .command else { return }
        var reader = ByteReader(entry.payload)
        guard let attempt = try? reader.read(UInt64.self), let client = try? reader.read(UInt64.self),
            let sequence = try? reader.read(UInt64.self)
        else { return }
        let outcome: MachineAnswer.Outcome
        var isDuplicate = false
        if let place = sessions.firstIndex(where: { $0.client == client }) {
            if sessions[place].sequence == sequence {
                outcome = sessions[place].outcome
                isDuplicate = true
            } else if sessions[place].sequence > sequence {
                outcome = .refused(isUnknown: true)
            } else {
                outcome = execute(&reader)
                sessions[place].sequence = sequence
                sessions[place].outcome = outcome
            }
        } else {
            outcome = execute(&reader)
            sessions.append(Session(client: client, sequence: sequence, outcome: outcome))
        }
        mix(attempt)
        answers.append(MachineAnswer(attempt: attempt, outcome: outcome, isDuplicate: isDuplicate))
    }

    private mutating func execute(_ reader: inout ByteReader) -> MachineAnswer.Outcome {
        guard let tag = try? reader.read(UInt8.self), tag > 0, let number = try? reader.read(UInt32.self) else {
            return .refused(isUnknown: false)
        }
        let key = Int(number)
        while values.count <= key { values.append(nil) }
        switch tag {
        case 1:
            values[key] = try? reader.read(Int64.self)
            mix(UInt64(bitPattern: values[key] ?? 0))
            return .written
        case 2:
            let old = try? reader.readOptional { (inner: inout ByteReader) throws(DecodingError) in
                try inner.read(Int64.self)
            }
            let new = try? reader.read(Int64.self)
            let matches = values[key] == old
            if matches { values[key] = new }
            mix(matches ? 1 : 2)
            return .compared(matches)
        default:
            let existed = values[key] != nil
            values[key] = nil
            mix(existed ? 3 : 4)
            return .deleted(existed: existed)
        }
    }

    private mutating func mix(_ value: UInt64) {
        chain = (chain ^ value) &* 0x9fb2_1c65_1e98_df25
        chain ^= chain >> 29
    }

    func read(key: Int) -> Int64? { key < values.count ? values[key] : nil }

    // MARK: Snapshots

    func snapshot() -> [UInt8] {
        var writer = ByteWriter()
        writer.write(applied)
        writer.write(chain)
        writer.write(array: values) { $0.write(optional: $1) { $0.write($1) } }
        writer.write(array: sessions) { writer, session in
            writer.write(session.client)
            writer.write(session.sequence)
            switch session.outcome {
            case .written: writer.write(UInt8(1))
            case .compared(let matches): writer.write(UInt8(matches ? 3 : 2))
            case .deleted(let existed): writer.write(UInt8(existed ? 5 : 4))
            case .refused, .registered: writer.write(UInt8(0))
            }
        }
        return writer.bytes
    }

    init(snapshot: [UInt8]) throws(SimulationFailure) {
        do throws(DecodingError) {
            var reader = ByteReader(snapshot)
            applied = try reader.read()
            chain = try reader.read()
            values = try reader.readArray { (reader: inout ByteReader) throws(DecodingError) in
                try reader.readOptional { (reader: inout ByteReader) throws(DecodingError) in
                    try reader.read(Int64.self)
                }
            }
            sessions = try reader.readArray { (reader: inout ByteReader) throws(DecodingError) in
                let (client, sequence) = (try reader.read(UInt64.self), try reader.read(UInt64.self))
                let outcome: MachineAnswer.Outcome =
                    switch try reader.read(UInt8.self) {
                    case 1: .written
                    case 2: .compared(false)
                    case 3: .compared(true)
                    case 4: .deleted(existed: false)
                    case 5: .deleted(existed: true)
                    default: .refused(isUnknown: false)
                    }
                return Session(client: client, sequence: sequence, outcome: outcome)
            }
            try reader.finish()
        } catch {
            throw SimulationFailure(.driverContract, "a snapshot cannot be read: \(error)")
        }
    }

    var stateHash: UInt64 { UInt64(CRC32C.checksum(snapshot())) }
}
