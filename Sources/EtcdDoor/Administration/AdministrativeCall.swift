import EsperTypes
import EtcdProtocol
import GRPCTransport
import NIOCore
import RaftRuntime
import SwiftProtobuf

/// A call of the cluster, maintenance and auth services: rare, and mostly several questions one after the other, so each
/// is a task of its own.
final class AdministrativeCall: OpenCall {
    private unowned let lane: EtcdLane
    private let caller: Caller
    private var task: Task<Void, Never>?
    private var isBlocked = false
    /// Resumed when a stream's reader has taken what it was sent.
    private var room: CheckedContinuation<Void, Never>?

    static func begin(_ call: EtcdCall, _ deadline: Instant, in lane: EtcdLane) {
        let open = AdministrativeCall(call, lane)
        lane.keep(open, for: call.caller)
        open.start(call, deadline)
    }

    private init(_ call: EtcdCall, _ lane: EtcdLane) {
        self.lane = lane
        caller = call.caller
    }

    private func start(_ call: EtcdCall, _ deadline: Instant) {
        let answers = AdministrativeAnswers(NIOLoopBound(self, eventLoop: lane.eventLoop), lane.eventLoop)
        let administration = EtcdAdministration(
            node: lane.node, principal: call.principal, deadline: deadline)
        let (method, message) = (call.method, call.message)
        task = Task {
            do {
                if method == .snapshot {
                    try await administration.streamSnapshot(to: answers)
                    await answers.finish(.success(nil))
                } else {
                    await answers.finish(.success(try await administration.answer(method, message)))
                }
            } catch {
                await answers.finish(.failure(EtcdFailure(error)))
            }
        }
    }

    func writable() {
        isBlocked = false
        room.take()?.resume()
    }

    func ended() {
        task?.cancel()
        room.take()?.resume()
    }

    /// On the lane's loop; resumes when there is credit for more.
    fileprivate func send(_ message: [UInt8], _ continuation: CheckedContinuation<Void, Never>) {
        lane.touch(caller)
        if !caller.send(message) { isBlocked = true }
        lane.endTurn()
        if isBlocked { room = continuation } else { continuation.resume() }
    }

    fileprivate func finish(_ result: Result<[UInt8]?, EtcdFailure>) {
        switch result {
        case .success(let message?): lane.reply(caller, message)
        case .success(nil): lane.finish(caller, .ok)
        case .failure(let failure): lane.finish(caller, failure.status)
        }
        lane.endTurn()
    }
}

/// The way back from a task to the lane's loop.
struct AdministrativeAnswers: Sendable {
    private let call: NIOLoopBound<AdministrativeCall>
    private let eventLoop: any EventLoop

    fileprivate init(_ call: NIOLoopBound<AdministrativeCall>, _ eventLoop: any EventLoop) {
        self.call = call
        self.eventLoop = eventLoop
    }

    /// Sends one of several messages; returns when there is credit for the next.
    func send(_ message: [UInt8]) async {
        await withCheckedContinuation { continuation in
            eventLoop.execute { call.value.send(message, continuation) }
        }
    }

    fileprivate func finish(_ result: Result<[UInt8]?, EtcdFailure>) async {
        eventLoop.execute { call.value.finish(result) }
    }
}
