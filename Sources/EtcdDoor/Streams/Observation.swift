import Coordination
import EsperTypes
import EtcdProtocol
import RaftRuntime
import SwiftProtobuf

/// A call of `Observe`: who is elected, and whoever is after that; what it proclaims too.
final class Observation: OpenCall {
    private unowned let lane: EtcdLane
    private let caller: Caller
    private let principal: String
    private let queue: EtcdQueue
    private var watch: UInt64?
    private var told: (created: Revision, modified: Revision)?
    private var isBlocked = false
    private var mustLook = false

    static func begin(_ call: EtcdCall, in lane: EtcdLane) throws {
        let name = [UInt8](try EtcdLeaderRequest(serializedBytes: call.message).name)
        let observation = Observation(call, EtcdQueue(name), lane)
        call.caller.begin()
        lane.keep(observation, for: call.caller)
        observation.look(linearizable: true)
    }

    private init(_ call: EtcdCall, _ queue: EtcdQueue, _ lane: EtcdLane) {
        self.lane = lane
        self.queue = queue
        caller = call.caller
        principal = call.principal
    }

    func writable() {
        isBlocked = false
        guard mustLook else { return }
        mustLook = false
        look(linearizable: false)
    }

    func ended() {
        watch.map(lane.giveUp)
        watch = nil
    }

    func draining() { finish(.stopped) }

    private func look(linearizable: Bool) {
        lane.ask(
            .query(.range(queue.firstClaim), linearizable: linearizable), principal,
            deadline: NodeClock.now() + EtcdLane.defaultTimeout, .then { [weak self] in self?.found($0) })
    }

    private func found(_ body: ServiceReply.Body) {
        guard case .query(let reply) = body, case .range(let range) = reply.result else {
            return finish(EtcdFailure(body) ?? .unexpected)
        }
        if watch == nil {
            watch = lane.ask(
                .watch(WatchRequest(.prefix(queue.prefix), fromRevision: reply.revision.next)), principal,
                deadline: .distantFuture, connection: caller.connection, .then { [weak self] in self?.changed($0) })
        }
        guard let leader = range.keyValues.first,
            told == nil || told! != (leader.createRevision, leader.modRevision)
        else { return }
        told = (leader.createRevision, leader.modRevision)
        lane.touch(caller)
        if !caller.send(EtcdAnswer.keyValue(leader, lane.header(reply.revision))) { isBlocked = true }
    }

    private func changed(_ body: ServiceReply.Body) {
        guard let token = watch else { return }
        switch body {
        case .watch(let delivery):
            if case .events(let events, _) = delivery.content {
                lane.tell(token, .watchCredit(bytes: events.reduce(0) { $0 + $1.cost }))
            }
        case .failed(let failure) where failure.code == .compacted: watch = nil
        default: return finish(EtcdFailure(body) ?? .unexpected)
        }
        // Only the present counts, so a reader that is behind is spared what it has missed.
        if isBlocked { mustLook = true } else { look(linearizable: false) }
    }

    private func finish(_ failure: EtcdFailure) {
        ended()
        lane.finish(caller, failure.status)
    }
}
