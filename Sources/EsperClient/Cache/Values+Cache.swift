internal import CacheCore
internal import EsperProtocol
internal import EsperTypes
internal import FoundationEssentials
internal import SwiftProtobuf

// Between the values of the cache and the messages of the wire.

extension ArtifactName {
    var message: ProtoCacheName {
        .with {
            $0.tenant = tenant
            $0.name = Data(bytes)
        }
    }
}

extension Digest {
    var data: Data { Data(bytes) }
}

extension CacheTier {
    init?(_ name: ProtoCacheTierName) {
        switch name {
        case .memory: self = .memory
        case .peer: self = .peer
        case .redis: self = .redis
        case .catalog: self = .catalog
        case .archive: self = .archive
        case .unspecified, .UNRECOGNIZED: return nil
        }
    }

    var message: ProtoCacheTierName {
        switch self {
        case .memory: .memory
        case .peer: .peer
        case .redis: .redis
        case .catalog: .catalog
        case .archive: .archive
        }
    }
}

extension TierSet {
    init(_ names: [ProtoCacheTierName]) {
        self = names.reduce(into: TierSet()) { if let tier = CacheTier($1) { $0.insert(TierSet(tier)) } }
    }
}

extension Binding {
    /// - Returns: nil when the message makes no sense.
    init?(_ message: ProtoCacheBinding) {
        guard let manifest = Digest(bytes: message.manifest) else { return nil }
        let kind: Kind
        switch message.kind {
        case .action: kind = .action
        case .alias: kind = .alias
        case .UNRECOGNIZED: return nil
        }
        let state: State
        switch message.state {
        case .live: state = .live
        case .tombstone: state = .tombstone
        case .quarantined: state = .quarantined
        case .UNRECOGNIZED: return nil
        }
        self.init(
            kind: kind, state: state, manifest: manifest, version: LogIndex(message.version),
            costMilliseconds: message.costMs, size: message.size, tiers: TierSet(message.tiers),
            lineage: Digest(bytes: message.lineage),
            expires: message.expiresUnixMs.multipliedReportingOverflow(by: 1_000_000).partialValue)
    }
}

extension Manifest {
    /// - Returns: nil when a digest makes no sense.
    init?(writer: String, _ messages: [ProtoCacheFile]) {
        var files: [File] = []
        for file in messages {
            if file.blobs.isEmpty {
                files.append(File(name: file.name, content: .inline([UInt8](file.inline))))
                continue
            }
            var blobs: [BlobReference] = []
            for blob in file.blobs {
                guard let digest = Digest(bytes: blob.sha256) else { return nil }
                blobs.append(BlobReference(digest: digest, size: blob.size))
            }
            files.append(File(name: file.name, content: .blobs(blobs)))
        }
        self.init(writer: writer, files: files)
    }
}

extension MakeToken {
    init(_ message: ProtoCacheToken) {
        self.init(number: message.number, lifetime: .milliseconds(Int64(clamping: message.lifetimeMs)))
    }
}

extension ProtoCacheMode {
    init(_ mode: StoreMode) {
        switch mode {
        case .memory: self = .memory
        case .durable: self = .durable
        case .archived: self = .archived
        }
    }
}

extension StoreOptions {
    /// - Parameter request: makes a repeat have no second effect.
    func header(_ name: ArtifactName, _ request: ProtoRequestID) -> ProtoStoreHeader {
        .with {
            $0.requestID = request
            $0.name = name.message
            switch kind {
            case .action: $0.kind = .action
            case .alias: $0.kind = .alias
            }
            $0.mode = ProtoCacheMode(mode)
            switch condition {
            case .byKind: break
            case .version(let version): $0.condition = .expectVersion(version)
            case .absent: $0.condition = .expectAbsent(true)
            }
            $0.costMs = UInt32(clamping: cost?.milliseconds ?? 0)
            $0.lineage = lineage?.data ?? Data()
            $0.ttlMs = lifetime?.milliseconds ?? 0
            $0.token = token?.number ?? 0
        }
    }
}
