import CacheCore
import EsperTypes

// The digest by which replicas find out that they have become different.
extension StateMachine {
    /// The rule of ``applyChain``; to be raised whenever it folds something else, or the same otherwise.
    public static let chainFormat: UInt16 = 1

    /// Entries after which the chain begins anew, at the same index everywhere: so that replicas of another rule, or that
    /// were upgraded at different indexes, are comparable again some time after they all have the same.
    package static let chainEpoch: UInt64 = 1 << 20

    /// ``applyChain``, unless part of it was made by another rule than ``chainFormat``.
    public var comparableChain: UInt64? { isChainMixed ? nil : applyChain }

    mutating func beginChainEpochIfDue() {
        guard applied.index.rawValue % Self.chainEpoch == 0 else { return }
        applyChain = 0
        isChainMixed = false
    }

    /// Folds an entry and its outcome into ``applyChain``: what was asked, what it changed, and the size of what there is.
    mutating func link(_ result: CommandResult?, _ payload: [UInt8], _ events: ArraySlice<WatchEvent>) {
        var digest = Digest64(seed: applyChain)
        digest.add(applied.index.rawValue)
        digest.add(applied.term.rawValue)
        digest.add(revision.rawValue ^ UInt64(keyspace.liveBytes) << 20 ^ time)
        digest.add(UInt64(keyspace.live.count) ^ UInt64(sessions.count) << 32 ^ UInt64(result?.ordinal ?? 0) << 56)
        digest.add(UInt64(outbox.count) ^ UInt64(requests.clients.count) << 32)
        digest.add(members.version.rawValue ^ members.nextID.rawValue << 48)
        digest.add(payload)
        for event in events {
            digest.add(event.key)
            digest.add(event.revision.rawValue)
            digest.add(event.keyValue.createRevision.rawValue ^ event.keyValue.version << 40)
        }
        if case .cache(let result) = result {
            var writer = ByteWriter()
            result.encode(into: &writer)
            digest.add(writer.bytes)
            digest.add(UInt64(cache.names.count) ^ cache.bytes << 20)
        }
        applyChain = digest.value
    }

    /// Makes this replica differ from others by a key that nobody put, for tests of how that is found.
    package mutating func divergeOnPurpose() {
        keyspace.put(Array("diverged".utf8), [], session: KeyValue.noSession)
        var events: [WatchEvent] = []
        keyspace.commit(into: &events)
    }
}

extension CommandResult {
    /// Tells outcomes apart in the apply chain.
    fileprivate var ordinal: UInt8 {
        switch self {
        case .refused: 1
        case .put: 2
        case .deleted: 3
        case .transaction(let reply): reply.succeeded ? 4 : 5
        case .compacted: 6
        case .sessionGranted: 7
        case .sessionEnded: 8
        case .sessionsExpired: 9
        case .lock(let reply): reply.isHeld ? 10 : 11
        case .lockReleased: 12
        case .election(let reply): reply.isElected ? 13 : 14
        case .proclaimed: 15
        case .resigned: 16
        case .clientRegistered: 17
        case .outboxAcknowledged: 19
        case .configured: 20
        case .recorded: 21
        case .memberAdmitted: 22
        case .joinTokenCreated: 23
        case .joinTokenRevoked: 24
        case .joinTokenRedeemed: 25
        case .authChanged: 26
        case .cache: 27
        }
    }
}
