internal import NIOCore

/// A command with its arguments, and the key by which a cluster's server for it is found.
///
/// Its description is its name: arguments may be secrets or values.
public struct RedisCommand: Hashable, Sendable, CustomStringConvertible {
    public let name: String
    let arguments: [[UInt8]]
    /// Nil for what any server may answer.
    let key: [UInt8]?

    /// - Parameter key: one of the keys among the arguments; in a cluster all of them must be of one slot.
    public init(_ name: String, _ arguments: [[UInt8]] = [], key: [UInt8]? = nil) {
        self.name = name
        self.arguments = arguments
        self.key = key
    }

    public var description: String { name }

    /// About what it takes on the wire.
    var byteCount: Int { arguments.reduce(32 + name.utf8.count) { $0 + $1.count + 16 } }

    func write(into buffer: inout ByteBuffer) {
        buffer.writeString("*\(arguments.count + 1)\r\n$\(name.utf8.count)\r\n\(name)\r\n")
        for argument in arguments {
            buffer.writeString("$\(argument.count)\r\n")
            buffer.writeBytes(argument)
            buffer.writeStaticString("\r\n")
        }
    }
}

extension RedisCommand {
    public static let ping = RedisCommand("PING")

    public static func get(_ key: [UInt8]) -> RedisCommand { RedisCommand("GET", [key], key: key) }

    /// - Parameter keys: at least one; in a cluster of one slot. ``RedisClient/values(of:within:)`` takes any.
    public static func mget(_ keys: [[UInt8]]) -> RedisCommand { RedisCommand("MGET", keys, key: keys.first) }

    public static func set(_ key: [UInt8], _ value: [UInt8]) -> RedisCommand {
        RedisCommand("SET", [key, value], key: key)
    }

    /// Answered with null when there is a value already, which stays.
    public static func setIfAbsent(_ key: [UInt8], _ value: [UInt8]) -> RedisCommand {
        RedisCommand("SET", [key, value, Array("NX".utf8)], key: key)
    }

    public static func exists(_ key: [UInt8]) -> RedisCommand { RedisCommand("EXISTS", [key], key: key) }

    public static func delete(_ key: [UInt8]) -> RedisCommand { RedisCommand("DEL", [key], key: key) }

    static let asking = RedisCommand("ASKING")
    static let clusterSlots = RedisCommand("CLUSTER", [Array("SLOTS".utf8)])
}
