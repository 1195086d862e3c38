import ArgumentParser
import EsperTypes

/// A host and a port as people write them: `10.0.0.4:7400`, `[::1]:7400`.
struct WrittenAddress: ExpressibleByArgument {
    var address: HostPort

    init?(argument: String) {
        guard let address = HostPort(argument) else { return nil }
        self.address = address
    }
}
