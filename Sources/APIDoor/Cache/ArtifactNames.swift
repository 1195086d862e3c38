internal import CacheCore
internal import KernelCache

/// Names as doors write them, a tenant and a name, and as the cache knows them: `TENANT/NAME`.
enum ArtifactNames {
    static let defaultTenant = "default"

    /// - Parameter tenant: empty: the default one.
    static func full(tenant: String, _ name: some Collection<UInt8>) throws(CacheFailure) -> [UInt8] {
        let full = try prefix(tenant: tenant) + name
        guard !name.isEmpty else { throw CacheFailure(.invalid, "a name has at least one byte") }
        guard full.count <= CacheLimits.nameBytes else {
            throw CacheFailure(
                .invalid, "a name with its tenant has at most \(CacheLimits.nameBytes) bytes, not \(full.count)")
        }
        return full
    }

    /// What all names of a tenant begin with.
    static func prefix(tenant: String) throws(CacheFailure) -> [UInt8] {
        let tenant = tenant.isEmpty ? defaultTenant : tenant
        let isGood = tenant.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
                true
            default: false
            }
        }
        guard isGood, tenant.utf8.count <= 64 else {
            throw CacheFailure(.invalid, "a tenant's name has at most 64 letters, digits, '-', '_' and '.'")
        }
        return [UInt8](tenant.utf8) + [UInt8(ascii: "/")]
    }

    /// A full name without its tenant.
    static func rest(of name: [UInt8]) -> [UInt8] {
        guard let slash = name.firstIndex(of: UInt8(ascii: "/")) else { return name }
        return [UInt8](name[(slash + 1)...])
    }
}
