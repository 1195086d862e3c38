import ArgumentParser
import Foundation

/// Which cluster on this host a command works on.
struct DevelopmentOptions: ParsableArguments {
    @Option(name: [.customLong("dir")], help: "The cluster's directory.")
    var directory = ".esper/dev"

    /// Absolute, without `.` and `..`, since it is written into settings.
    var path: String { (Files.absolute(directory) as NSString).standardizingPath }

    func cluster() throws -> DevelopmentCluster { try DevelopmentCluster(loading: path) }
}
