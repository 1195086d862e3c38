/// What a command came to.
enum Outcome: Sendable {
    case now(Reply)
    case later(Errand)
}

/// An answer that comes from elsewhere.
struct Errand: Sendable {
    /// When it has not come by then, the connection is closed.
    var limit: Duration
    /// Kept until the answer is written.
    var lease: ValueLease?
    /// What is said shortly before that instead; nil: nothing can be.
    var instead: Reply?
    /// What `instead` leaves undone is counted.
    var isWrite = false
    var work: @Sendable () async -> Reply
}

/// A command: what `COMMAND` says of it, and what it does.
struct CommandSpec: Sendable {
    struct Flags: OptionSet, Sendable {
        let rawValue: UInt16
        static let write = Flags(rawValue: 1)
        static let readonly = Flags(rawValue: 2)
        static let fast = Flags(rawValue: 4)
        static let admin = Flags(rawValue: 8)
        /// Before anybody has said who he is.
        static let noAuth = Flags(rawValue: 16)
        static let denyOOM = Flags(rawValue: 32)
        /// Concerns the connection: waits for all answers before it, and everything waits for it.
        static let alone = Flags(rawValue: 64)
        /// May take long: walks over many keys.
        static let long = Flags(rawValue: 128)
        /// Runs within a transaction instead of being queued.
        static let immediate = Flags(rawValue: 256)
        /// A write that tells what stood there, and so needs the right to read as well.
        static let revealing = Flags(rawValue: 512)
    }

    var name: String
    /// With the name itself; negative: at least so many.
    var arity: Int
    var flags: Flags
    /// First, last and step, as `COMMAND` says it.
    var keys: (Int, Int, Int)
    var run: @Sendable (RedisSession, [[UInt8]]) -> Outcome

    init(
        _ name: String, _ arity: Int, _ flags: Flags, _ keys: (Int, Int, Int) = (0, 0, 0),
        _ run: @escaping @Sendable (RedisSession, [[UInt8]]) -> Outcome
    ) {
        self.name = name
        self.arity = arity
        self.flags = flags
        self.keys = keys
        self.run = run
    }

    func accepts(_ count: Int) -> Bool { arity >= 0 ? count == arity : count >= -arity }
}
