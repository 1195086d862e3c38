internal import Synchronization

/// What `grpc.health.v1.Health` answers: one word for each service, "" being the whole server. Used from any thread.
///
/// Source: grpc/grpc, doc/health-checking.md.
public final class HealthRegistry: Sendable {
    public enum Status: UInt8, Sendable {
        case unknown = 0
        case serving = 1
        case notServing = 2
        /// Only as the answer of a watch to a name nobody has registered.
        case serviceUnknown = 3
    }

    private struct State {
        var statuses: [String: Status] = ["": .serving]
        var watches: [UInt64: (service: String, changed: @Sendable (Status) -> Void)] = [:]
        var nextWatch: UInt64 = 1
    }

    private let state = Mutex(State())

    public init() {}

    public subscript(service: String) -> Status? {
        state.withLock { $0.statuses[service] }
    }

    /// Sets the word and tells those who watch it.
    public func set(_ status: Status, for service: String = "") {
        let told = state.withLock { state in
            guard state.statuses.updateValue(status, forKey: service) != status else {
                return [@Sendable (Status) -> Void]()
            }
            return state.watches.values.filter { $0.service == service }.map { $0.changed }
        }
        for changed in told { changed(status) }
    }

    /// Calls `changed` with every later word; the present one is returned.
    func watch(_ service: String, _ changed: @escaping @Sendable (Status) -> Void) -> (UInt64, Status) {
        state.withLock { state in
            defer { state.nextWatch += 1 }
            state.watches[state.nextWatch] = (service, changed)
            return (state.nextWatch, state.statuses[service] ?? .serviceUnknown)
        }
    }

    func unwatch(_ number: UInt64) {
        state.withLock { _ = $0.watches.removeValue(forKey: number) }
    }
}

/// The two messages of `grpc.health.v1`: too small to need generated code.
enum HealthMessages {
    /// Field 1, a string; other fields are skipped only when there are none behind it, which is all there ever is.
    static func service(ofRequest bytes: [UInt8]) -> String? {
        guard !bytes.isEmpty else { return "" }
        guard bytes.count >= 2, bytes[0] == 0x0a, bytes[1] < 0x80, bytes.count == Int(bytes[1]) + 2 else { return nil }
        return String(validating: bytes[2...], as: UTF8.self)
    }

    /// Field 1, an enumeration; zero is not written.
    static func response(_ status: HealthRegistry.Status) -> [UInt8] {
        status == .unknown ? [] : [0x08, status.rawValue]
    }
}
