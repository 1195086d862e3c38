public import APIDoor
import EsperTypes
import EtcdProtocol
import FoundationEssentials
import GRPCTransport
import NIOCore
import RaftRuntime

/// etcd's JSON gateway: every method as a `POST` of JSON under `/v3`, on the http/1.1 side of the API port; and what is
/// left of its old API under `/v2` (``V2Keys``).
///
/// A request takes the same way as one that comes by gRPC, with JSON turned into its messages and back at the edge. A
/// method that answers with a stream is answered in chunks, one JSON document a line.
public struct EtcdGateway: HTTPGateway {
    private struct Route: Sendable {
        var method: EtcdMethod
        var transcoder: JSONTranscoder

        init(_ method: EtcdMethod) {
            self.method = method
            transcoder = JSONTranscoder(method)
        }
    }

    private static let versionPath = "/version"
    private let door: EtcdDoor
    private let routes: [String: Route]

    public init(door: EtcdDoor) {
        self.door = door
        var routes: [String: Route] = [:]
        for method in EtcdMethod.allCases {
            for path in method.gatewayPaths { routes[path] = Route(method) }
        }
        self.routes = routes
    }

    public func serves(path: String) -> Bool {
        path == Self.versionPath || path.hasPrefix("/v3/") || path == V2Keys.machinesPath
            || path == V2Keys.keysPath || path.hasPrefix(V2Keys.keysPath + "/")
    }

