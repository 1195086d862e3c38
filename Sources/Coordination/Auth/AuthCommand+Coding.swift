import EsperTypes

extension AuthCommand {
    func encode(into writer: inout ByteWriter) {
        switch self {
        case .enable(let secret):
            writer.write(UInt8(1))
            writer.write(secret)
        case .disable: writer.write(UInt8(2))
        case .addUser(let name, let passwordHash):
            writer.write(3, name)
            writer.write(passwordHash)
        case .deleteUser(let name): writer.write(4, name)
        case .changePassword(let user, let passwordHash):
            writer.write(5, user)
            writer.write(passwordHash)
        case .grantRole(let user, let role):
            writer.write(6, user)
            writer.write(role)
        case .revokeRole(let user, let role):
            writer.write(7, user)
            writer.write(role)
        case .addRole(let name): writer.write(8, name)
        case .deleteRole(let name): writer.write(9, name)
        case .grantPermission(let role, let permission):
            writer.write(10, role)
            permission.encode(into: &writer)
        case .revokePermission(let role, let range):
            writer.write(11, role)
            range.encode(into: &writer)
        }
    }

    init(from reader: inout ByteReader) throws(DecodingError) {
        func name(_ reader: inout ByteReader) throws(DecodingError) -> String {
            try reader.readString(atMost: CoordinationLimits.nameBytes)
        }
        func hash(_ reader: inout ByteReader) throws(DecodingError) -> [UInt8] {
            try reader.readBytes(atMost: CoordinationLimits.passwordHashBytes)
        }
        switch try reader.read(UInt8.self) {
        case 1: self = .enable(secret: try reader.readBytes(atMost: CoordinationLimits.digestBytes))
        case 2: self = .disable
        case 3: self = .addUser(name: try name(&reader), passwordHash: try hash(&reader))
        case 4: self = .deleteUser(name: try name(&reader))
        case 5: self = .changePassword(user: try name(&reader), passwordHash: try hash(&reader))
        case 6: self = .grantRole(user: try name(&reader), role: try name(&reader))
        case 7: self = .revokeRole(user: try name(&reader), role: try name(&reader))
        case 8: self = .addRole(name: try name(&reader))
        case 9: self = .deleteRole(name: try name(&reader))
        case 10: self = .grantPermission(role: try name(&reader), try AuthPermission(from: &reader))
        case 11: self = .revokePermission(role: try name(&reader), try KeyRange(from: &reader))
        case let tag: throw .unknownTag(UInt64(tag))
        }
    }

    func validate() throws(InvalidCommand) {
        switch self {
        case .enable(let secret):
            guard secret.count == CoordinationLimits.digestBytes else { throw .digestLength(secret.count) }
        case .disable: break
        case .addUser(let name, let hash), .changePassword(let name, let hash):
            try Command.validate(name: name)
            guard hash.count <= CoordinationLimits.passwordHashBytes else { throw .passwordHashTooLong(hash.count) }
        case .deleteUser(let name), .addRole(let name), .deleteRole(let name): try Command.validate(name: name)
        case .grantRole(let user, let role), .revokeRole(let user, let role):
            try Command.validate(name: user)
            try Command.validate(name: role)
        case .grantPermission(let role, let permission):
            try Command.validate(name: role)
            try permission.range.validate()
            guard !permission.range.isEmpty else { throw .emptyRange }
        case .revokePermission(let role, let range):
            try Command.validate(name: role)
            try range.validate()
        }
    }
}

extension ByteWriter {
    fileprivate mutating func write(_ tag: UInt8, _ name: String) {
        write(tag)
        write(name)
    }
}
