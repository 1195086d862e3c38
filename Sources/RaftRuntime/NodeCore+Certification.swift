import EsperTypes
import NIOCore
import PeerTransport

// Certificates for members: one question to one peer, decided beside this loop by a node that has the authority's key.
extension NodeCore {
    /// Asks the member of this name; nil when it cannot be reached or does not answer in time.
    func askToCertify(
        _ request: CertificationRequest, _ name: String, within limit: TimeAmount,
        _ promise: EventLoopPromise<CertificationAnswer?>
    ) {
        guard !isStopped, let peer = members.first(where: { $0.name == name && $0.id != id }) else {
            return promise.succeed(nil)
        }
        let token = certifications.add(promise)
        guard transport.send(.ask(token, PeerQuestion.certify(request).encoded()), to: peer.id) == .queued else {
            return certifications.end(token, nil)
        }
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        // Finds nothing when the answer has come.
        eventLoop.scheduleTask(in: limit) { bound.value.certifications.end(token, nil) }
        scheduleTurn()
    }

    /// A peer asks. Who it is was shown by the certificate of its link.
    func certify(_ request: CertificationRequest, _ token: UInt64, _ peer: NodeID) {
        guard let certifier = certifications.certifier, let name = member(peer)?.name else {
            return answer(
                .notCertified(CertificationAnswer.noAuthority, "\(self.name) does not have the authority's key"), token,
                peer)
        }
        guard certifications.deciding.insert(peer).inserted else {
            return answer(.notCertified("busy", "a request of \(name) is being decided already"), token, peer)
        }
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        let eventLoop = eventLoop
        // Nobody waits for it here: it ends by its own deadlines, and finds a stopped node stopped.
        Task {
            let decision = await certifier(request, name)
            eventLoop.execute {
                let core = bound.value
                core.certifications.deciding.remove(peer)
                guard !core.isStopped else { return }
                switch decision {
                case .certified(let pem): core.answer(.certified(pem), token, peer)
                case .refused(let code, let message): core.answer(.notCertified(code, message), token, peer)
                }
                core.scheduleTurn()
            }
        }
    }
}

extension NodeHandle {
    /// From now on this node decides over certificates of members that ask it; without a certifier it refuses.
    public func certifyMembers(by certifier: @escaping Certifier) {
        eventLoop.execute { [core] in core.value.certifications.certifier = certifier }
    }

    /// Asks a member to certify our key.
    ///
    /// - Returns: nil when it cannot be reached or does not answer in time.
    public func certification(
        _ request: CertificationRequest, by member: String, within limit: Duration
    ) async -> CertificationAnswer? {
        let promise = eventLoop.makePromise(of: CertificationAnswer?.self)
        eventLoop.execute { [core] in
            core.value.askToCertify(request, member, within: .nanoseconds(limit.nanoseconds), promise)
        }
        // The promise is never failed.
        return try? await promise.futureResult.get()
    }
}
