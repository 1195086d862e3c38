import ArgumentParser
import EsperTypes

/// A host and a port as people write them: `10.0.0.4:7400`, `[::1]:7400`.
struct WrittenAddress {
    var address: HostPort

    static func read(_ text: String) throws -> Self {
        guard let address = HostPort(text) else {
            throw ValidationError("write HOST:PORT, such as 10.0.0.4:7400 or [::1]:7400")
        }
        return Self(address: address)
    }
}
