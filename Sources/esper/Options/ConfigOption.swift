import ArgumentParser
import Foundation

/// How a command reaches the cluster.
struct ConfigOption: ParsableArguments {
    @Option(
        help: """
            How to reach the cluster: a YAML file with endpoints, ca, certificate and private_key (default: \
            ESPER_CONFIG, else .esper/dev/client.yaml here or in a directory above).
            """)
    var config: String?

    static let developmentPath = ".esper/dev/client.yaml"

    /// The file that a command without `--config` uses; nil when there is none.
    static func defaultPath() -> String? {
        if let named = ProcessInfo.processInfo.environment["ESPER_CONFIG"], !named.isEmpty {
            return Files.absolute(named)
        }
        var place = FileManager.default.currentDirectoryPath
        while true {
            let candidate = (place == "/" ? "" : place) + "/" + developmentPath
            if Files.exists(candidate) { return candidate }
            if place == "/" || place.isEmpty { return nil }
            place = (place as NSString).deletingLastPathComponent
        }
    }

    func path() throws -> String {
        if let config { return Files.absolute(config) }
        guard let path = Self.defaultPath() else {
            throw CommandFailure(
                .usage, "no cluster is known: give --config FILE, set ESPER_CONFIG, or start one with 'esper dev up'")
        }
        return path
    }
}
