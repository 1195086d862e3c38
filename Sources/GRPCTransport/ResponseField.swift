/// Which header field of an answer this is.
enum ResponseField {
    case status, grpcStatus, grpcMessage, ignored, custom

    init(_ name: UnsafeBufferPointer<UInt8>) {
        switch name.count {
        case 7 where RequestField.equal(name, ":status"): self = .status
        case 11 where RequestField.equal(name, "grpc-status"): self = .grpcStatus
        case 12 where RequestField.equal(name, "grpc-message"): self = .grpcMessage
        case 12 where RequestField.equal(name, "content-type"): self = .ignored
        default:
            let isReserved = name.first == UInt8(ascii: ":") || name.starts(with: "grpc-".utf8)
            self = isReserved ? .ignored : .custom
        }
    }

    static func number(_ text: UnsafeBufferPointer<UInt8>) -> Int? {
        guard !text.isEmpty, text.count <= 3 else { return nil }
        var value = 0
        for digit in text {
            guard digit >= 0x30, digit <= 0x39 else { return nil }
            value = value * 10 + Int(digit - 0x30)
        }
        return value
    }

    static func status(of failure: MessageAssembler.Failure) -> GRPCStatus {
        switch failure {
        case .compressed: GRPCStatus(.internal, "a compressed answer, though none was asked for")
        case .badFlag, .malformedGzip, .inflatesTooLarge: GRPCStatus(.internal, "malformed message prefix")
        case .tooLarge(let bytes): GRPCStatus(.resourceExhausted, "an answer of \(bytes) bytes, above the limit")
        }
    }
}
