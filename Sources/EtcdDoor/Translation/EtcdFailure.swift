import Coordination
import GRPCTransport
import RaftRuntime
import SwiftProtobuf

/// How a call fails: the code and the words that etcd uses, since clients look at both.
///
/// Source: etcd 3.5, api/v3rpc/rpctypes/error.go.
struct EtcdFailure: Error, Hashable {
    var status: GRPCStatus

    init(_ code: GRPCCode, _ message: String) { status = GRPCStatus(code, message) }

    static let emptyKey = EtcdFailure(.invalidArgument, "etcdserver: key is not provided")
    static let keyNotFound = EtcdFailure(.invalidArgument, "etcdserver: key not found")
    static let valueProvided = EtcdFailure(.invalidArgument, "etcdserver: value is provided")
    static let leaseProvided = EtcdFailure(.invalidArgument, "etcdserver: lease is provided")
    static let tooManyOperations = EtcdFailure(
        .invalidArgument, "etcdserver: too many operations in txn request")
    static let duplicateKey = EtcdFailure(.invalidArgument, "etcdserver: duplicate key given in txn request")
    static let tooLarge = EtcdFailure(.invalidArgument, "etcdserver: request is too large")
    static let compacted = EtcdFailure(
        .outOfRange, "etcdserver: mvcc: required revision has been compacted")
    static let futureRevision = EtcdFailure(
        .outOfRange, "etcdserver: mvcc: required revision is a future revision")
    static let noSpace = EtcdFailure(.resourceExhausted, "etcdserver: mvcc: database space exceeded")
    static let leaseNotFound = EtcdFailure(.notFound, "etcdserver: requested lease not found")
    static let leaseExists = EtcdFailure(.failedPrecondition, "etcdserver: lease already exists")
    static let leaseTooLong = EtcdFailure(.outOfRange, "etcdserver: too large lease TTL")
    static let sessionExpired = EtcdFailure(.failedPrecondition, "etcdserver: session expired")
    static let memberNotFound = EtcdFailure(.notFound, "etcdserver: member not found")
    static let memberExists = EtcdFailure(.failedPrecondition, "etcdserver: member ID already exist")
    static let peerURLExists = EtcdFailure(.failedPrecondition, "etcdserver: Peer URLs already exists")
    static let badMemberURLs = EtcdFailure(.invalidArgument, "etcdserver: given member URLs are invalid")
    static let learnerNotReady = EtcdFailure(
        .failedPrecondition, "etcdserver: can only promote a learner member which is in sync with leader")
    static let notLearner = EtcdFailure(
        .failedPrecondition, "etcdserver: can only promote a learner member")
    static let unhealthyCluster = EtcdFailure(.unavailable, "etcdserver: unhealthy cluster")
    static let badTransferee = EtcdFailure(.failedPrecondition, "etcdserver: bad leader transferee")
    static let noLeader = EtcdFailure(.unavailable, "etcdserver: no leader")
    static let leaderChanged = EtcdFailure(.unavailable, "etcdserver: leader changed")
    static let stopped = EtcdFailure(.unavailable, "etcdserver: server stopped")
    static let timedOut = EtcdFailure(.unavailable, "etcdserver: request timed out")
    static let tooManyRequests = EtcdFailure(.resourceExhausted, "etcdserver: too many requests")
    static let unexpected = EtcdFailure(.internal, "etcdserver: the node gave an answer of another kind")
    static let rootUserMissing = EtcdFailure(.failedPrecondition, "etcdserver: root user does not exist")
    static let rootRoleMissing = EtcdFailure(.failedPrecondition, "etcdserver: root user does not have root role")
    static let userExists = EtcdFailure(.failedPrecondition, "etcdserver: user name already exists")
    static let userNotFound = EtcdFailure(.failedPrecondition, "etcdserver: user name not found")
    static let emptyUser = EtcdFailure(.invalidArgument, "etcdserver: user name is empty")
    static let roleExists = EtcdFailure(.failedPrecondition, "etcdserver: role name already exists")
    static let roleNotFound = EtcdFailure(.failedPrecondition, "etcdserver: role name not found")
    static let emptyRole = EtcdFailure(.invalidArgument, "etcdserver: role name is empty")
    static let roleNotGranted = EtcdFailure(.failedPrecondition, "etcdserver: role is not granted to the user")
    static let permissionNotGranted = EtcdFailure(
        .failedPrecondition, "etcdserver: permission is not granted to the role")
    static let permissionNotGiven = EtcdFailure(.invalidArgument, "etcdserver: permission not given")
    static let permissionDenied = EtcdFailure(.permissionDenied, "etcdserver: permission denied")
    static let authFailed = EtcdFailure(
        .invalidArgument, "etcdserver: authentication failed, invalid user ID or password")
    static let authNotEnabled = EtcdFailure(
        .failedPrecondition, "etcdserver: authentication is not enabled")
    static let invalidToken = EtcdFailure(.unauthenticated, "etcdserver: invalid auth token")
    static let invalidManagement = EtcdFailure(.invalidArgument, "etcdserver: invalid auth management")
    static let foreignHash = EtcdFailure(
        .unimplemented, "etcdserver: passwords are hashed by the server; send the password itself")
    // The recipes of etcd's own server end with plain errors, which gRPC calls unknown.
    static let electionNotLeader = EtcdFailure(.unknown, "election: not leader")
    static let electionLeaderMissing = EtcdFailure(.unknown, "\"leader\" field must be provided")
    static let electionNoLeader = EtcdFailure(.unknown, "election: no leader")

