import EsperClient
import EsperTypes

/// Which keys and values a load uses.
struct LoadKeys: Sendable {
    let prefix: String
    let count: Int
    let valueBytes: Int

    func name(_ number: Int) -> String {
        let digits = String(number)
        return prefix + String(repeating: "0", count: max(0, 8 - digits.count)) + digits
    }

    /// A value that is found once in a history: a number, filled up with dots.
    func value(_ number: Int64) -> [UInt8] {
        let digits = Bytes.of(String(number))
        return digits + [UInt8](repeating: UInt8(ascii: "."), count: max(0, valueBytes - digits.count))
    }

    /// The number in a value that ``value(_:)`` made.
    static func number(in value: [UInt8]) -> JSON {
        Bytes.text(Array(value.prefix { $0 != UInt8(ascii: ".") })).flatMap { Int64($0) }.map { .integer($0) } ?? .null
    }
}

/// Sets one of the keys.
struct PutStep: LoadStep {
    let keys: LoadKeys

    func perform(_ worker: LoadWorker<EsperClient>, completion: @escaping @Sendable (Result<Void, EsperError>) -> Void)
    {
        put(keys.name(Int.random(in: 0..<keys.count, using: &worker.random)), worker, completion)
    }

    func put(
        _ key: String, _ worker: LoadWorker<EsperClient>,
        _ completion: @escaping @Sendable (Result<Void, EsperError>) -> Void
    ) {
        let number = Int64(worker.random.next() >> 11)
        let call = worker.recorder?.now() ?? 0
        worker.client.startPut(Bytes.of(key), keys.value(number)) { result in
            worker.record(
                "register", "write", key: key, input: .integer(number), call: call, answer: result.map { _ in .null })
            completion(result.map { _ in })
        }
    }
}

/// Reads one of the keys, linearizably unless `local`.
struct GetStep: LoadStep {
    let keys: LoadKeys
    let local: Bool
    /// A key that is not there is a failure of the run.
    let expectsValue: Bool

    func perform(_ worker: LoadWorker<EsperClient>, completion: @escaping @Sendable (Result<Void, EsperError>) -> Void)
    {
        let key = keys.name(Int.random(in: 0..<keys.count, using: &worker.random))
        let call = worker.recorder?.now() ?? 0
        worker.client.startGet(Bytes.of(key), local: local) { result in
            worker.record(
                "register", "read", key: key, call: call,
                answer: result.map { pair, _ in pair.map { LoadKeys.number(in: $0.value) } ?? .null })
            completion(
                result.flatMap { pair, _ in
                    pair == nil && expectsValue
                        ? .failure(EsperError(code: "key_missing", message: key, outcome: .notCommitted)) : .success(())
                })
        }
    }
}
