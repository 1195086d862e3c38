import CacheCore
import EsperProtocol
import EsperTypes
import FoundationEssentials

/// Between the words of the wire and the values of this target.
enum PeerMessages {
    /// The most bytes of a blob in one message of a push: a message may have 256 KiB in all.
    static let chunkBytes = 128 << 10
    /// Of one push or fetch.
    static let batchBytes = 4 << 20
    static let digestsPerMessage = 4096
    /// Names have a kibibyte at the most.
    static let namesPerMessage = 128

    static func data(_ digests: some Sequence<Digest>) -> Data {
        var data = Data()
        for digest in digests { data.append(contentsOf: digest.bytes) }
        return data
    }

    static func digests(_ data: Data) -> [Digest]? {
        guard data.count % Digest.byteCount == 0, data.count / Digest.byteCount <= digestsPerMessage else { return nil }
        var digests: [Digest] = []
        digests.reserveCapacity(data.count / Digest.byteCount)
        var start = data.startIndex
        while start < data.endIndex {
            guard let digest = Digest(bytes: data[start..<start + Digest.byteCount]) else { return nil }
            digests.append(digest)
            start += Digest.byteCount
        }
        return digests
    }

    /// Those that the sender claims; nil when there is not one for each digest, or two for one shard.
    static func epochs(of digests: [Digest], _ claimed: [UInt64]) -> [ShardID: ShardEpoch]? {
        var epochs: [ShardID: ShardEpoch] = [:]
        guard claimed.isEmpty || claimed.count == digests.count else { return nil }
        for (digest, raw) in zip(digests, claimed) where raw > 0 {
            let epoch = ShardEpoch(raw)
            guard epochs.updateValue(epoch, forKey: ShardID(of: digest)) ?? epoch == epoch else { return nil }
        }
        return epochs
    }

    static func milliseconds(_ duration: Duration) -> UInt64 { UInt64(max(0, duration.nanoseconds / 1_000_000)) }

    static func duration(_ milliseconds: UInt64) -> Duration { .milliseconds(Int64(min(milliseconds, 1 << 40))) }
}

extension ProtoPeerBinding {
    init(_ reading: NameReading) {
        self.init()
        switch reading {
        case .unknown: break
        case .absent: known = true
        case .bound(let version, let manifest, let state):
            known = true
            self.version = version.rawValue
            self.manifest = PeerMessages.data([manifest])
            self.state = UInt32(state.rawValue)
        }
    }

    /// What makes no sense tells nothing.
    var reading: NameReading {
        guard known else { return .unknown }
        if version == 0 { return .absent }
        guard let manifest = Digest(bytes: self.manifest),
            let state = UInt8(exactly: self.state).flatMap(Binding.State.init(rawValue:))
        else { return .unknown }
        return .bound(version: LogIndex(version), manifest: manifest, state: state)
    }
}

extension ProtoPeerTokenRequest {
    init(_ request: PeerTokenRequest) {
        self.init()
        name = Data(request.name)
        holder = request.holder
        epoch = request.epoch
        hop = UInt32(request.hop)
        switch request.action {
        case .ask(let expected):
            ask = ProtoPeerTokenAsk()
            ask.expectedMilliseconds = expected.map(PeerMessages.milliseconds) ?? 0
        case .renew(let number): renew = number
        case .failed(let number, let message, let isDeterministic):
            failed = ProtoPeerTokenFailure()
            failed.number = number
            failed.message = message
            failed.deterministic = isDeterministic
        case .stored(let version): stored = version.rawValue
        }
    }

    /// Nil when it asks nothing, or was passed on too often.
    var request: PeerTokenRequest? {
        let action: PeerTokenRequest.Action
        switch self.action {
        case .ask(let ask):
            action = .ask(
                expected: ask.expectedMilliseconds == 0 ? nil : PeerMessages.duration(ask.expectedMilliseconds))
        case .renew(let number): action = .renew(number: number)
        case .failed(let failure):
            action = .failed(
                number: failure.number, message: failure.message, isDeterministic: failure.deterministic)
        case .stored(let version): action = .stored(LogIndex(version))
        case nil: return nil
        }
        guard CacheCommand.isName([UInt8](name)), holder.utf8.count <= 256, hop <= PeerRouting.maximumForwards else {
            return nil
        }
        return PeerTokenRequest(
            name: [UInt8](name), holder: holder, action: action, epoch: epoch, hop: Int(hop))
    }
}

extension ProtoPeerTokenResponse {
    init(_ reply: PeerTokenReply) {
        self.init()
        switch reply {
        case .answer(.granted(let number, let lifetime)):
            granted = ProtoPeerTokenGrant()
            granted.number = number
            granted.lifetimeMilliseconds = PeerMessages.milliseconds(lifetime)
        case .answer(.held(let left)): held = PeerMessages.milliseconds(left)
        case .answer(.failing(let message, let left)):
            failing = ProtoPeerTokenFailing()
            failing.message = message
            failing.milliseconds = PeerMessages.milliseconds(left)
        case .answer(.full): full = true
        case .renewed(let lifetime): renewed = lifetime.map(PeerMessages.milliseconds) ?? 0
        case .done: done = true
        case .notOwner(let epoch, let owner):
            notOwner = ProtoPeerNotOwner()
            notOwner.epoch = epoch
            notOwner.owner = owner?.rawValue ?? 0
        }
    }

    var reply: PeerTokenReply? {
        switch result {
        case .granted(let grant):
            .answer(
                .granted(number: grant.number, lifetime: PeerMessages.duration(grant.lifetimeMilliseconds)))
        case .held(let left): .answer(.held(for: PeerMessages.duration(left)))
        case .failing(let failing):
            .answer(.failing(failing.message, for: PeerMessages.duration(failing.milliseconds)))
        case .full: .answer(.full)
        case .renewed(let lifetime): .renewed(lifetime == 0 ? nil : PeerMessages.duration(lifetime))
        case .done: .done
        case .notOwner(let other):
            .notOwner(epoch: other.epoch, owner: other.owner == 0 ? nil : NodeID(other.owner))
        case nil: nil
        }
    }
}

extension ProtoPeerFindMissingResponse {
    init(_ held: PeerHoldings) {
        self.init()
        inMemory = PeerMessages.data(held.memory)
        onDisk = PeerMessages.data(held.disk)
    }
}
