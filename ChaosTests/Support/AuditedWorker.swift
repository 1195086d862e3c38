import EsperClient
import EsperTypes
import TestSupport

/// What a client knows of the commands it gave, to be found again in the catalog.
struct AuditedWork {
    /// An event that must be there once: it was acknowledged.
    struct Event: Hashable {
        var kind: String
        var subject: String
        /// The fencing token, for locks and elections.
        var token: UInt64?
    }

    var acknowledged: [Event: UInt64] = [:]
    /// Keys whose put has an unknown outcome: each may be there once.
    var unknownKeys: Set<String> = []
    /// Commands without an answer that may have left other events.
    var unknown = 0
    /// Commands that were refused, by reason.
    var refused: [String: Int] = [:]

    mutating func merge(_ other: AuditedWork) {
        acknowledged.merge(other.acknowledged) { old, _ in old }
        unknownKeys.formUnion(other.unknownKeys)
        unknown += other.unknown
        refused.merge(other.refused, uniquingKeysWith: +)
    }
}

/// One client that gives commands of every audited kind, and remembers what was acknowledged.
struct AuditedWorker {
    let number: Int
    let client: EsperClient
    private(set) var work = AuditedWork()
    private var session: Session?
    private var puts = 0

    static let prefix = "audited/"

    init(_ number: Int, _ client: EsperClient) {
        self.number = number
        self.client = client
    }

    /// - Parameter rhythm: the pause between two commands.
    mutating func work(until isOver: @Sendable () -> Bool, rhythm: Duration) async {
        while !isOver(), !Task.isCancelled {
            switch Int.random(in: 0..<10) {
            case 0..<2: await lockCycle("lock\(Int.random(in: 0..<3))", rhythm)
            case 2: await electionCycle("election\(number % 2)", rhythm)
            default: await put()
            }
            await pause(rhythm)
        }
        await endSession()
    }

    private mutating func put() async {
        puts += 1
        let key = "\(Self.prefix)\(number)/\(puts)"
        do throws(EsperError) {
            let commit = try await client.put(.init(key), .init("x"))
            note("key.put", key, nil, commit)
        } catch {
            if error.outcome == .unknown { work.unknownKeys.insert(key) }
            failed(error)
        }
    }

    private mutating func lockCycle(_ name: String, _ rhythm: Duration) async {
        guard let session = await openSession() else { return }
        do throws(EsperError) {
            let grant = try await client.acquire(name, session: session.id, wait: .seconds(10))
            guard let token = grant.token else { return await endSession() }
            note("lock.acquired", name, token, nil)
            await pause(rhythm)
            let (commit, released) = try await client.releaseAnswer(name, session: session.id)
            if released { note("lock.released", name, token, commit) }
        } catch {
            failed(error)
            await endSession()
        }
    }

    private mutating func electionCycle(_ name: String, _ rhythm: Duration) async {
        guard let session = await openSession() else { return }
        do throws(EsperError) {
            let answer = try await client.campaign(
                name, value: .init("worker \(number)"), session: session.id, wait: .seconds(10))
            guard answer.elected, let leadership = answer.leadership else { return await endSession() }
            note("election.won", name, leadership.token, nil)
            await pause(rhythm)
            let (commit, resigned) = try await client.resignAnswer(name, session: session.id)
            if resigned { note("election.resigned", name, leadership.token, commit) }
        } catch {
            failed(error)
            await endSession()
        }
    }

    private mutating func openSession() async -> Session? {
        if let session, session.end == nil { return session }
        do throws(EsperError) {
            let opened = try await client.openSession(ttl: .seconds(10))
            note("session.granted", opened.id.description, nil, nil)
            session = opened
        } catch {
            failed(error)
            session = nil
        }
        return session
    }

    private mutating func endSession() async {
        guard let ended = session else { return }
        session = nil
        // One that cannot be ended now ends by itself after its time to live.
        do throws(EsperError) { try await ended.close() } catch { failed(error) }
    }

    /// - Parameter commit: of the command whose event it is; a grant may come from another's command.
    private mutating func note(_ kind: String, _ subject: String, _ token: FencingToken?, _ commit: Commit?) {
        work.acknowledged[.init(kind: kind, subject: subject, token: token?.rawValue)] = commit?.logIndex ?? 0
    }

    private mutating func failed(_ error: EsperError) {
        if error.outcome == .unknown { work.unknown += 1 } else { work.refused[error.code, default: 0] += 1 }
    }
}
