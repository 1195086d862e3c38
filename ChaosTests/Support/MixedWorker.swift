import EsperClient
import EsperTypes
import Simulation
import TestSupport

/// One client that puts, gets, compares and sets, and takes locks in turn, and writes down all of it.
struct MixedWorker {
    let number: Int
    let client: EsperClient
    let recorder: Recorder
    let store: GuardedStore
    /// Acknowledged puts of keys that nobody else writes.
    private(set) var acknowledged: [String: (value: String, revision: UInt64)] = [:]

    private var process: Int64
    private var session: Session?
    private var lastSeen: [String: Int64] = [:]
    private var written: Int64 = 0

    static let keys = (0..<8).map { "shared/\($0)" }
    static let locks = (0..<4).map { "lock\($0)" }
    static let ownPrefix = "own/"

    init(_ number: Int, _ client: EsperClient, _ recorder: Recorder, _ store: GuardedStore) {
        self.number = number
        self.client = client
        self.recorder = recorder
        self.store = store
        process = recorder.newProcess()
    }

    /// - Parameter rhythm: the pause between two operations.
    mutating func work(rhythm: Duration, until isOver: () -> Bool) async {
        while !isOver(), !Task.isCancelled {
            switch Int.random(in: 0..<20) {
            case 0..<2: await lockCycle()
            case 2..<4: await compareAndSet()
            case 4..<8: await putOwn()
            case 8..<13: await put()
            default: await get()
            }
            await pause(rhythm)
        }
        await endSession()
    }

    /// Reads every shared key once, for the history's end.
    mutating func readAll() async {
        for key in Self.keys { await get(key) }
    }

    // MARK: Registers

    /// A value that occurs once in a history.
    private mutating func newValue() -> Int64 {
        written += 1
        return Int64(number) << 32 | written
    }

    private mutating func put() async {
        let (key, value) = (Self.keys.randomElement()!, newValue())
        _ = await recorder.record("register", "write", key, .integer(value), by: &process, output: { _ in nil }) {
            try await client.put(.init(key), .init("\(value)"))
        }
    }

    private mutating func get() async { await get(Self.keys.randomElement()!) }

    private mutating func get(_ key: String) async {
        let result = await recorder.record(
            "register", "read", key, by: &process, output: { Self.number(in: $0.0).map { .integer($0) } ?? nil }
        ) { try await client.get(.init(key)) }
        if case .success(let (pair, _)) = result { lastSeen[key] = Self.number(in: pair) }
    }

    private mutating func compareAndSet() async {
        let key = Self.keys.randomElement()!
        guard let old = lastSeen[key] else { return await get(key) }
        let new = newValue()
        let result = await recorder.record(
            "register", "cas", key, [.integer(old), .integer(new)], by: &process, output: { .bool($0.succeeded) }
        ) {
            try await client.transaction(
                [Comparison(.init(key), .equal, .value(.init("\(old)")))], then: [.put(.init(key), .init("\(new)"))])
        }
        lastSeen[key] = (try? result.get())?.succeeded == true ? new : nil
    }

    private mutating func putOwn() async {
        let value = "\(newValue())"
        let key = "\(Self.ownPrefix)\(number)/\(written)"
        // Judged against the list of acknowledged puts, not by the checker.
        if let commit = try? await client.put(.init(key), .init(value)) { acknowledged[key] = (value, commit.revision) }
    }

    private static func number(in pair: KeyValue?) -> Int64? { pair.flatMap { Int64($0.value.text) } }

    // MARK: Locks

    private mutating func lockCycle() async {
        if session == nil { session = try? await client.openSession(ttl: .seconds(5)) }
        guard let session else { return }
        let lock = Self.locks.randomElement()!
        let result = await recorder.record("lock", "acquire", lock, by: &process, output: { Self.json($0.token) }) {
            try await client.acquire(lock, session: session.id, wait: .seconds(5))
        }
        // Without a grant we may still stand in the queue; once the session is over, certainly not.
        guard case .success(let grant) = result, let token = grant.token else { return await endSession() }
        let granted = recorder.now()
        store.write(lock, token, by: number) { session.end == nil }
        await pause(.milliseconds(2))
        store.write(lock, token, by: number) { session.end == nil }
        let called = session.end == nil ? recorder.now() : granted
        let released = await recorder.record(
            "lock", "release", lock, Self.json(token), by: &process, output: { .bool($0.1) }
        ) { try await client.releaseAnswer(lock, session: session.id) }
        if case .success((_, true)) = released { return }
        recorder.recordExpiry(of: token, lock, since: called)
        await endSession()
    }

    private mutating func endSession() async {
        // One that cannot be ended now ends by itself after its time to live.
        try? await session?.close()
        session = nil
    }

    private static func json(_ token: FencingToken?) -> JSONValue {
        token.map { ["token": .integer(Int64($0.rawValue))] } ?? false
    }
}
