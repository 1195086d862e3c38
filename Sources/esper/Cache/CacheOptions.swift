import ArgumentParser
import CacheCore
import EsperClient
import EsperTypes

/// What every command about one artifact takes.
struct ArtifactArgument: ParsableArguments {
    @Argument(help: "The artifact's name.")
    var name: String

    @OptionGroup var tenant: TenantOption

    var artifact: ArtifactName { ArtifactName(name, tenant: tenant.tenant) }
}

struct TenantOption: ParsableArguments {
    @Option(help: "Whose names.")
    var tenant = ArtifactName.defaultTenant
}

/// A SHA-256 as people write it.
struct WrittenDigest: Sendable {
    var digest: Digest

    static func read(_ text: String) throws -> Self {
        guard let digest = Digest(text) else { throw ValidationError("write a digest as 64 hexadecimal digits") }
        return Self(digest: digest)
    }
}

struct WrittenShard: Sendable {
    var shard: ShardID

    static func read(_ text: String) throws -> Self {
        guard let shard = Int(text).flatMap({ ShardID($0) }) else {
            throw ValidationError("a shard is a number from 0 to \(ShardID.count - 1)")
        }
        return Self(shard: shard)
    }
}

/// A tier by its name.
struct WrittenTier: Sendable {
    var tier: CacheTier

    static func read(_ text: String) throws -> Self {
        guard let tier = CacheTier.allCases.first(where: { $0.name == text }) else {
            throw ValidationError("a tier is one of \(CacheTier.allCases.map(\.name).joined(separator: ", "))")
        }
        return Self(tier: tier)
    }
}

enum WrittenMode: String, CaseIterable, ExpressibleByArgument {
    case memory, durable, archived

    var mode: StoreMode {
        switch self {
        case .memory: .memory
        case .durable: .durable
        case .archived: .archived
        }
    }
}

enum WrittenKind: String, CaseIterable, ExpressibleByArgument {
    case action, alias

    var kind: Binding.Kind {
        switch self {
        case .action: .action
        case .alias: .alias
        }
    }
}
