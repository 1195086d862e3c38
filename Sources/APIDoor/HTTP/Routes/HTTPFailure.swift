internal import Coordination
internal import EsperTypes
internal import HTTPTypes
internal import RaftRuntime

/// A request that has no result: the status and the `error` object of the answer.
struct HTTPFailure: Error, Hashable {
    var status: HTTPResponse.Status
    var code: String
    var message: String
    var outcome: Outcome
    var isRetryable = false
    var leader: String?
    var leaderAPIAddress: String?
    /// For `compacted`: the oldest revision that can still be read.
    var oldestRevision: UInt64?
    /// The methods the path takes, when it is another one.
    var allow: String?

    /// Nothing was done, because of the request itself.
    static func refused(_ status: HTTPResponse.Status, _ code: String, _ message: String) -> HTTPFailure {
        HTTPFailure(status: status, code: code, message: message, outcome: .notCommitted)
    }

    static func invalid(_ message: String) -> HTTPFailure { .refused(.badRequest, "invalid_argument", message) }

    static let unexpected = HTTPFailure(
        status: .internalServerError, code: "internal", message: "the node gave an answer of another kind",
        outcome: .unknown)

    var json: JSONValue {
        .object([
            "error": .object([
                "code": .text(code), "message": .text(message), "outcome": .text(outcome.rawValue),
                "retryable": .boolean(isRetryable), "leader": leader.map(JSONValue.text) ?? .null,
                "leader_api_address": leaderAPIAddress.map(JSONValue.text) ?? .null,
                "oldest_revision": oldestRevision.map(JSONValue.unsigned),
            ])
        ])
    }
}

extension HTTPFailure {
    init(_ failure: ServiceFailure) {
        let status: HTTPResponse.Status
        switch failure.code {
        case .noLeader, .overloaded, .draining, .leadershipChanged, .unconfirmed:
            status = .serviceUnavailable
        case .storageFull: status = .init(code: 507, reasonPhrase: "Insufficient Storage")
        case .timedOut: status = .gatewayTimeout
        case .tooManyWatches: status = .tooManyRequests
        case .oversized: status = .contentTooLarge
        case .sessionNotFound: status = .notFound
        case .permissionDenied: status = .forbidden
        case .userUnknown: status = .unauthorized
        case .transferFailed, .withdrawn, .superseded, .memberExists, .notCaughtUp, .notHeard, .quorumNotHeard,
            .changePending, .changeRefused:
            status = .conflict
        case .unknownMember: status = .badRequest
        case .compacted: status = .gone
        case .notGranted: status = .init(code: 423, reasonPhrase: "Locked")
        }
        self.init(
            status: status, code: failure.code.rawValue, message: failure.message, outcome: failure.outcome,
            isRetryable: failure.isRetryable, leader: failure.leader, leaderAPIAddress: failure.leaderAPIAddress)
    }

    init(_ refusal: Refusal) {
        let status: HTTPResponse.Status
        switch refusal {
        case .malformed, .invalid, .futureRevision: status = .badRequest
        case .compacted: status = .gone
        case .keyNotFound, .sessionNotFound, .lockNotFound, .candidateNotFound: status = .notFound
        case .reservedKey: status = .forbidden
        case .lockHeld: status = .init(code: 423, reasonPhrase: "Locked")
        case .notElected: status = .preconditionFailed
        case .staleTerm, .clientUnknown, .requestExpired: status = .conflict
        case .outboxFull: status = .serviceUnavailable
        case .replyTooLarge: status = .contentTooLarge
        case .memberNotFound, .joinTokenUnknown: status = .notFound
        case .joinTokenOfAnother, .permissionDenied: status = .forbidden
        case .auth(.userUnknown): status = .unauthorized
        case .auth(.userNotFound), .auth(.roleNotFound): status = .notFound
        case .auth: status = .conflict
        case .tooManyJoinTokens: status = .tooManyRequests
        case .memberNameTaken, .memberAddressTaken, .membersFounded, .tooManyMembers, .joinTokenExpired,
            .joinTokenRevoked, .joinTokenUsedUp, .joinTokenExists, .sessionExists:
            status = .conflict
        }
        self.init(
            status: status, code: refusal.code, message: refusal.message, outcome: refusal.outcome,
            isRetryable: refusal.isRetryable)
        if case .compacted(let revision) = refusal { oldestRevision = revision.rawValue }
    }
}