    /// Whatever a call can end with.
    init(_ error: any Error) {
        switch error {
        case let failure as EtcdFailure: self = failure
        case let failure as ServiceFailure: self.init(failure)
        case let refusal as Refusal: self.init(refusal)
        case is BinaryDecodingError, is SwiftProtobufError, is WireFields.Malformed:
            self.init(.invalidArgument, "the request is not a valid message: \(error)")
        default: self.init(.internal, "\(error)")
        }
    }

    init(_ failure: ServiceFailure) {
        switch failure.code {
        case .noLeader: self = .noLeader
        case .timedOut, .unconfirmed: self = .timedOut
        case .overloaded: self = .tooManyRequests
        case .storageFull: self = .noSpace
        case .draining: self = .stopped
        case .leadershipChanged: self = .leaderChanged
        case .oversized: self = .tooLarge
        case .sessionNotFound: self = .leaseNotFound
        case .transferFailed: self = .badTransferee
        case .compacted: self = .compacted
        case .unknownMember: self = .memberNotFound
        case .memberExists: self = .memberExists
        case .notCaughtUp, .notHeard: self = .learnerNotReady
        case .quorumNotHeard: self = .unhealthyCluster
        case .changePending, .changeRefused: self.init(.failedPrecondition, "etcdserver: \(failure.message)")
        case .notGranted, .withdrawn, .superseded: self.init(.aborted, "etcdserver: \(failure.message)")
        case .permissionDenied: self = .permissionDenied
        case .userUnknown: self = .emptyUser
        case .tooManyWatches: self.init(.resourceExhausted, "etcdserver: \(failure.message)")
        }
    }

    init(_ refusal: Refusal) {
        switch refusal {
        case .invalid(let reason): self.init(reason)
        case .compacted: self = .compacted
        case .futureRevision: self = .futureRevision
        case .keyNotFound: self = .keyNotFound
        case .sessionNotFound: self = .leaseNotFound
        case .sessionExists: self = .leaseExists
        case .memberNotFound: self = .memberNotFound
        case .memberNameTaken: self = .memberExists
        case .memberAddressTaken: self = .peerURLExists
        case .reservedKey: self.init(.permissionDenied, "etcdserver: \(refusal.message)")
        case .outboxFull: self.init(.resourceExhausted, "etcdserver: \(refusal.message)")
        case .replyTooLarge: self.init(.resourceExhausted, "etcdserver: \(refusal.message)")
        case .staleTerm: self = .leaderChanged
        case .permissionDenied: self = .permissionDenied
        case .auth(let reason): self.init(reason)
        default: self.init(.failedPrecondition, "etcdserver: \(refusal.message)")
        }
    }

    private init(_ reason: AuthRefusal) {
        switch reason {
        case .userExists: self = .userExists
        case .userNotFound: self = .userNotFound
        case .roleExists: self = .roleExists
        case .roleNotFound: self = .roleNotFound
        case .roleNotGranted: self = .roleNotGranted
        case .permissionNotGranted: self = .permissionNotGranted
        case .rootUserMissing: self = .rootUserMissing
        case .rootRoleMissing: self = .rootRoleMissing
        case .rootNeeded: self = .invalidManagement
        case .userUnknown: self = .emptyUser
        case .tableFull: self.init(.resourceExhausted, "etcdserver: users and roles take all the room that they may")
        }
    }

    private init(_ reason: InvalidCommand) {
        switch reason {
        case .emptyKey: self = .emptyKey
        case .keyTooLong, .valueTooLong: self = .tooLarge
        case .tooManyOperations: self = .tooManyOperations
        case .duplicateKey: self = .duplicateKey
        case .ttlOutOfRange: self = .leaseTooLong
        default: self.init(.invalidArgument, "etcdserver: \(reason.message)")
        }
    }

    /// The failure that a reply is, if it is one.
    init?(_ body: ServiceReply.Body) {
        switch body {
        case .failed(let failure): self.init(failure)
        case .command(let reply):
            guard case .refused(let refusal) = reply.result else { return nil }
            self.init(refusal)
        case .query(let reply):
            guard case .refused(let refusal) = reply.result else { return nil }
            self.init(refusal)
        default: return nil
        }
    }
}
