public import EsperTypes

// Envelope format 1, little-endian:
//
//     0  version = 1       4  time            28  proposal number
//     1  flags             12  origin node     36  client, sequence, acknowledged-through, if flag 1 is set
//     2  principal bytes   20  boot nonce       …  principal, command
//
// The time stands at a fixed place because the leader stamps it into bytes that others encoded.

extension Envelope {
    static let version: UInt8 = 1
    private static let hasRequest: UInt8 = 1
    private static let timeOffset = 4
    static let headerBytes = 36

    /// The bytes for the log. The time stands at a fixed place: see ``stamp(_:into:)``.
    ///
    /// A principal longer than ``CoordinationLimits/principalBytes`` is cut.
    public func encoded() -> [UInt8] {
        var writer = ByteWriter(capacity: 128 + command.sizeHint)
        let principal = Array(principal.utf8.prefix(CoordinationLimits.principalBytes))
        writer.write(Self.version)
        writer.write(request == nil ? 0 : Self.hasRequest)
        writer.write(UInt16(principal.count))
        writer.write(time)
        writer.write(proposal.origin)
        writer.write(proposal.boot)
        writer.write(proposal.number)
        if let request {
            writer.write(request.client)
            writer.write(request.sequence)
            writer.write(request.acknowledgedThrough)
        }
        principal.withUnsafeBytes { writer.append($0) }
        command.encode(into: &writer)
        return writer.bytes
    }

    /// Reads what ``encoded()`` wrote; any other bytes throw and never trap.
    public init(decoding payload: [UInt8]) throws(DecodingError) {
        var reader = ByteReader(payload)
        let header = try EnvelopeHeader(from: &reader)
        self.init(
            time: header.time, proposal: header.proposal, request: header.request,
            principal: header.principal(in: payload), command: try Command(from: &reader))
        try reader.finish()
    }

    /// Writes the leader's clock into an encoded envelope, in place.
    ///
    /// - Returns: `false` when the bytes are too short to be an envelope.
    public static func stamp(_ time: UInt64, into payload: inout [UInt8]) -> Bool {
        guard payload.count >= headerBytes else { return false }
        payload.withUnsafeMutableBytes {
            $0.storeBytes(of: time.littleEndian, toByteOffset: timeOffset, as: UInt64.self)
        }
        return true
    }

    /// Reads the proposal of an encoded envelope without the rest; `nil` when the bytes are too short to be one.
    public static func proposal(of payload: [UInt8]) -> ProposalID? {
        guard payload.count >= headerBytes, payload[0] == version else { return nil }
        return payload.withUnsafeBytes { bytes in
            ProposalID(
                origin: NodeID(UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: 12, as: UInt64.self))),
                boot: UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: 20, as: UInt64.self)),
                number: UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: 28, as: UInt64.self)))
        }
    }
}

/// The fields before the command, without the principal's text, which few commands need.
struct EnvelopeHeader {
    var time: UInt64
    var proposal: ProposalID
    var request: RequestID?
    private var principalStart: Int
    private var principalEnd: Int

    /// Leaves the reader at the command.
    init(from reader: inout ByteReader) throws(DecodingError) {
        let version = try reader.read(UInt8.self)
        guard version == Envelope.version else { throw .unknownTag(UInt64(version)) }
        let flags = try reader.read(UInt8.self)
        guard flags <= 1 else { throw .unknownTag(UInt64(flags)) }
        let principalBytes = Int(try reader.read(UInt16.self))
        guard principalBytes <= CoordinationLimits.principalBytes else { throw .oversized(principalBytes) }
        time = try reader.read()
        proposal = ProposalID(origin: try reader.read(), boot: try reader.read(), number: try reader.read())
        if flags == 1 {
            request = RequestID(
                client: try reader.read(), sequence: try reader.read(), acknowledgedThrough: try reader.read())
        }
        principalStart = Envelope.headerBytes + (flags == 1 ? 24 : 0)
        principalEnd = principalStart + principalBytes
        try reader.skip(principalBytes)
    }

    /// The principal with whatever is not UTF-8 repaired, alike on every replica.
    ///
    /// - Parameter payload: what the header was read from.
    func principal(in payload: [UInt8]) -> String {
        String(decoding: payload[principalStart..<principalEnd], as: UTF8.self)
    }
}

extension Command {
    /// About how many bytes the command takes, to reserve them at once.
    fileprivate var sizeHint: Int {
        switch self {
        case .put(let put): put.key.count + put.value.count
        case .transaction: 512
        default: 64
        }
    }
}
