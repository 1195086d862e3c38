public import EsperTypes

/// The place of a session in an election.
public struct ElectionReply: Hashable, Sendable {
    /// The create revision of the candidate's key, kept through proclamations.
    public var token: FencingToken
    public var isElected: Bool
    /// The token of whoever is elected; equal to ``token`` when that is the candidate.
    public var leader: FencingToken

    public init(token: FencingToken, isElected: Bool, leader: FencingToken) {
        self.token = token
        self.isElected = isElected
        self.leader = leader
    }
}

/// Who is elected, and what they proclaimed.
public struct ElectionLeader: Hashable, Sendable {
    public var name: String
    public var session: SessionID
    public var token: FencingToken
    /// The latest version of the leader's key; its value is the proclaimed one.
    public var keyValue: KeyValue

    public init(name: String, session: SessionID, token: FencingToken, keyValue: KeyValue) {
        self.name = name
        self.session = session
        self.token = token
        self.keyValue = keyValue
    }
}
