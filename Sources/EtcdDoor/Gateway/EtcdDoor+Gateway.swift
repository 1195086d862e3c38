import EsperTypes
import EtcdProtocol
import GRPCTransport
import NIOCore
import RaftRuntime

// The gateway's calls: begun and ended from its tasks, served on a lane's loop like any other.
extension EtcdDoor {
    /// - Parameters:
    ///   - token: what the client got from `authenticate`, if it did.
    ///   - needsLeader: whether it wants to be refused where no leader is known.
    func begin(
        _ method: EtcdMethod, _ message: [UInt8], principal: String, token: String?, needsLeader: Bool
    ) -> GatewayCall {
        let (eventLoop, lane) = gatewayLane
        let call = GatewayCall { call in
            eventLoop.execute { lane.value.gatewayHasRoom(call) }
        }
        let deadline = method.waits ? nil : NodeClock.now() + EtcdLane.defaultTimeout
        eventLoop.execute {
            lane.value.begin(
                call, method, message, principal: principal, token: token, deadline: deadline,
                needsLeader: needsLeader)
            // One request is all that a body holds; a watch goes on until its client goes.
            if method.kind == .streaming, method != .watch { lane.value.gatewayHalfClosed(call) }
        }
        return call
    }

    /// The client is gone.
    func end(_ call: GatewayCall) {
        let (eventLoop, lane) = gatewayLane
        eventLoop.execute { lane.value.gatewayEnded(call) }
        call.finish(GRPCStatus(.cancelled, "the caller is gone"))
    }
}

extension EtcdMethod {
    /// Whether an answer may take as long as somebody else holds a lock.
    fileprivate var waits: Bool { self == .lock || self == .campaign }
}
