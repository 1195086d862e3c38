public import EsperTypes

/// Asks for a lock.
public struct LockRequest: Hashable, Sendable {
    public var name: String
    public var session: SessionID
    /// Whether to join the queue when another session has the lock; otherwise the answer is ``Refusal/lockHeld(by:)``.
    public var waits: Bool

    public init(name: String, session: SessionID, waits: Bool = true) {
        self.name = name
        self.session = session
        self.waits = waits
    }
}

/// The place of a session in a lock's queue.
public struct LockReply: Hashable, Sendable {
    /// The create revision of the session's key. Once ``isHeld``, what guarded resources must be shown.
    public var token: FencingToken
    public var isHeld: Bool
    /// The holder's token; equal to ``token`` when held.
    public var holder: FencingToken

    public init(token: FencingToken, isHeld: Bool, holder: FencingToken) {
        self.token = token
        self.isHeld = isHeld
        self.holder = holder
    }
}

/// A lock or election and the sessions in its queue, the holder first.
public struct LockState: Hashable, Sendable {
    public struct Claim: Hashable, Sendable {
        public var session: SessionID
        public var token: FencingToken
        /// The principal that asked (locks) or the candidate's value (elections).
        public var value: [UInt8]

        public init(session: SessionID, token: FencingToken, value: [UInt8]) {
            self.session = session
            self.token = token
            self.value = value
        }
    }

    public var name: String
    /// In order of creation; the first holds.
    public var claims: [Claim]
    /// How many sessions there are in the queue, holder included, however many ``claims`` tells of.
    public var count: Int

    public var holder: Claim? { claims.first }

    public init(name: String, claims: [Claim], count: Int) {
        self.name = name
        self.claims = claims
        self.count = count
    }
}

/// A session has become the holder of a lock or won an election, at once or after waiting.
public struct Grant: Hashable, Sendable {
    public enum Kind: UInt8, Hashable, Sendable { case lock, election }

    public var kind: Kind
    public var name: String
    public var session: SessionID
    public var token: FencingToken

    public init(kind: Kind, name: String, session: SessionID, token: FencingToken) {
        self.kind = kind
        self.name = name
        self.session = session
        self.token = token
    }
}

/// A session that waited has left the queue of a lock or an election; it was never granted.
public struct Departure: Hashable, Sendable {
    public enum Cause: Hashable, Sendable {
        /// A wait of the session ended (``Command/cancelLockWait(name:session:)``, ``Command/cancelCandidacy(election:session:)``).
        case waitEnded
        /// The session gave its place up.
        case givenUp
    }

    public var kind: Grant.Kind
    public var name: String
    public var session: SessionID
    public var cause: Cause

    public init(kind: Grant.Kind, name: String, session: SessionID, cause: Cause) {
        self.kind = kind
        self.name = name
        self.session = session
        self.cause = cause
    }
}
