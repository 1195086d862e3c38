import EsperTypes

/// Who may do what, once it is enabled: replicated users, roles and permissions. Source: etcd's auth store.
public struct AuthTable: Hashable, Sendable {
    public private(set) var isEnabled = false
    /// See ``AuthStatus/revision``.
    public private(set) var revision: UInt64 = 1
    /// By which doors sign what they give to users; empty until enabled, and another each time.
    public private(set) var secret: [UInt8] = []
    /// In order of name.
    public private(set) var users: [AuthUser] = []
    /// In order of name.
    public private(set) var roles: [AuthRole] = []
    /// About what all of it takes.
    private var bytes = 0

    /// The name of the user, and of the role, that may do everything.
    public static let root = "root"
    private static let recordBytes = 64

    public init() {}

    public var status: AuthStatus { AuthStatus(isEnabled: isEnabled, revision: revision) }

    public func user(_ name: String) -> AuthUser? { Self.position(of: name, in: users, \.name).found.map { users[$0] } }

    public func role(_ name: String) -> AuthRole? { Self.position(of: name, in: roles, \.name).found.map { roles[$0] } }

    /// Whether the user may read, or write, every key that could be in the range.
    func permits(_ user: AuthUser, _ range: KeyRange, writes: Bool) -> Bool {
        let coverages = user.roles.compactMap { role($0) }.map { writes ? $0.writable : $0.readable }
        if coverages.contains(where: { $0.covers(range) }) { return true }
        return coverages.count > 1 && KeyCoverage(union: coverages).covers(range)
    }

    // MARK: Changes

    /// - Throws: ``Refusal/auth(_:)``; then nothing was changed.
    mutating func perform(_ command: AuthCommand) throws(AuthRefusal) {
        switch command {
        case .enable(let secret):
            guard !isEnabled else { return }
            guard let root = user(Self.root) else { throw .rootUserMissing }
            guard root.has(Self.root) else { throw .rootRoleMissing }
            self.secret = secret
            isEnabled = true
            return
        case .disable:
            guard isEnabled else { return }
            isEnabled = false
        case .addUser(let name, let passwordHash):
            let (found, place) = Self.position(of: name, in: users, \.name)
            guard found == nil else { throw .userExists }
            try take(name.utf8.count + passwordHash.count + Self.recordBytes)
            users.insert(AuthUser(name: name, passwordHash: passwordHash, generation: revision + 1), at: place)
        case .deleteUser(let name):
            if isEnabled, name == Self.root { throw .rootNeeded }
            users.remove(at: try place(ofUser: name))
            recount()
        case .changePassword(let name, let passwordHash):
            let place = try place(ofUser: name)
            try take(passwordHash.count - users[place].passwordHash.count)
            users[place].passwordHash = passwordHash
            users[place].generation = revision + 1
        case .grantRole(let name, let role):
            let place = try place(ofUser: name)
            if role != Self.root { _ = try self.place(ofRole: role) }
            guard !users[place].has(role) else { return }
            try take(role.utf8.count)
            users[place].roles = (users[place].roles + [role]).sorted { $0.bytesPrecede($1) }
        case .revokeRole(let name, let role):
            if isEnabled, name == Self.root, role == Self.root { throw .rootNeeded }
            let place = try place(ofUser: name)
            guard users[place].has(role) else { throw .roleNotGranted }
            users[place].roles.removeAll { $0.isWritten(as: role) }
            recount()
        case .addRole(let name):
            let (found, place) = Self.position(of: name, in: roles, \.name)
            guard found == nil else { throw .roleExists }
            try take(name.utf8.count + Self.recordBytes)
            roles.insert(AuthRole(name: name), at: place)
        case .deleteRole(let name):
            if isEnabled, name == Self.root { throw .rootNeeded }
            roles.remove(at: try place(ofRole: name))
            for place in users.indices { users[place].roles.removeAll { $0.isWritten(as: name) } }
            recount()
        case .grantPermission(let role, let permission):
            let place = try place(ofRole: role)
            var permissions = roles[place].permissions
            permissions.removeAll { $0.range == permission.range }
            if permissions.count == roles[place].permissions.count { try take(Self.cost(permission)) }
            permissions.insert(
                permission,
                at: permissions.firstIndex { permission.range.isListed(before: $0.range) } ?? permissions.count)
            roles[place].set(permissions)
        case .revokePermission(let role, let range):
            let place = try place(ofRole: role)
            let left = roles[place].permissions.filter { $0.range != range }
            guard left.count < roles[place].permissions.count else { throw .permissionNotGranted }
            roles[place].set(left)
            recount()
        }
        revision += 1
    }

