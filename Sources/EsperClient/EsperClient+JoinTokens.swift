internal import EsperProtocol
public import EsperTypes
internal import FoundationEssentials
internal import SwiftProtobuf

// Tokens by which new hosts may join.
extension EsperClient {
    /// Makes a token. The cluster is told a digest of its secret alone.
    ///
    /// - Parameters:
    ///   - secretDigest: SHA-256 of 32 random bytes.
    ///   - node: the one node that may join by it; empty: any.
    /// - Returns: when it expires, in milliseconds since 1970, by the cluster's clock.
    public func createJoinToken(
        _ id: JoinTokenID, secretDigest: [UInt8], node: String = "", uses: Int = 1, ttl: Duration
    ) async throws(EsperError) -> (Commit, expiresUnixMilliseconds: UInt64) {
        let request = ProtoCreateJoinTokenRequest.with {
            $0.id = id.description
            $0.secretSha256 = Data(secretDigest)
            $0.node = node
            $0.uses = UInt32(clamping: uses)
            $0.ttlMs = ttl.milliseconds
        }
        let response = try await run(.command(.createJoinToken, request), ProtoCreateJoinTokenResponse.self)
        return (Commit(response.commit), response.expiresUnixMs)
    }

    /// Every token that is kept; those that have expired go when room is needed.
    public func joinTokens() async throws(EsperError) -> [JoinTokenInfo] {
        let response = try await run(
            .repeatable(.listJoinTokens, ProtoListJoinTokensRequest(), prefersLeader: true),
            ProtoListJoinTokensResponse.self)
        return response.tokens.map { token in
            JoinTokenInfo(
                id: token.id, node: token.node, uses: Int(token.uses), expiresUnixMilliseconds: token.expiresUnixMs,
                creator: token.creator, isRevoked: token.revoked, usedBy: token.usedBy)
        }
    }

    /// Ends a token; nodes that have joined by it stay.
    @discardableResult
    public func revokeJoinToken(_ id: JoinTokenID) async throws(EsperError) -> Commit {
        let request = ProtoRevokeJoinTokenRequest.with { $0.id = id.description }
        let response = try await run(.command(.revokeJoinToken, request), ProtoRevokeJoinTokenResponse.self)
        return Commit(response.commit)
    }
}

/// What the cluster keeps of a join token.
public struct JoinTokenInfo: Hashable, Sendable {
    public let id: String
    /// The one node that may join by it; empty: any.
    public let node: String
    public let uses: Int
    public let expiresUnixMilliseconds: UInt64
    /// Who made it, for example `client/alice`.
    public let creator: String
    public let isRevoked: Bool
    /// Names of the nodes that have joined by it.
    public let usedBy: [String]
}
