/// What a server answered to one command, in version 2 of the protocol.
public enum RedisReply: Hashable, Sendable {
    /// A short text such as `OK`.
    case status(String)
    /// Of kind `server`.
    case error(RedisError)
    case integer(Int64)
    case bytes([UInt8])
    /// No value: the key does not exist, or the condition did not hold.
    case null
    case array([RedisReply])
}
