import Coordination
import Crypto
import EsperTypes
import EtcdProtocol
import FoundationEssentials
import GRPCTransport
import NIOPosix
import RaftRuntime
import SwiftProtobuf

// The auth service: users and roles are replicated state, passwords and tokens are this door's.
extension EtcdAdministration {
    func answerAuth(_ method: EtcdMethod, _ message: [UInt8]) async throws -> [UInt8] {
        switch method {
        case .authEnable:
            var secret = [UInt8](repeating: 0, count: AuthTokens.secretBytes)
            var random = SystemRandomNumberGenerator()
            for position in secret.indices { secret[position] = random.next() }
            let header = try await change(.enable(secret: secret))
            return try EtcdAuthEnableResponse.with { $0.header = header }.serializedBytes()
        case .authDisable:
            let header = try await change(.disable)
            return try EtcdAuthDisableResponse.with { $0.header = header }.serializedBytes()
        case .authStatus:
            let reply = try await query(.authStatus, linearizable: true)
            guard case .authStatus(let status) = reply.result else { throw EtcdFailure.unexpected }
            return try EtcdAuthStatusResponse.with {
                $0.header = header(reply.revision)
                $0.enabled = status.isEnabled
                $0.authRevision = status.revision
            }.serializedBytes()
        case .authenticate: return try await authenticate(EtcdAuthenticateRequest(serializedBytes: message))
        case .userAdd, .userGet, .userList, .userDelete, .userChangePassword, .userGrantRole, .userRevokeRole:
            return try await answerUser(method, message)
        default: return try await answerRole(method, message)
        }
    }

    private func change(_ command: AuthCommand) async throws -> EtcdResponseHeader {
        let body = await call(.command(.auth(command), nil))
        guard case .command(let reply) = body, case .authChanged = reply.result else {
            throw EtcdFailure(body) ?? .unexpected
        }
        return header(reply.revision)
    }

    // MARK: - Users

    private func answerUser(_ method: EtcdMethod, _ message: [UInt8]) async throws -> [UInt8] {
        switch method {
        case .userAdd:
            let request = try EtcdAuthUserAddRequest(serializedBytes: message)
            guard !request.name.isEmpty else { throw EtcdFailure.emptyUser }
            guard request.hashedPassword.isEmpty else { throw EtcdFailure.foreignHash }
            let hash = request.options.noPassword ? [] : try await Self.hash(request.password)
            let header = try await change(.addUser(name: request.name, passwordHash: hash))
            return try EtcdAuthUserAddResponse.with { $0.header = header }.serializedBytes()
        case .userGet:
            let name = try EtcdAuthUserGetRequest(serializedBytes: message).name
            let reply = try await query(.user(name: name), linearizable: true)
            guard case .user(let user) = reply.result else { throw EtcdFailure.unexpected }
            return try EtcdAuthUserGetResponse.with {
                $0.header = header(reply.revision)
                $0.roles = user.roles
            }.serializedBytes()
        case .userList:
            let (table, revision) = try await table()
            return try EtcdAuthUserListResponse.with {
                $0.header = header(revision)
                $0.users = table.users.map(\.name)
            }.serializedBytes()
        case .userDelete:
            let name = try EtcdAuthUserDeleteRequest(serializedBytes: message).name
            let header = try await change(.deleteUser(name: name))
            return try EtcdAuthUserDeleteResponse.with { $0.header = header }.serializedBytes()
        case .userChangePassword:
            let request = try EtcdAuthUserChangePasswordRequest(serializedBytes: message)
            guard request.hashedPassword.isEmpty else { throw EtcdFailure.foreignHash }
            let hash = try await Self.hash(request.password)
            let header = try await change(.changePassword(user: request.name, passwordHash: hash))
            return try EtcdAuthUserChangePasswordResponse.with { $0.header = header }.serializedBytes()
        case .userGrantRole:
            let request = try EtcdAuthUserGrantRoleRequest(serializedBytes: message)
            let header = try await change(.grantRole(user: request.user, role: request.role))
            return try EtcdAuthUserGrantRoleResponse.with { $0.header = header }.serializedBytes()
        default:
            let request = try EtcdAuthUserRevokeRoleRequest(serializedBytes: message)
            let header = try await change(.revokeRole(user: request.name, role: request.role))
            return try EtcdAuthUserRevokeRoleResponse.with { $0.header = header }.serializedBytes()
        }
    }

