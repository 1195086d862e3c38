import EsperTypes
import EtcdProtocol
public import GRPCTransport
public import NIOCore
public import RaftRuntime

/// The front door for clients of etcd v3: translates calls of etcd's packages to service requests, and replies back.
///
/// Each event loop has a lane of its own, which holds the calls in progress on that loop's connections. Calls that one
/// read completed are submitted to the node as one batch; replies of one turn of the core loop come back as one batch
/// and leave in one write for each connection. What is meant to differ from etcd stands in docs/ETCD.md.
public final class EtcdDoor: GRPCService {
    /// The version of etcd whose API this is; clients decide by it what they may ask.
    public static let compatibleVersion = "3.5.17"

    let node: NodeHandle
    private let lanes: [ObjectIdentifier: NIOLoopBound<EtcdLane>]
    /// Calls of the gateway are few: one lane serves them all.
    let gatewayLane: (any EventLoop, NIOLoopBound<EtcdLane>)

    /// What the server needs to route calls.
    public static var methods: MethodTable {
        var table = MethodTable()
        for method in EtcdMethod.allCases {
            table.add(method.path, id: method.rawValue, kind: MethodTable.Kind(method.kind))
        }
        return table
    }

    /// The services' `google.protobuf.FileDescriptorSet`, for reflection.
    public static var descriptors: [UInt8] { EtcdDescriptors.fileDescriptorSet }

    /// - Parameter group: the loops that connections will live on.
    public init(node: NodeHandle, group: any EventLoopGroup) async throws {
        var lanes: [ObjectIdentifier: NIOLoopBound<EtcdLane>] = [:]
        for eventLoop in group.makeIterator() {
            lanes[ObjectIdentifier(eventLoop)] = try await eventLoop.submit {
                NIOLoopBound(EtcdLane(node: node, eventLoop: eventLoop), eventLoop: eventLoop)
            }.get()
        }
        self.node = node
        self.lanes = lanes
        let eventLoop = group.any()
        guard let lane = lanes[ObjectIdentifier(eventLoop)] else {
            preconditionFailure("a loop that is not its group's")
        }
        gatewayLane = (eventLoop, lane)
    }

    private func lane(on eventLoop: any EventLoop) -> EtcdLane {
        guard let lane = lanes[ObjectIdentifier(eventLoop)] else {
            preconditionFailure("a connection on an event loop that the door was not given")
        }
        return lane.value
    }

    public func received(_ calls: [InboundCall], on connection: ServerConnection) {
        lane(on: connection.eventLoop).begin(calls, on: connection)
    }

    public func occurred(_ events: [CallEvent], on connection: ServerConnection) {
        lane(on: connection.eventLoop).occurred(events, on: connection)
    }
}

extension EtcdDoor {
    public func draining(_ connection: ServerConnection) { lane(on: connection.eventLoop).draining(connection) }
}

extension NodeHandle {
    /// Who answers, and when: in every answer.
    func etcdHeader(_ revision: Revision? = nil) -> EtcdResponseHeader {
        var header = EtcdResponseHeader()
        header.clusterID = clusterID.rawValue
        header.memberID = nodeID.rawValue
        header.revision = Int64((revision ?? self.revision).rawValue)
        header.raftTerm = term.rawValue
        return header
    }
}

extension MethodTable.Kind {
    fileprivate init(_ kind: EtcdMethod.Kind) {
        switch kind {
        case .unary: self = .unary
        case .serverStreaming: self = .serverStreaming
        case .streaming: self = .streaming
        }
    }
}
