import Coordination
import EsperTypes
import EtcdProtocol
import GRPCTransport
import RaftRuntime
import SwiftProtobuf

/// A call of `LeaseKeepAlive`: each request extends a lease and is answered with what the lease then has.
final class KeepAliveStream: OpenCall {
    private unowned let lane: EtcdLane
    private let caller: Caller
    private let principal: String
    private var unanswered = 0
    private var isHalfClosed = false

    static func begin(_ call: EtcdCall, in lane: EtcdLane) {
        lane.keep(KeepAliveStream(call, lane), for: call.caller)
    }

    private init(_ call: EtcdCall, _ lane: EtcdLane) {
        self.lane = lane
        caller = call.caller
        principal = call.principal
    }

    func received(_ message: [UInt8]) {
        guard let lease = try? Self.lease(of: message) else {
            return lane.finish(caller, GRPCStatus(.invalidArgument, "the request is not a valid message"))
        }
        unanswered += 1
        let bytes = message.count
        guard let session = SessionID(lease: lease) else { return answer(lease, .zero, bytes) }
        lane.ask(
            .keepAlive(session), principal, deadline: NodeClock.now() + EtcdLane.defaultTimeout,
            .then { [self] in replied(lease, bytes, $0) })
    }

    /// `LeaseKeepAliveRequest`.
    private static func lease(of message: [UInt8]) throws(WireFields.Malformed) -> Int64 {
        var lease: Int64 = 0
        var fields = WireFields(message)
        while let (field, value) = try fields.next() {
            if field == 1, case .number(let number) = value { lease = Int64(bitPattern: number) }
        }
        return lease
    }

    func halfClosed() {
        isHalfClosed = true
        finishIfDone()
    }

    func ended() {}

    func draining() { lane.finish(caller, EtcdFailure.stopped.status) }

    private func replied(_ lease: Int64, _ bytes: Int, _ body: ServiceReply.Body) {
        switch body {
        case .keptAlive(let ttl): answer(lease, ttl, bytes)
        // A lease that is over is an answer, not an error.
        case .failed(let failure) where failure.code == .sessionNotFound: answer(lease, .zero, bytes)
        default: lane.finish(caller, (EtcdFailure(body) ?? .unexpected).status)
        }
    }

    private func answer(_ lease: Int64, _ ttl: Duration, _ bytes: Int) {
        lane.touch(caller)
        _ = caller.send(EtcdAnswer.keepAlive(lease, seconds: ttl.wholeSeconds, lane.header()))
        // The window that the request took opens with its answer, so that nobody can ask faster than it reads.
        caller.acknowledge(bytes: bytes)
        unanswered -= 1
        finishIfDone()
    }

    private func finishIfDone() {
        if isHalfClosed, unanswered == 0 { lane.finish(caller, .ok) }
    }
}
