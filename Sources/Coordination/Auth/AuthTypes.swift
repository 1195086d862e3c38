/// What a role lets its users do with the keys of a range.
public struct AuthPermission: Hashable, Sendable {
    public enum Access: UInt8, Hashable, Sendable { case read, write, readWrite }

    public var range: KeyRange
    public var access: Access

    public init(_ range: KeyRange, _ access: Access) {
        self.range = range
        self.access = access
    }
}

public struct AuthUser: Hashable, Sendable {
    public var name: String
    /// Whatever a door can check a password by; empty: the user has none, and is known by certificates alone.
    public var passwordHash: [UInt8]
    /// Of two records of one name, or one before and after its password was changed, the later has the higher: what was
    /// signed for an earlier one is void.
    public var generation: UInt64
    /// In order.
    public var roles: [String]

    public init(name: String, passwordHash: [UInt8], generation: UInt64, roles: [String] = []) {
        self.name = name
        self.passwordHash = passwordHash
        self.generation = generation
        self.roles = roles
    }
}

extension AuthUser {
    func has(_ role: String) -> Bool { roles.contains { $0.isWritten(as: role) } }
}

extension String {
    /// Equal in every byte: of two names that only look alike each is its own.
    func isWritten(as other: String) -> Bool { utf8.elementsEqual(other.utf8) }

    func bytesPrecede(_ other: String) -> Bool { Array(utf8).precedes(Array(other.utf8)) }
}

public struct AuthRole: Hashable, Sendable {
    public var name: String
    /// In order of their ranges.
    public internal(set) var permissions: [AuthPermission] = []
    private(set) var readable = KeyCoverage([])
    private(set) var writable = KeyCoverage([])

    init(name: String, permissions: [AuthPermission] = []) {
        self.name = name
        set(permissions)
    }

    mutating func set(_ new: [AuthPermission]) {
        permissions = new
        readable = KeyCoverage(new.filter { $0.access != .write }.map(\.range))
        writable = KeyCoverage(new.filter { $0.access != .read }.map(\.range))
    }
}

public struct AuthStatus: Hashable, Sendable {
    public var isEnabled: Bool
    /// Grows with every change of users, roles and permissions; 1 at first.
    public var revision: UInt64

    public init(isEnabled: Bool, revision: UInt64) {
        self.isEnabled = isEnabled
        self.revision = revision
    }
}

/// A change of who may do what. Source: etcd's `Auth` service, whose rules these follow.
public enum AuthCommand: Hashable, Sendable {
    /// From now on everybody needs permission. Refused unless user `root` has role `root`; without effect when it is so already.
    ///
    /// - Parameter secret: 32 bytes, drawn by whoever asks, by which doors sign what they give to users.
    case enable(secret: [UInt8])
    case disable
    /// - Parameter passwordHash: empty for a user without a password.
    case addUser(name: String, passwordHash: [UInt8])
    case deleteUser(name: String)
    case changePassword(user: String, passwordHash: [UInt8])
    /// The role `root` may be granted before it was added.
    case grantRole(user: String, role: String)
    case revokeRole(user: String, role: String)
    case addRole(name: String)
    case deleteRole(name: String)
    /// Replaces a permission on the same range.
    case grantPermission(role: String, AuthPermission)
    case revokePermission(role: String, KeyRange)

    /// A stable word, for example `auth.user_added`.
    var word: String {
        switch self {
        case .enable: "auth.enabled"
        case .disable: "auth.disabled"
        case .addUser: "auth.user_added"
        case .deleteUser: "auth.user_deleted"
        case .changePassword: "auth.password_changed"
        case .grantRole: "auth.role_granted"
        case .revokeRole: "auth.role_revoked"
        case .addRole: "auth.role_added"
        case .deleteRole: "auth.role_deleted"
        case .grantPermission: "auth.permission_granted"
        case .revokePermission: "auth.permission_revoked"
        }
    }
}

/// Why a change of users or roles, or a question about them, was refused; each is an error of etcd's.
public enum AuthRefusal: UInt8, Error, Hashable, Sendable {
    case userExists = 1
    case userNotFound
    case roleExists
    case roleNotFound
    case roleNotGranted
    case permissionNotGranted
    /// There is no user `root`, without which nobody could undo it.
    case rootUserMissing
    /// The user `root` has not got the role `root`.
    case rootRoleMissing
    /// It would take the last power from `root` while permissions are in force.
    case rootNeeded
    /// Permissions are in force, and nothing says who asks.
    case userUnknown
    /// Users, roles and permissions take more than ``CoordinationLimits/authBytes``.
    case tableFull

    /// A stable word for programs.
    public var code: String {
        switch self {
        case .userExists: "user_exists"
        case .userNotFound: "user_not_found"
        case .roleExists: "role_exists"
        case .roleNotFound: "role_not_found"
        case .roleNotGranted: "role_not_granted"
        case .permissionNotGranted: "permission_not_granted"
        case .rootUserMissing: "root_user_missing"
        case .rootRoleMissing: "root_role_missing"
        case .rootNeeded: "root_needed"
        case .userUnknown: "user_unknown"
        case .tableFull: "auth_table_full"
        }
    }

    public var message: String {
        switch self {
        case .userExists: "the user exists already"
        case .userNotFound: "there is no such user"
        case .roleExists: "the role exists already"
        case .roleNotFound: "there is no such role"
        case .roleNotGranted: "the user does not have the role"
        case .permissionNotGranted: "the role has no permission on this range"
        case .rootUserMissing: "there is no user root"
        case .rootRoleMissing: "the user root does not have the role root"
        case .rootNeeded: "root keeps its user and role while permissions are in force"
        case .userUnknown: "permissions are in force, and the request names no user"
        case .tableFull: "users, roles and permissions take more than \(CoordinationLimits.authBytes) bytes"
        }
    }
}
