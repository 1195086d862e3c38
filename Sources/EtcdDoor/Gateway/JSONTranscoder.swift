package import EtcdProtocol
import FoundationEssentials
import SwiftProtobuf

/// Turns JSON into a method's request and its answers into JSON, as proto3's mapping has it: bytes as base64, 64-bit
/// numbers as text (numbers are understood too), names as in the .proto files.
package struct JSONTranscoder: Sendable {
    /// - Throws: `JSONDecodingError`.
    package let request: @Sendable (_ json: [UInt8]) throws -> [UInt8]
    package let answer: @Sendable (_ message: [UInt8]) throws -> [UInt8]

    private init<Request: Message, Answer: Message>(_: Request.Type, _: Answer.Type) {
        request = { json in
            var options = JSONDecodingOptions()
            options.ignoreUnknownFields = true
            return try Request(jsonUTF8Bytes: json.isEmpty ? [0x7b, 0x7d] : json, options: options).serializedBytes()
        }
        answer = { message in
            var options = JSONEncodingOptions()
            options.preserveProtoFieldNames = true
            return try Answer(serializedBytes: message).jsonUTF8Bytes(options: options)
        }
    }

    package init(_ method: EtcdMethod) {
        switch method {
        case .range: self.init(EtcdRangeRequest.self, EtcdRangeResponse.self)
        case .put: self.init(EtcdPutRequest.self, EtcdPutResponse.self)
        case .deleteRange: self.init(EtcdDeleteRangeRequest.self, EtcdDeleteRangeResponse.self)
        case .txn: self.init(EtcdTxnRequest.self, EtcdTxnResponse.self)
        case .compact: self.init(EtcdCompactionRequest.self, EtcdCompactionResponse.self)
        case .watch: self.init(EtcdWatchRequest.self, EtcdWatchResponse.self)
        case .leaseGrant: self.init(EtcdLeaseGrantRequest.self, EtcdLeaseGrantResponse.self)
        case .leaseRevoke: self.init(EtcdLeaseRevokeRequest.self, EtcdLeaseRevokeResponse.self)
        case .leaseKeepAlive: self.init(EtcdLeaseKeepAliveRequest.self, EtcdLeaseKeepAliveResponse.self)
        case .leaseTimeToLive: self.init(EtcdLeaseTimeToLiveRequest.self, EtcdLeaseTimeToLiveResponse.self)
        case .leaseLeases: self.init(EtcdLeaseLeasesRequest.self, EtcdLeaseLeasesResponse.self)
        case .memberAdd: self.init(EtcdMemberAddRequest.self, EtcdMemberAddResponse.self)
        case .memberRemove: self.init(EtcdMemberRemoveRequest.self, EtcdMemberRemoveResponse.self)
        case .memberUpdate: self.init(EtcdMemberUpdateRequest.self, EtcdMemberUpdateResponse.self)
        case .memberList: self.init(EtcdMemberListRequest.self, EtcdMemberListResponse.self)
        case .memberPromote: self.init(EtcdMemberPromoteRequest.self, EtcdMemberPromoteResponse.self)
        case .alarm: self.init(EtcdAlarmRequest.self, EtcdAlarmResponse.self)
        case .status: self.init(EtcdStatusRequest.self, EtcdStatusResponse.self)
        case .defragment: self.init(EtcdDefragmentRequest.self, EtcdDefragmentResponse.self)
        case .hash: self.init(EtcdHashRequest.self, EtcdHashResponse.self)
        case .hashKV: self.init(EtcdHashKVRequest.self, EtcdHashKVResponse.self)
        case .snapshot: self.init(EtcdSnapshotRequest.self, EtcdSnapshotResponse.self)
        case .moveLeader: self.init(EtcdMoveLeaderRequest.self, EtcdMoveLeaderResponse.self)
        case .downgrade: self.init(EtcdDowngradeRequest.self, EtcdDowngradeResponse.self)
        case .authEnable: self.init(EtcdAuthEnableRequest.self, EtcdAuthEnableResponse.self)
        case .authDisable: self.init(EtcdAuthDisableRequest.self, EtcdAuthDisableResponse.self)
        case .authStatus: self.init(EtcdAuthStatusRequest.self, EtcdAuthStatusResponse.self)
        case .authenticate: self.init(EtcdAuthenticateRequest.self, EtcdAuthenticateResponse.self)
        case .userAdd: self.init(EtcdAuthUserAddRequest.self, EtcdAuthUserAddResponse.self)
        case .userGet: self.init(EtcdAuthUserGetRequest.self, EtcdAuthUserGetResponse.self)
        case .userList: self.init(EtcdAuthUserListRequest.self, EtcdAuthUserListResponse.self)
        case .userDelete: self.init(EtcdAuthUserDeleteRequest.self, EtcdAuthUserDeleteResponse.self)
        case .userChangePassword:
            self.init(EtcdAuthUserChangePasswordRequest.self, EtcdAuthUserChangePasswordResponse.self)
        case .userGrantRole: self.init(EtcdAuthUserGrantRoleRequest.self, EtcdAuthUserGrantRoleResponse.self)
        case .userRevokeRole: self.init(EtcdAuthUserRevokeRoleRequest.self, EtcdAuthUserRevokeRoleResponse.self)
        case .roleAdd: self.init(EtcdAuthRoleAddRequest.self, EtcdAuthRoleAddResponse.self)
        case .roleGet: self.init(EtcdAuthRoleGetRequest.self, EtcdAuthRoleGetResponse.self)
        case .roleList: self.init(EtcdAuthRoleListRequest.self, EtcdAuthRoleListResponse.self)
        case .roleDelete: self.init(EtcdAuthRoleDeleteRequest.self, EtcdAuthRoleDeleteResponse.self)
        case .roleGrantPermission:
            self.init(EtcdAuthRoleGrantPermissionRequest.self, EtcdAuthRoleGrantPermissionResponse.self)
        case .roleRevokePermission:
            self.init(EtcdAuthRoleRevokePermissionRequest.self, EtcdAuthRoleRevokePermissionResponse.self)
        case .lock: self.init(EtcdLockRequest.self, EtcdLockResponse.self)
        case .unlock: self.init(EtcdUnlockRequest.self, EtcdUnlockResponse.self)
        case .campaign: self.init(EtcdCampaignRequest.self, EtcdCampaignResponse.self)
        case .proclaim: self.init(EtcdProclaimRequest.self, EtcdProclaimResponse.self)
        case .leader, .observe: self.init(EtcdLeaderRequest.self, EtcdLeaderResponse.self)
        case .resign: self.init(EtcdResignRequest.self, EtcdResignResponse.self)
        }
    }
}