    public func answer(_ request: GatewayRequest) async -> GatewayAnswer {
        if request.path == Self.versionPath {
            return Self.whole(
                200, #"{"etcdserver":"\#(EtcdDoor.compatibleVersion)","etcdcluster":"\#(EtcdDoor.compatibleVersion)"}"#)
        }
        if request.path.hasPrefix("/v2/") { return await V2Keys(node: door.node).answer(request) }
        guard let route = routes[request.path] else { return Self.whole(404, "Not Found") }
        guard request.method == "POST" else {
            return Self.failure(GRPCStatus(.unimplemented, "Method Not Allowed"), httpStatus: 405)
        }
        let message: [UInt8]
        do {
            message = try route.transcoder.request(request.body)
        } catch {
            return Self.failure(GRPCStatus(.invalidArgument, "the body is not a request in JSON: \(error)"))
        }
        let call = door.begin(
            route.method, message, principal: request.principal,
            token: request.metadata["token"] ?? request.authorization,
            needsLeader: LeaderRequirement.isAsked(by: request.metadata))
        guard route.method.kind == .unary else {
            return .init(status: 200, body: .stream(Self.stream(call, route, door)))
        }
        return await withTaskCancellationHandler {
            await Self.unary(call, route)
        } onCancel: {
            door.end(call)
        }
    }

    // MARK: - Answers

    private static func unary(_ call: GatewayCall, _ route: Route) async -> GatewayAnswer {
        var answer: [UInt8]?
        while true {
            for event in await call.next() {
                switch event {
                case .message(let message): answer = message
                case .finished(let status):
                    guard status.code == .ok, let answer else { return failure(status) }
                    do {
                        return .init(status: 200, body: .whole(try route.transcoder.answer(answer)))
                    } catch {
                        return failure(GRPCStatus(.internal, "\(error)"))
                    }
                }
            }
        }
    }

    private static func stream(_ call: GatewayCall, _ route: Route, _ door: EtcdDoor) -> GatewayStream {
        let progress = StreamProgress()
        return GatewayStream(
            next: {
                guard !progress.isFinished else { return nil }
                var lines: [UInt8] = []
                while lines.isEmpty {
                    for event in await call.next() {
                        switch event {
                        case .message(let message):
                            guard let json = try? route.transcoder.answer(message) else { continue }
                            lines += Array(#"{"result":"#.utf8) + json + Array("}\n".utf8)
                        case .finished(let status):
                            progress.finish()
                            guard status.code != .ok else { return lines.isEmpty ? nil : lines }
                            lines +=
                                Array(#"{"error":"#.utf8) + Array(Self.streamError(status).utf8) + Array("}\n".utf8)
                        }
                    }
                }
                return lines
            }, cancel: { door.end(call) })
    }

    private static func whole(_ status: Int, _ text: String) -> GatewayAnswer {
        .init(status: status, body: .whole([UInt8](text.utf8)))
    }

    private static func failure(_ status: GRPCStatus, httpStatus: Int? = nil) -> GatewayAnswer {
        let text = quoted(status.message)
        return whole(
            httpStatus ?? status.code.httpStatus,
            #"{"error":\#(text),"code":\#(status.code.rawValue),"message":\#(text)}"#)
    }

    private static func streamError(_ status: GRPCStatus) -> String {
        #"{"grpc_code":\#(status.code.rawValue),"http_code":\#(status.code.httpStatus),"message":\#(quoted(status.message))}"#
    }

    /// A JSON string.
    private static func quoted(_ text: String) -> String {
        var result = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case _ where scalar.value < 0x20:
                let digits = String(scalar.value, radix: 16)
                result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result + "\""
    }
}

extension GRPCCode {
    /// Source: grpc-gateway, runtime/errors.go, HTTPStatusFromCode.
    fileprivate var httpStatus: Int {
        switch self {
        case .ok: 200
        case .cancelled: 408
        case .invalidArgument, .failedPrecondition, .outOfRange: 400
        case .deadlineExceeded: 504
        case .notFound: 404
        case .alreadyExists, .aborted: 409
        case .permissionDenied: 403
        case .unauthenticated: 401
        case .resourceExhausted: 429
        case .unimplemented: 501
        case .unavailable: 503
        case .unknown, .internal, .dataLoss: 500
        }
    }
}

extension EtcdMethod {
    /// Where the gateway serves it; some lease methods have an older path too.
    fileprivate var gatewayPaths: [String] {
        switch self {
        case .range: ["/v3/kv/range"]
        case .put: ["/v3/kv/put"]
        case .deleteRange: ["/v3/kv/deleterange"]
        case .txn: ["/v3/kv/txn"]
        case .compact: ["/v3/kv/compaction"]
        case .watch: ["/v3/watch"]
        case .leaseGrant: ["/v3/lease/grant"]
        case .leaseRevoke: ["/v3/lease/revoke", "/v3/kv/lease/revoke"]
        case .leaseKeepAlive: ["/v3/lease/keepalive"]
        case .leaseTimeToLive: ["/v3/lease/timetolive", "/v3/kv/lease/timetolive"]
        case .leaseLeases: ["/v3/lease/leases", "/v3/kv/lease/leases"]
        case .memberAdd: ["/v3/cluster/member/add"]
        case .memberRemove: ["/v3/cluster/member/remove"]
        case .memberUpdate: ["/v3/cluster/member/update"]
        case .memberList: ["/v3/cluster/member/list"]
        case .memberPromote: ["/v3/cluster/member/promote"]
        case .alarm: ["/v3/maintenance/alarm"]
        case .status: ["/v3/maintenance/status"]
        case .defragment: ["/v3/maintenance/defragment"]
        case .hash: ["/v3/maintenance/hash"]
        case .hashKV: ["/v3/maintenance/hashkv"]
        case .snapshot: ["/v3/maintenance/snapshot"]
        case .moveLeader: ["/v3/maintenance/transfer-leadership"]
        case .downgrade: ["/v3/maintenance/downgrade"]
        case .authEnable: ["/v3/auth/enable"]
        case .authDisable: ["/v3/auth/disable"]
        case .authStatus: ["/v3/auth/status"]
        case .authenticate: ["/v3/auth/authenticate"]
        case .userAdd: ["/v3/auth/user/add"]
        case .userGet: ["/v3/auth/user/get"]
        case .userList: ["/v3/auth/user/list"]
        case .userDelete: ["/v3/auth/user/delete"]
        case .userChangePassword: ["/v3/auth/user/changepw"]
        case .userGrantRole: ["/v3/auth/user/grant"]
        case .userRevokeRole: ["/v3/auth/user/revoke"]
        case .roleAdd: ["/v3/auth/role/add"]
        case .roleGet: ["/v3/auth/role/get"]
        case .roleList: ["/v3/auth/role/list"]
        case .roleDelete: ["/v3/auth/role/delete"]
        case .roleGrantPermission: ["/v3/auth/role/grant"]
        case .roleRevokePermission: ["/v3/auth/role/revoke"]
        case .lock: ["/v3/lock/lock"]
        case .unlock: ["/v3/lock/unlock"]
        case .campaign: ["/v3/election/campaign"]
        case .proclaim: ["/v3/election/proclaim"]
        case .leader: ["/v3/election/leader"]
        case .observe: ["/v3/election/observe"]
        case .resign: ["/v3/election/resign"]
        }
    }
}
