package import EsperTypes

/// A lock or a leadership that was granted: whose it is, and by which token.
package struct HeldClaim: Hashable, Sendable {
    let key: [UInt8]
    /// The revision that made the key.
    let token: FencingToken
    let loss: EsperError

    package static func lock(_ name: String, session: SessionID, _ token: FencingToken) -> HeldClaim {
        HeldClaim(
            key: ClaimName.key(lock: name, session: session), token: token,
            loss: EsperError(
                code: EsperError.Code.lockLost, message: "\(name) was released in the name of session \(session)",
                outcome: .unknown))
    }

    package static func election(_ name: String, session: SessionID, _ token: FencingToken) -> HeldClaim {
        HeldClaim(
            key: ClaimName.key(election: name, session: session), token: token,
            loss: EsperError(
                code: EsperError.Code.leadershipLost, message: "\(name) was resigned in the name of session \(session)",
                outcome: .unknown))
    }
}

extension EsperClient {
    /// Waits until a session's place in a queue is gone.
    ///
    /// - Returns: nil when that cannot be seen, or the task was cancelled: the session's end is noticed all the same.
    package func loss(of claim: HeldClaim) async -> EsperError? {
        var from = claim.token.rawValue + 1
        while !Task.isCancelled {
            do {
                var changes = watch(.key(claim.key), fromRevision: from).makeAsyncIterator()
                while let batch = try await changes.next() {
                    if batch.events.contains(where: \.isDelete) { return claim.loss }
                }
            } catch {
                // A place taken long ago: what happened since is not kept, but what is there now can be read.
                guard let error = error as? EsperError, error.code == "compacted",
                    let (pair, revision) = try? await get(claim.key)
                else { return nil }
                guard pair?.createRevision == claim.token.rawValue else { return claim.loss }
                from = revision + 1
            }
        }
        return nil
    }
}