    private func place(ofUser name: String) throws(AuthRefusal) -> Int {
        guard let place = Self.position(of: name, in: users, \.name).found else { throw .userNotFound }
        return place
    }

    private func place(ofRole name: String) throws(AuthRefusal) -> Int {
        guard let place = Self.position(of: name, in: roles, \.name).found else { throw .roleNotFound }
        return place
    }

    /// Names are in order of their bytes.
    private static func position<Record>(
        of name: String, in records: [Record], _ key: (Record) -> String
    ) -> (found: Int?, place: Int) {
        var (low, high) = (0, records.count)
        while low < high {
            let middle = (low + high) / 2
            if key(records[middle]).bytesPrecede(name) { low = middle + 1 } else { high = middle }
        }
        let isFound = low < records.count && key(records[low]).isWritten(as: name)
        return (isFound ? low : nil, low)
    }

    // MARK: Size

    private mutating func take(_ more: Int) throws(AuthRefusal) {
        guard bytes + more <= CoordinationLimits.authBytes else { throw .tableFull }
        bytes += more
    }

    private mutating func recount() {
        bytes = users.reduce(0) { sum, user in
            user.roles.reduce(sum + user.name.utf8.count + user.passwordHash.count + Self.recordBytes) {
                $0 + $1.utf8.count
            }
        }
        bytes += roles.reduce(0) { sum, role in
            role.permissions.reduce(sum + role.name.utf8.count + Self.recordBytes) { $0 + Self.cost($1) }
        }
    }

    private static func cost(_ permission: AuthPermission) -> Int {
        if case .before(let upper) = permission.range.end {
            return permission.range.lower.count + upper.count + recordBytes
        }
        return permission.range.lower.count + recordBytes
    }
}

extension KeyRange {
    /// A fixed order of ranges: by their lower key, then by their end.
    fileprivate func isListed(before other: KeyRange) -> Bool {
        if lower != other.lower { return lower.precedes(other.lower) }
        switch (end, other.end) {
        case (.single, .single), (.unbounded, _): return false
        case (.single, _), (_, .unbounded): return true
        case (.before, .single): return false
        case (.before(let mine), .before(let theirs)): return mine.precedes(theirs)
        }
    }
}

// MARK: - As bytes

extension AuthTable {
    func encode(into writer: inout ByteWriter) {
        writer.write(isEnabled)
        writer.write(revision)
        writer.write(secret)
        writer.write(array: users) { writer, user in
            writer.write(user.name)
            writer.write(user.passwordHash)
            writer.write(user.generation)
            writer.write(array: user.roles) { $0.write($1) }
        }
        writer.write(array: roles) { writer, role in
            writer.write(role.name)
            writer.write(array: role.permissions) { $1.encode(into: &$0) }
        }
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        isEnabled = try reader.readBool()
        revision = try reader.read()
        secret = try reader.readBytes(atMost: CoordinationLimits.digestBytes)
        users = try reader.readArray { reader throws(DecodingError) in
            AuthUser(
                name: try reader.readString(atMost: CoordinationLimits.nameBytes),
                passwordHash: try reader.readBytes(atMost: CoordinationLimits.passwordHashBytes),
                generation: try reader.read(),
                roles: try reader.readArray { reader throws(DecodingError) in
                    try reader.readString(atMost: CoordinationLimits.nameBytes)
                })
        }
        roles = try reader.readArray { reader throws(DecodingError) in
            AuthRole(
                name: try reader.readString(atMost: CoordinationLimits.nameBytes),
                permissions: try reader.readArray { reader throws(DecodingError) in
                    try AuthPermission(from: &reader)
                })
        }
        recount()
        guard Self.isOrdered(users.map(\.name)), Self.isOrdered(roles.map(\.name)),
            users.allSatisfy({ Self.isOrdered($0.roles) }), revision > 0
        else { throw .unknownTag(revision) }
    }

    private static func isOrdered(_ names: [String]) -> Bool {
        zip(names, names.dropFirst()).allSatisfy { $0.bytesPrecede($1) }
    }
}

extension AuthPermission {
    func encode(into writer: inout ByteWriter) {
        range.encode(into: &writer)
        writer.write(access.rawValue)
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        range = try KeyRange(from: &reader)
        let tag = try reader.read(UInt8.self)
        guard let access = Access(rawValue: tag) else { throw .unknownTag(UInt64(tag)) }
        self.access = access
    }
}
