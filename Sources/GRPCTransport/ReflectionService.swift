/// Server reflection: tells clients that know nothing of our services what these look like.
///
/// Source: grpc/grpc, doc/server-reflection.md.
public final class ReflectionService: GRPCService {
    private let index: ReflectionIndex

    /// - Parameter descriptorSets: `google.protobuf.FileDescriptorSet`s that hold what they import.
    public init(descriptorSets: [[UInt8]]) throws { index = try ReflectionIndex(descriptorSets) }

    /// Both versions of the protocol; they differ by name alone.
    public static let methods: MethodTable = {
        var table = MethodTable()
        table.add("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", id: 0, kind: .streaming)
        table.add("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", id: 1, kind: .streaming)
        return table
    }()

    public func received(_ calls: [InboundCall], on connection: ServerConnection) {}

    /// Whoever asks on and on without reading the answers loses the call, as every stream does.
    public func occurred(_ events: [CallEvent], on connection: ServerConnection) {
        for event in events {
            switch event {
            case .message(let call, let request):
                connection.acknowledge(call, messageBytes: request.count)
                if let answer = answer(request) {
                    connection.send(answer, on: call)
                } else {
                    connection.finish(call, GRPCStatus(.invalidArgument, "malformed reflection request"))
                }
            case .halfClosed(let call): connection.finish(call, .ok)
            case .opened, .writable, .ended: break
            }
        }
    }

    /// - Returns: nil for what is no question.
    private func answer(_ bytes: [UInt8]) -> [UInt8]? {
        guard let request = try? ReflectionMessages.Request(bytes), let question = request.question else { return nil }
        let answer: ReflectionMessages.Answer
        switch question {
        case .services: answer = .services(index.services)
        case .file(let name):
            answer = index.files(named: name).map { .files($0) } ?? .notFound("no such file: \(name)")
        case .symbol(let name):
            answer = index.files(containingSymbol: name).map { .files($0) } ?? .notFound("no such symbol: \(name)")
        case .fileOfExtension(let type, let number):
            answer =
                index.files(containingExtension: number, of: type).map { .files($0) }
                ?? .notFound("no extension \(number) of \(type)")
        case .extensionNumbers(let type):
            answer =
                index.extensionNumbers(of: type).map { .extensionNumbers(type: type, $0) }
                ?? .notFound("no such type: \(type)")
        }
        return ReflectionMessages.response(answer, host: request.host, request: bytes)
    }
}
