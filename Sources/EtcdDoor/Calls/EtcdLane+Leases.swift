import Coordination
import EsperTypes
import EtcdProtocol
import RaftRuntime
import SwiftProtobuf

// The list of leases, which the node tells a page at a time: it may be long.
extension EtcdLane {
    /// As many as are told within one turn of the core loop.
    private static let leasesAPage = 1000

    func listLeases(
        _ call: EtcdCall, _ deadline: Instant, after last: SessionID? = nil, found: [SessionInfo] = []
    ) {
        ask(
            .query(.sessions(after: last, limit: Self.leasesAPage), linearizable: false), call.principal,
            deadline: deadline,
            .then { [unowned self] body in
                guard case .query(let reply) = body, case .sessions(let page, let more) = reply.result else {
                    return finish(call.caller, (EtcdFailure(body) ?? .unexpected).status)
                }
                let found = found + page
                if more { return listLeases(call, deadline, after: page.last?.id, found: found) }
                self.reply(
                    call.caller,
                    EtcdLeaseLeasesResponse.with {
                        $0.header = header(reply.revision)
                        $0.leases = found.map { session in .with { $0.id = session.id.lease } }
                    })
            })
    }
}
