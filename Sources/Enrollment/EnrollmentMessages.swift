public import Coordination
public import EsperTypes

/// What a host asks at the enrolment port: to be let in as a node, and to have its key certified.
public struct EnrollmentRequest: Hashable, Sendable {
    /// The cluster that the token is of.
    public var cluster: ClusterID
    public var token: JoinTokenID
    /// Secret.
    public var secret: [UInt8]
    public var member: NewMember
    /// PKCS #10 in DER, for the identity of the node and the hosts of its addresses.
    public var certificateRequest: [UInt8]

    public init(
        cluster: ClusterID, token: JoinTokenID, secret: [UInt8], member: NewMember, certificateRequest: [UInt8]
    ) {
        self.cluster = cluster
        self.token = token
        self.secret = secret
        self.member = member
        self.certificateRequest = certificateRequest
    }
}

/// What a host gets that was let in: all that its settings need.
public struct Enrolled: Hashable, Sendable {
    public var cluster: ClusterID
    public var node: NodeID
    /// The authorities that the cluster trusts, in PEM.
    public var authoritiesPEM: String
    public var certificatePEM: String
    /// The members that there are, without the new one.
    public var members: [MemberRecord]

    public init(
        cluster: ClusterID, node: NodeID, authoritiesPEM: String, certificatePEM: String, members: [MemberRecord]
    ) {
        self.cluster = cluster
        self.node = node
        self.authoritiesPEM = authoritiesPEM
        self.certificatePEM = certificatePEM
        self.members = members
    }
}

/// Why a host was not let in.
public struct EnrollmentRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    /// A stable word, from a small fixed set.
    public var code: String
    public var message: String
    /// The same may succeed later, or at another node.
    public var isRetryable: Bool

    public init(code: String, message: String, isRetryable: Bool) {
        self.code = code
        self.message = message
        self.isRetryable = isRetryable
    }

    public var description: String { message }

    static func badRequest(_ message: String) -> EnrollmentRefusal {
        EnrollmentRefusal(code: "malformed", message: message, isRetryable: false)
    }
}

public enum EnrollmentAnswer: Hashable, Sendable {
    case enrolled(Enrolled)
    case refused(EnrollmentRefusal)
}

/// One question and one answer on a connection, each in a frame: length of the rest (u32), format (u8), kind (u8), fields.
/// See docs/formats/join.md.
package enum EnrollmentFrame {
    package static let applicationProtocol = "esper-join/1"
    static let format: UInt8 = 1
    package static let headerBytes = 4
    /// A request has a CSR of about 500 bytes.
    package static let maximumRequestBytes = 16 << 10
    /// 64 members of at most 700 bytes, and PEM text of a few authorities.
    package static let maximumAnswerBytes = 256 << 10
    private static let maximumPEMBytes = 64 << 10
    private static let maximumCSRBytes = 8 << 10

    private enum Kind: UInt8 { case request = 1, enrolled, refused }

    package static func encoded(_ request: EnrollmentRequest) -> [UInt8] {
        frame(.request) { writer in
            writer.write(request.cluster)
            writer.write(request.token)
            writer.write(request.secret)
            request.member.encode(into: &writer)
            writer.write(request.certificateRequest)
        }
    }

    package static func encoded(_ answer: EnrollmentAnswer) -> [UInt8] {
        switch answer {
        case .enrolled(let enrolled):
            frame(.enrolled) { writer in
                writer.write(enrolled.cluster)
                writer.write(enrolled.node)
                writer.write(enrolled.authoritiesPEM)
                writer.write(enrolled.certificatePEM)
                writer.write(array: enrolled.members) { $1.encode(into: &$0) }
            }
        case .refused(let refusal):
            frame(.refused) { writer in
                writer.write(refusal.code)
                writer.write(refusal.message)
                writer.write(refusal.isRetryable)
            }
        }
    }

    /// - Parameter body: a frame without its length.
    package static func request(_ body: [UInt8]) throws(DecodingError) -> EnrollmentRequest {
        var reader = ByteReader(body)
        guard try kind(&reader) == .request else { throw .unknownTag(UInt64(body[1])) }
        let request = EnrollmentRequest(
            cluster: try reader.read(), token: try reader.read(),
            secret: try reader.readBytes(atMost: JoinToken.secretBytes),
            member: try NewMember(from: &reader),
            certificateRequest: try reader.readBytes(atMost: maximumCSRBytes))
        try reader.finish()
        return request
    }

    /// - Parameter body: a frame without its length.
    package static func answer(_ body: [UInt8]) throws(DecodingError) -> EnrollmentAnswer {
        var reader = ByteReader(body)
        let answer: EnrollmentAnswer
        switch try kind(&reader) {
        case .request: throw .unknownTag(UInt64(body[1]))
        case .enrolled:
            answer = .enrolled(
                Enrolled(
                    cluster: try reader.read(), node: try reader.read(),
                    authoritiesPEM: try reader.readString(atMost: maximumPEMBytes),
                    certificatePEM: try reader.readString(atMost: maximumPEMBytes),
                    members: try reader.readArray(atMost: CoordinationLimits.members) {
                        reader throws(DecodingError) in try MemberRecord(from: &reader)
                    }))
        case .refused:
            answer = .refused(
                EnrollmentRefusal(
                    code: try reader.readString(atMost: 256), message: try reader.readString(atMost: 4096),
                    isRetryable: try reader.readBool()))
        }
        try reader.finish()
        return answer
    }

    private static func kind(_ reader: inout ByteReader) throws(DecodingError) -> Kind {
        let version = try reader.read(UInt8.self)
        guard version == format else { throw .unknownTag(UInt64(version)) }
        let tag = try reader.read(UInt8.self)
        guard let kind = Kind(rawValue: tag) else { throw .unknownTag(UInt64(tag)) }
        return kind
    }

    private static func frame(_ kind: Kind, _ body: (inout ByteWriter) -> Void) -> [UInt8] {
        var writer = ByteWriter(capacity: 1024)
        writer.write(format)
        writer.write(kind.rawValue)
        body(&writer)
        var length = ByteWriter(capacity: headerBytes + writer.bytes.count)
        length.write(UInt32(writer.bytes.count))
        return length.bytes + writer.bytes
    }
}

/// Collects one frame from whatever pieces a connection delivers.
struct EnrollmentFrameBuffer {
    enum Violation: Error { case oversized(Int), trailing }

    private var bytes: [UInt8] = []
    private let limit: Int

    init(limit: Int) { self.limit = limit }

    var isEmpty: Bool { bytes.isEmpty }

    /// - Returns: the body, once it is whole. Nothing may follow it.
    mutating func feed(_ more: some Sequence<UInt8>) throws(Violation) -> [UInt8]? {
        bytes.append(contentsOf: more)
        guard bytes.count >= EnrollmentFrame.headerBytes else { return nil }
        let length = bytes.prefix(EnrollmentFrame.headerBytes).reversed().reduce(0) { $0 << 8 | Int($1) }
        guard length <= limit else { throw .oversized(length) }
        let end = EnrollmentFrame.headerBytes + length
        guard bytes.count <= end else { throw .trailing }
        return bytes.count == end ? Array(bytes[EnrollmentFrame.headerBytes...]) : nil
    }
}
