package import Coordination
import EsperTypes
import EtcdProtocol
import GRPCTransport
import RaftRuntime
import SwiftProtobuf

// The cluster service.
extension EtcdAdministration {
    func answerMembers(_ method: EtcdMethod, _ message: [UInt8]) async throws -> [UInt8] {
        switch method {
        case .memberList:
            let request = try EtcdMemberListRequest(serializedBytes: message)
            if request.linearizable { _ = try await query(.summary, linearizable: true) }
            let status = try await status()
            return try EtcdMemberListResponse.with {
                $0.header = header(status)
                $0.members = status.members.map(EtcdMember.init)
            }.serializedBytes()
        case .memberAdd: return try await addMember(EtcdMemberAddRequest(serializedBytes: message))
        case .memberRemove:
            let id = try EtcdMemberRemoveRequest(serializedBytes: message).id
            let status = try await change { .remove(try name(of: id, in: $0)) }
            return try EtcdMemberRemoveResponse.with {
                $0.header = header(status)
                $0.members = status.members.map(EtcdMember.init)
            }.serializedBytes()
        case .memberPromote:
            let id = try EtcdMemberPromoteRequest(serializedBytes: message).id
            let status = try await change { status in
                let name = try name(of: id, in: status)
                guard status.members.contains(where: { $0.id.rawValue == id && !$0.isVoter }) else {
                    throw EtcdFailure.notLearner
                }
                return .promote(name)
            }
            return try EtcdMemberPromoteResponse.with {
                $0.header = header(status)
                $0.members = status.members.map(EtcdMember.init)
            }.serializedBytes()
        default: return try await updateMember(EtcdMemberUpdateRequest(serializedBytes: message))
        }
    }

    private func name(of id: UInt64, in status: ClusterStatus) throws -> String {
        guard let member = status.members.first(where: { $0.id.rawValue == id }) else {
            throw EtcdFailure.memberNotFound
        }
        return member.name
    }

    private func change(_ change: (ClusterStatus) throws -> MemberChange) async throws -> ClusterStatus {
        let body = await call(.changeMembers([try change(try await status())]))
        guard case .membersChanged = body else { throw EtcdFailure(body) ?? .unexpected }
        return try await status()
    }

    private func addMember(_ request: EtcdMemberAddRequest) async throws -> [UInt8] {
        guard let url = request.peerUrls.first, let new = NewMember(peerURL: url) else {
            throw EtcdFailure(
                .invalidArgument,
                "etcdserver: given member URLs are invalid: write https://HOST:PORT/?name=NAME&api=HOST:PORT, since a "
                    + "node's name stands in its certificate; or use esper node join")
        }
        guard request.isLearner else {
            throw EtcdFailure(
                .failedPrecondition,
                "etcdserver: a member begins as a learner and is promoted when it has caught up; add it as a learner")
        }
        let status = try await change { _ in .add(new) }
        return try EtcdMemberAddResponse.with { response in
            response.header = header(status)
            response.members = status.members.map(EtcdMember.init)
            response.member = response.members.first { $0.name == new.name } ?? EtcdMember()
        }.serializedBytes()
    }

    /// A member keeps its addresses; what would change none of them is done by saying so.
    private func updateMember(_ request: EtcdMemberUpdateRequest) async throws -> [UInt8] {
        let status = try await status()
        guard let member = status.members.first(where: { $0.id.rawValue == request.id }) else {
            throw EtcdFailure.memberNotFound
        }
        let others = status.members.filter { $0.id != member.id }.flatMap { EtcdMember($0).peerUrls }
        guard request.peerUrls.allSatisfy({ !others.contains($0) }) else { throw EtcdFailure.peerURLExists }
        guard request.peerUrls == EtcdMember(member).peerUrls else {
            throw EtcdFailure(
                .failedPrecondition,
                "etcdserver: a member keeps its addresses; to move it, add a new one and replace the old: "
                    + "esper cluster replace")
        }
        return try EtcdMemberUpdateResponse.with {
            $0.header = header(status)
            $0.members = status.members.map(EtcdMember.init)
        }.serializedBytes()
    }
}

extension EtcdMember {
    init(_ member: ClusterStatus.Member) {
        self.init()
        id = member.id.rawValue
        name = member.name
        peerUrls = ["https://" + member.address]
        clientUrls = ["https://" + member.apiAddress]
        isLearner = !member.isVoter
    }
}

extension NewMember {
    /// - Parameter url: `https://HOST:PORT/?name=NAME&api=HOST:PORT`, with `&zone=ZONE` if it has one.
    package init?(peerURL url: String) {
        guard url.hasPrefix("https://"), let question = url.firstIndex(of: "?") else { return nil }
        let address = url[url.index(url.startIndex, offsetBy: 8)..<question]
        var fields: [Substring: Substring] = [:]
        for field in url[url.index(after: question)...].split(separator: "&") {
            guard let equals = field.firstIndex(of: "=") else { return nil }
            fields[field[..<equals]] = field[field.index(after: equals)...]
        }
        guard let peer = HostPort(String(address.hasSuffix("/") ? address.dropLast() : address)),
            let name = fields["name"], let api = fields["api"].flatMap({ HostPort(String($0)) })
        else { return nil }
        self.init(name: String(name), peer: peer, api: api, zone: fields["zone"].map(String.init) ?? "")
    }
}
