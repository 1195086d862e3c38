import EsperClient
import EsperTypes
import NIOCore

/// Opens sessions that nobody keeps alive: they end when their time is up.
struct SessionStep: LoadStep {
    let ttl: Duration

    func perform(_ worker: LoadWorker<EsperClient>, completion: @escaping @Sendable (Result<Void, EsperError>) -> Void)
    {
        // Awaited through `completion`.
        Task {
            do throws(EsperError) {
                _ = try await worker.client.grantSession(ttl: ttl, label: "bench")
                worker.client.eventLoop.execute { completion(.success(())) }
            } catch {
                worker.client.eventLoop.execute { completion(.failure(error)) }
            }
        }
    }
}
