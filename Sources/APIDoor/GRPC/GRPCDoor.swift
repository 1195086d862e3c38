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
    private let lanes: [ObjectIdentifier: NIOLoopBound<DoorLane>]

    /// What the server needs to route calls.
    public static func methods(development: Bool) -> MethodTable {
        var table = MethodTable()
        for method in ProtoMethod.allCases where development || !method.isForDevelopment {
            table.add(method.path, id: method.rawValue, kind: method.isServerStreaming ? .serverStreaming : .unary)
        }
        return table
    }

    /// - Parameters:
    ///   - group: the loops that connections will live on.
    ///   - catalogState: what the status says of the catalog: `ok`, `degraded` or `disabled`.
    public init(node: NodeHandle, group: any EventLoopGroup, catalogState: @escaping @Sendable () -> String)
        async throws
    {
        var lanes: [ObjectIdentifier: NIOLoopBound<DoorLane>] = [:]
        for eventLoop in group.makeIterator() {
            lanes[ObjectIdentifier(eventLoop)] = try await eventLoop.submit {
                NIOLoopBound(
                    DoorLane(node: node, eventLoop: eventLoop, catalogState: catalogState), eventLoop: eventLoop)
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

    public func occurred(_ events: [CallEvent], on connection: ServerConnection) {
        lane(of: connection).occurred(events)
    }
}

extension ProtoMethod {
    var isForDevelopment: Bool { self == .isolate || self == .heal }
}
