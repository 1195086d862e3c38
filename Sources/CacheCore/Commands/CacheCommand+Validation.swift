import EsperTypes

/// What a ``CacheCommand`` breaks whatever the state is.
public enum CacheCommandError: UInt8, Error, Hashable, Sendable, CaseIterable {
    /// Not `TENANT/REST` of at most ``CacheLimits/nameBytes``.
    case name = 1
    /// One command changes a name twice, so its version would not tell which.
    case duplicateName
    /// None, or more than ``CacheLimits/changesPerCommand``.
    case count
    /// More than ``CacheLimits/commandBytes`` when written.
    case tooLarge
    /// Above ``CacheLimits/artifactBytes``.
    case size
    /// A lifetime that is not positive, or above ``CacheLimits/maximumLifetime``; or an expiry in no time.
    case expiry
    /// A change of the map that is above ``MapLimits``.
    case map

    public var message: String {
        switch self {
        case .name: "a full name is TENANT/NAME of at most \(CacheLimits.nameBytes) bytes"
        case .duplicateName: "one command changes a name twice"
        case .count: "a command changes 1 to \(CacheLimits.changesPerCommand) names"
        case .tooLarge: "the changes of one command take at most \(CacheLimits.commandBytes) bytes"
        case .size: "an artifact has at most \(CacheLimits.artifactBytes) bytes"
        case .map:
            "a change of the map is of at most \(ShardID.count) shards and \(MapLimits.hosts) hosts within their bounds"
        case .expiry: "a lifetime is positive and at most \(CacheLimits.maximumLifetime)"
        }
    }
}

extension CacheCommand {
    /// Refuses what breaks a limit, whatever the state. Called before proposing, and when applied.
    public func validate() throws(CacheCommandError) {
        switch self {
        case .change(let changes):
            for change in changes { try change.validate() }
            try Self.validate(changes.map(\.name), bytesBesides: changes.count * CacheBind.mostBytesBesidesName)
        case .expire(let expired): try Self.validate(expired.map(\.name), bytesBesides: expired.count * 12)
        case .noteTiers(let notes): try Self.validate(notes.map(\.name), bytesBesides: notes.count * 13)
        case .forgetTombstones: break
        case .map(let command): guard command.isBounded else { throw .map }
        }
    }

    /// Whether bytes can be a full name: a tenant of one byte or more, a slash, and anything.
    public static func isName(_ name: [UInt8]) -> Bool {
        guard name.count <= CacheLimits.nameBytes, let slash = name.firstIndex(of: UInt8(ascii: "/")) else {
            return false
        }
        return slash > 0
    }

    private static func validate(_ names: [[UInt8]], bytesBesides: Int) throws(CacheCommandError) {
        guard (1...CacheLimits.changesPerCommand).contains(names.count) else { throw .count }
        guard names.allSatisfy(isName) else { throw .name }
        guard names.reduce(bytesBesides, { $0 + $1.count }) <= CacheLimits.commandBytes else { throw .tooLarge }
        guard names.count == 1 || Set(names).count == names.count else { throw .duplicateName }
    }
}

extension CacheChange {
    fileprivate func validate() throws(CacheCommandError) {
        switch self {
        case .bind(let bind):
            guard bind.size <= CacheLimits.artifactBytes else { throw .size }
            switch bind.expiry {
            case .never: break
            case .after(let lifetime):
                guard lifetime > .zero, lifetime <= CacheLimits.maximumLifetime else { throw .expiry }
            case .at(let time): guard time > 0 else { throw .expiry }
            }
        case .evict, .quarantine: break
        }
    }
}

extension CacheBind {
    /// With everything optional: tags 6, length of the name 4, digests 64, size 8, cost 4, mode and tiers 2, expiry 8, version 8.
    static let mostBytesBesidesName = 104
}
