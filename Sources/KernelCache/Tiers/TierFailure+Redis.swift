internal import CacheCore
internal import Redis

extension TierFailure {
    init(_ error: RedisError) { self.init(.redis, Self.code(of: error), error.message) }

    private static func code(of error: RedisError) -> Code {
        switch error.kind {
        case .unavailable, .connectionLost: .unavailable
        case .deadlineExceeded: .timedOut
        case .cancelled: .cancelled
        case .overloaded: .overloaded
        case .shuttingDown: .stopped
        case .invalidRequest: .invalid
        case .malformedAnswer: .nonsense
        case .server: code(ofAnswer: error.code ?? "")
        }
    }

    /// The first words of Redis's errors.
    private static func code(ofAnswer word: String) -> Code {
        switch word {
        // What is there can still be read: out of memory, unable to save, without the replicas it must have, a replica itself.
        case "OOM", "MISCONF", "NOREPLICAS", "READONLY": .full
        case "NOAUTH", "WRONGPASS", "NOPERM", "DENIED": .refused
        // Loading its dump, without its master, without its cluster, busy with a script, or moving keys for longer than was waited.
        case "LOADING", "MASTERDOWN", "CLUSTERDOWN", "BUSY", "TRYAGAIN", "MOVED", "ASK":
            .unavailable
        default: .nonsense
        }
    }
}
