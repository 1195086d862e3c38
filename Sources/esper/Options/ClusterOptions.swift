import ArgumentParser
import EsperClient
import EsperTypes

/// What every command that talks to a cluster takes.
struct ClusterOptions: ParsableArguments {
    @OptionGroup var config: ConfigOption
    @OptionGroup var output: OutputOptions

    @Option(help: "How long one call may take, retries included.", transform: WrittenDuration.read)
    var timeout = WrittenDuration(.seconds(10))

    /// Opens a client, does `body` with it, closes it; failures become exit codes.
    func withClient<Value>(_ body: (EsperClient) async throws -> Value) async throws -> Value {
        try await Connecting.withClient(try config.path(), timeout: timeout.duration, body)
    }

    /// As ``withClient(_:)``, for a command that changes something: asked for JSON, a failure prints its outcome too.
    func changing(_ body: (EsperClient) async throws -> Void) async throws {
        do {
            try await withClient(body)
        } catch let failure as CommandFailure {
            if output.isJSON, let outcome = failure.outcome {
                let error = JSON.fields(["code": .string(failure.reason), "message": .string(failure.message)])
                Terminal.line(JSON.fields(["outcome": .string(outcome), "error": error]).text)
            }
            throw failure
        }
    }
}
