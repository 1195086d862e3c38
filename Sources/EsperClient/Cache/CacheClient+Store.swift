internal import CacheCore
internal import EsperTypes

extension CacheClient {
    /// Binds a name to some files, once they are held as the mode asks.
    ///
    /// Done once, however often it had to be sent. With outcome `unknown` it may have been.
    @discardableResult
    public func store(
        _ name: ArtifactName, _ files: [ArtifactFile], options: StoreOptions = StoreOptions()
    ) async throws(EsperError) -> StoreAnswer {
        do {
            let placeholders = files.map { Manifest.File(name: $0.name, content: .inline([])) }
            try Manifest(writer: "", files: placeholders).validate()
        } catch {
            throw EsperError(code: "invalid", message: "\(error)", outcome: .notCommitted)
        }
        return try await CacheUpload(client, name, options).run(files)
    }

    /// Binds a name to one value.
    @discardableResult
    public func store(
        _ name: ArtifactName, _ value: [UInt8], options: StoreOptions = StoreOptions()
    ) async throws(EsperError) -> StoreAnswer {
        try await store(name, [ArtifactFile(name: "", .bytes(value))], options: options)
    }
}