    private func table() async throws -> (AuthTable, Revision) {
        let reply = try await query(.auth, linearizable: true)
        guard case .auth(let table) = reply.result else { throw EtcdFailure.unexpected }
        return (table, reply.revision)
    }

    /// Takes a tenth of a second of a processor, so it is done beside the event loops.
    private static func hash(_ password: String) async throws -> [UInt8] {
        try await NIOThreadPool.singleton.runIfActive { try PasswordHash(of: password).bytes }
    }

    private func authenticate(_ request: EtcdAuthenticateRequest) async throws -> [UInt8] {
        let table = node.auth
        guard table.isEnabled else { throw EtcdFailure.authNotEnabled }
        let user = table.user(request.name)
        // A name that nobody has takes as long as a wrong password.
        let hash = user.map(\.passwordHash) ?? []
        let isRight = try await NIOThreadPool.singleton.runIfActive {
            (PasswordHash(bytes: hash) ?? .nobody).matches(request.password)
        }
        guard let user, !hash.isEmpty, isRight else { throw EtcdFailure.authFailed }
        let token = AuthTokens(table).token(for: user, at: NodeClock.wallNanoseconds())
        return try EtcdAuthenticateResponse.with {
            $0.header = header(node.revision)
            $0.token = token
        }.serializedBytes()
    }

    // MARK: - Roles

    private func answerRole(_ method: EtcdMethod, _ message: [UInt8]) async throws -> [UInt8] {
        switch method {
        case .roleAdd:
            let name = try EtcdAuthRoleAddRequest(serializedBytes: message).name
            guard !name.isEmpty else { throw EtcdFailure.emptyRole }
            let header = try await change(.addRole(name: name))
            return try EtcdAuthRoleAddResponse.with { $0.header = header }.serializedBytes()
        case .roleGet:
            let name = try EtcdAuthRoleGetRequest(serializedBytes: message).role
            let reply = try await query(.role(name: name), linearizable: true)
            guard case .role(let role) = reply.result else { throw EtcdFailure.unexpected }
            return try EtcdAuthRoleGetResponse.with {
                $0.header = header(reply.revision)
                $0.perm = role.permissions.map(EtcdPermission.init)
            }.serializedBytes()
        case .roleList:
            let (table, revision) = try await table()
            return try EtcdAuthRoleListResponse.with {
                $0.header = header(revision)
                $0.roles = table.roles.map(\.name)
            }.serializedBytes()
        case .roleDelete:
            let name = try EtcdAuthRoleDeleteRequest(serializedBytes: message).role
            let header = try await change(.deleteRole(name: name))
            return try EtcdAuthRoleDeleteResponse.with { $0.header = header }.serializedBytes()
        case .roleGrantPermission:
            let request = try EtcdAuthRoleGrantPermissionRequest(serializedBytes: message)
            guard request.hasPerm else { throw EtcdFailure.permissionNotGiven }
            let permission = try AuthPermission(request.perm)
            let header = try await change(.grantPermission(role: request.name, permission))
            return try EtcdAuthRoleGrantPermissionResponse.with { $0.header = header }.serializedBytes()
        default:
            let request = try EtcdAuthRoleRevokePermissionRequest(serializedBytes: message)
            let range = KeyRange(anyKey: [UInt8](request.key), [UInt8](request.rangeEnd))
            let header = try await change(.revokePermission(role: request.role, range))
            return try EtcdAuthRoleRevokePermissionResponse.with { $0.header = header }.serializedBytes()
        }
    }
}

extension EtcdPermission {
    init(_ permission: AuthPermission) {
        self.init()
        permType =
            switch permission.access {
            case .read: .read
            case .write: .write
            case .readWrite: .readwrite
            }
        key = Data(permission.range.lower)
        switch permission.range.end {
        case .single: break
        case .unbounded: rangeEnd = Data([0])
        case .before(let end): rangeEnd = Data(end)
        }
    }
}

extension AuthPermission {
    init(_ permission: EtcdPermission) throws(EtcdFailure) {
        let access: Access =
            switch permission.permType {
            case .read: .read
            case .write: .write
            case .readwrite: .readWrite
            case .UNRECOGNIZED: throw EtcdFailure(.invalidArgument, "etcdserver: unknown kind of permission")
            }
        self.init(KeyRange(anyKey: [UInt8](permission.key), [UInt8](permission.rangeEnd)), access)
    }
}
