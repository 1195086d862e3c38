internal import Coordination
internal import EsperTypes

extension NewMember {
    /// - Throws: ``Refusal/invalid(_:)`` when an address is not `HOST:PORT`.
    init(_ name: String, peer: String, api: String, zone: String) throws(Refusal) {
        guard let peer = HostPort(peer), let api = HostPort(api) else { throw .invalid(.memberAddress) }
        self.init(name: name, peer: peer, api: api, zone: zone)
    }
}
