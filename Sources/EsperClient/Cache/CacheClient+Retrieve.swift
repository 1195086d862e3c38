extension CacheClient {
    /// An artifact with all its bytes, in memory.
    ///
    /// - Parameter maximumBytes: a larger one is refused as `oversized`; take it with ``retrieve(_:into:options:)``.
    public func retrieve(
        _ name: ArtifactName, options: RetrieveOptions = RetrieveOptions(), maximumBytes: UInt64 = 256 << 20
    ) async throws(EsperError) -> Retrieved<Artifact> {
        let sink = MemorySink(maximumBytes: maximumBytes, wanted: options.files)
        let start = try await CacheDownload(client, name, options).run(into: sink)
        return try Self.answer(start, sink)
    }

    /// The one value under a name; nil: there is none.
    public func value(of name: ArtifactName) async throws(EsperError) -> [UInt8]? {
        guard case .found(let artifact) = try await retrieve(name) else { return nil }
        return artifact.value
    }

    /// Gives an artifact's files to a sink as they come, in bounded memory.
    ///
    /// When the node is lost midway, the rest comes from another.
    public func retrieve(
        _ name: ArtifactName, into sink: any ArtifactSink, options: RetrieveOptions = RetrieveOptions()
    ) async throws(EsperError) -> Retrieved<ArtifactHeader> {
        switch try await CacheDownload(client, name, options).run(into: sink) {
        case .found(let header): .found(header)
        case .absent(let binding): .absent(binding)
        case .notModified(let binding): .notModified(binding)
        case .make: throw CacheDownload.malformed("a token that nobody asked for")
        }
    }

    static func answer(_ start: CacheDownload.Start, _ sink: MemorySink) throws(EsperError) -> Retrieved<Artifact> {
        switch start {
        case .found:
            guard let artifact = sink.artifact else { throw CacheDownload.malformed("no artifact") }
            return .found(artifact)
        case .absent(let binding): return .absent(binding)
        case .notModified(let binding): return .notModified(binding)
        case .make: throw CacheDownload.malformed("a token that nobody asked for")
        }
    }
}
