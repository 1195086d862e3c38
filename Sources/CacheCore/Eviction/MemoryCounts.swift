/// Why an entry left the memory.
public enum EvictionReason: Int, Hashable, Sendable, CaseIterable {
    /// Others needed the room.
    case capacity
    /// The limit was lowered, since the machine is short of memory.
    case pressure
    /// A newer version of the name was asked for or put.
    case superseded
    /// Somebody asked for it.
    case dropped

    /// A stable word.
    public var name: String {
        switch self {
        case .capacity: "capacity"
        case .pressure: "pressure"
        case .superseded: "superseded"
        case .dropped: "dropped"
        }
    }
}

/// What became of a value that was put into the memory.
public enum MemoryAdmission: Hashable, Sendable {
    case admitted
    /// It was there already.
    case held
    case refused(Refusal)

    public enum Refusal: Int, Hashable, Sendable, CaseIterable {
        /// Above a sixteenth of a stripe.
        case tooLarge
        /// There was too little time to make room.
        case full
        /// A newer version of the name is there.
        case superseded

        /// A stable word.
        public var name: String {
            switch self {
            case .tooLarge: "too_large"
            case .full: "full"
            case .superseded: "superseded"
            }
        }
    }

    public var isHeld: Bool {
        switch self {
        case .admitted, .held: true
        case .refused: false
        }
    }
}

/// What has happened in a memory since it was made.
public struct MemoryCounts: Hashable, Sendable {
    /// By digest.
    public var hits: UInt64 = 0
    public var misses: UInt64 = 0
    /// Of what hits by digest or name gave.
    public var hitBytes: UInt64 = 0
    public var hitCostMilliseconds: UInt64 = 0
    /// By name and version.
    public var nameHits: UInt64 = 0
    public var nameMisses: UInt64 = 0
    public var admissions: UInt64 = 0
    /// Sampled requests that no shadow cache saw, since it had no time for them.
    public var samplesLost: UInt64 = 0
    /// By ``EvictionReason``.
    public var evictions = [UInt64](repeating: 0, count: EvictionReason.allCases.count)
    /// By ``MemoryAdmission/Refusal``.
    public var refusals = [UInt64](repeating: 0, count: MemoryAdmission.Refusal.allCases.count)

    public init() {}

    /// What somebody wanted of the memory, or brought to it.
    public var uses: UInt64 {
        hits &+ misses &+ nameHits &+ nameMisses &+ admissions &+ refusals.reduce(0, &+)
    }

    public static func += (left: inout MemoryCounts, right: MemoryCounts) {
        left.hits &+= right.hits
        left.misses &+= right.misses
        left.hitBytes &+= right.hitBytes
        left.hitCostMilliseconds &+= right.hitCostMilliseconds
        left.nameHits &+= right.nameHits
        left.nameMisses &+= right.nameMisses
        left.samplesLost &+= right.samplesLost
        left.admissions &+= right.admissions
        for position in left.evictions.indices { left.evictions[position] &+= right.evictions[position] }
        for position in left.refusals.indices { left.refusals[position] &+= right.refusals[position] }
    }
}
