import EsperProtocol
public import GRPCTransport
import EsperTypes
public import NIOCore
public import RaftRuntime

/// The gRPC front door: translates calls of package `esper.v1` to service requests, and replies back.
///
/// Each event loop has a lane of its own, which holds the calls in progress on that loop's connections. Calls that one
/// read completed are submitted to the node as one batch; replies of one turn of the core loop come back as one batch
/// and leave in one write for each connection.
public final class GRPCDoor: GRPCService {
    /// The bounds of a client's connection.
    ///
    /// The largest legal request is a transaction of ``Limits/entryPayloadBytes`` in at most
    /// ``Limits/transactionOperations`` parts; written as protocol messages with their tags and lengths it stays below twice
    /// that. Four times as much lets what is a little too large be refused by who knows why, and sixteen of those may be unfinished.
    public static let transportOptions: TransportOptions = {
        var options = TransportOptions.server
        options.maximumMessageBytes = 4 * Limits.entryPayloadBytes
        options.maximumBufferedBytes = 64 * Limits.entryPayloadBytes
        options.streamWindowBytes = 4 * Limits.entryPayloadBytes
        options.connectionWindowBytes = 64 * Limits.entryPayloadBytes
        return options
    }()

    private let lanes: [ObjectIdentifier: NIOLoopBound<DoorLane>]

    /// What the server needs to route calls.
    public static func methods(development: Bool) -> MethodTable {
        var table = MethodTable()
        for method in ProtoMethod.allCases where development || !method.isForDevelopment {
            table.add(method.path, id: method.rawValue, kind: method.isServerStreaming ? .serverStreaming : .unary)
        }
        return table
    }

    /// What tells clients without our .proto files what the services look like.
    ///
    /// - Parameter others: the `google.protobuf.FileDescriptorSet`s of services beside this door's.
    public static func reflection(with others: [[UInt8]] = []) throws -> ReflectionService {
        try ReflectionService(descriptorSets: [EsperDescriptors.fileDescriptorSet] + others)
    }

    /// - Parameters:
    ///   - group: the loops that connections will live on.
    ///   - facts: what the status says of this node alone.
    public init(node: NodeHandle, group: any EventLoopGroup, facts: @escaping @Sendable () -> NodeFacts)
        async throws
    {
        var lanes: [ObjectIdentifier: NIOLoopBound<DoorLane>] = [:]
        for eventLoop in group.makeIterator() {
            lanes[ObjectIdentifier(eventLoop)] = try await eventLoop.submit {
                NIOLoopBound(
                    DoorLane(node: node, eventLoop: eventLoop, facts: facts), eventLoop: eventLoop)
            }.get()
        }
        self.lanes = lanes
    }

    private func lane(of connection: ServerConnection) -> DoorLane {
        guard let lane = lanes[ObjectIdentifier(connection.eventLoop)] else {
            preconditionFailure("a connection on an event loop that the door was not given")
        }
        return lane.value
    }

    public func received(_ calls: [InboundCall], on connection: ServerConnection) {
        lane(of: connection).begin(calls, on: connection)
    }

    public func trailers(of refusal: TransportRefusal, _ status: GRPCStatus) -> Metadata {
        Self.trailers(of: refusal, status)
    }

    static func trailers(of refusal: TransportRefusal, _ status: GRPCStatus) -> Metadata {
        let (word, isRetryable) =
            switch refusal {
            case .tooLarge: (ServiceFailure.Code.oversized.rawValue, false)
            case .busy: (ServiceFailure.Code.overloaded.rawValue, true)
            case .draining: (ServiceFailure.Code.draining.rawValue, true)
            case .malformed: ("invalid_argument", false)
            }
        return CallFailure(
            status.code, word: word, status.message, outcome: .notCommitted, isRetryable: isRetryable
        ).trailers
    }

    /// Watches and observations would never end by themselves; clients begin them again elsewhere.
    public func draining(_ connection: ServerConnection) {
        let status = Self.stopping
        lane(of: connection).endStreams(of: connection, status, trailers(of: .draining, status))
    }

    static let stopping = GRPCStatus(.unavailable, "the node is stopping")

    public func occurred(_ events: [CallEvent], on connection: ServerConnection) {
        lane(of: connection).occurred(events)
    }
}

extension ProtoMethod {
    var isForDevelopment: Bool { self == .isolate || self == .heal }
}
