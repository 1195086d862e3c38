public import CacheCore

/// What ``CacheClient/withCompiled(_:options:wait:isDeterministic:make:)`` came to.
public struct Compiled: Sendable {
    /// By file name.
    public let files: [(name: String, bytes: [UInt8])]
    /// Found in the cache; false: made here and now.
    public let isFound: Bool
    /// What the name stands for; nil: it could not be stored, as ``storeError`` says.
    public let binding: Binding?
    /// Why what was made here is not in the cache. It is good all the same.
    public let storeError: EsperError?

    /// The content of the only file.
    public var value: [UInt8]? { files.count == 1 ? files[0].bytes : nil }
}

extension CacheClient {
    /// Finds what a name stands for, or makes it: one caller of the whole cluster does, while the others wait for his result.
    ///
    /// A cache that cannot be reached costs time and nothing else: then everybody makes what he needs.
    ///
    /// - Parameters:
    ///   - options: its token is set here; its cost is what making it is expected to take, and, when there is none, what it took.
    ///   - wait: how long to wait for another maker before making it here.
    ///   - isDeterministic: whether an error of `make` would be the same everywhere; those who wait are then told.
    ///   - make: gives the files; its errors are thrown on.
    public func withCompiled(
        _ name: ArtifactName, options: StoreOptions = StoreOptions(), wait: Duration = .seconds(600),
        isDeterministic: @Sendable (any Error) -> Bool = { _ in false },
        make: @Sendable () async throws -> [(name: String, bytes: [UInt8])]
    ) async throws -> Compiled {
        let sink = MemorySink(maximumBytes: CacheLimits.artifactBytes, wanted: [])
        var token: MakeToken?
        do {
            let download = CacheDownload(
                client, name, RetrieveOptions(), wantsToMake: true, wait: wait, expectedCost: options.cost)
            let start = try await download.run(into: sink)
            switch start {
            case .found:
                if let artifact = sink.artifact {
                    let names = artifact.header.manifest.files.map(\.name)
                    return Compiled(
                        files: zip(names, artifact.contents).map { ($0, $1 ?? []) }, isFound: true,
                        binding: artifact.binding, storeError: nil)
                }
            case .make(let granted): token = granted
            case .absent, .notModified: break
            }
        } catch let error where Self.endsSearch(error) {
            throw error
        } catch {
            // Without the cache it is made here.
        }
        let (files, cost) = try await making(name, token, isDeterministic, make)
        var options = options
        options.token = token
        if options.cost == nil { options.cost = cost }
        do {
            let answer = try await store(
                name, files.map { ArtifactFile(name: $0.name, .bytes($0.bytes)) }, options: options)
            return Compiled(files: files, isFound: false, binding: answer.binding, storeError: nil)
        } catch {
            if let token { try? await reportFailure(name, token, "\(error)", deterministic: false) }
            return Compiled(files: files, isFound: false, binding: nil, storeError: error)
        }
    }

    /// Failures after which making it here is no use, or not wanted.
    private static func endsSearch(_ error: EsperError) -> Bool {
        switch error.code {
        case EsperError.Code.cancelled, EsperError.Code.closed, "make_failed", "permission_denied", "invalid": true
        default: false
        }
    }

    /// Makes it, and keeps the token alive meanwhile.
    private func making(
        _ name: ArtifactName, _ token: MakeToken?, _ isDeterministic: @Sendable (any Error) -> Bool,
        _ make: @Sendable () async throws -> [(name: String, bytes: [UInt8])]
    ) async throws -> (files: [(name: String, bytes: [UInt8])], cost: Duration) {
        let start = ContinuousClock.now
        // Ended below, whatever happens.
        let renewing = token.map { token in Task { await keepAlive(name, token) } }
        defer { renewing?.cancel() }
        do {
            let files = try await make()
            return (files, ContinuousClock.now - start)
        } catch {
            if let token {
                // The waiting are told if they can be; otherwise the token runs out.
                try? await reportFailure(name, token, "\(error)", deterministic: isDeterministic(error))
            }
            throw error
        }
    }

    /// Renews a token each third of its lifetime until cancelled; one that is lost is not missed: the first to store wins.
    private func keepAlive(_ name: ArtifactName, _ token: MakeToken) async {
        var token = token
        while !Task.isCancelled, token.lifetime > .zero {
            do {
                try await Task.sleep(for: token.lifetime / 3)
                token = try await renew(name, token)
            } catch {
                guard (error as? EsperError)?.isRetryable == true else { return }
            }
        }
    }
}
