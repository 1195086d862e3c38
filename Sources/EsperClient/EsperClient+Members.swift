internal import EsperProtocol
public import EsperTypes
internal import SwiftProtobuf

// Who is a member. A change is answered when it is committed; each may be asked for again when its outcome is not known.
extension EsperClient {
    /// Gives a node its ID and has the log sent to it, without a vote.
    public func addMember(
        _ name: String, peer: HostPort, api: HostPort, zone: String = ""
    ) async throws(EsperError) -> MembershipChange {
        let request = ProtoAddMemberRequest.with {
            $0.name = name
            $0.peer = peer.description
            $0.api = api.description
            $0.zone = zone
        }
        return MembershipChange(try await run(.once(.addMember, request), ProtoMembershipResponse.self))
    }

    /// Gives learners a vote, all of them or none: those that have caught up and answered lately.
    public func promoteMembers(_ names: [String]) async throws(EsperError) -> MembershipChange {
        let request = ProtoPromoteMemberRequest.with { $0.names = names }
        return MembershipChange(try await run(.once(.promoteMember, request), ProtoMembershipResponse.self))
    }

    /// Takes votes, all of them or none; the nodes go on getting the log.
    public func demoteMembers(_ names: [String]) async throws(EsperError) -> MembershipChange {
        let request = ProtoDemoteMemberRequest.with { $0.names = names }
        return MembershipChange(try await run(.once(.demoteMember, request), ProtoMembershipResponse.self))
    }

    /// Takes nodes out for good, all of them or none.
    public func removeMembers(_ names: [String]) async throws(EsperError) -> MembershipChange {
        let request = ProtoRemoveMemberRequest.with { $0.names = names }
        return MembershipChange(try await run(.once(.removeMember, request), ProtoMembershipResponse.self))
    }

    /// Gives each voter's vote to a learner and takes the voter out, all of them in one step or none.
    public func replaceMembers(
        _ replacements: [(old: String, new: String)]
    ) async throws(EsperError) -> MembershipChange {
        let request = ProtoReplaceMemberRequest.with {
            $0.old = replacements.map(\.old)
            $0.new = replacements.map(\.new)
        }
        return MembershipChange(try await run(.once(.replaceMember, request), ProtoMembershipResponse.self))
    }

    /// Keeps a member from leading and from being ready until it starts anew, or with `undo` ends that.
    public func drain(_ name: String, undo: Bool = false) async throws(EsperError) {
        let request = ProtoDrainRequest.with {
            $0.name = name
            $0.undo = undo
        }
        _ = try await run(.repeatable(.drain, request, prefersLeader: false), ProtoDrainResponse.self)
    }
}
