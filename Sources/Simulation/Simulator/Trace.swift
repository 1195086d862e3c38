import EsperTypes
import RaftCore

/// A digest of every step of a run: two runs with equal digests took the same steps.
///
/// The standard library's hashing differs from process to process, so this has its own: a multiply-xorshift chain.
struct Trace {
    private(set) var digest: UInt64 = 0x6a09_e667_f3bc_c908

    mutating func mix(_ value: UInt64) {
        digest = (digest ^ value) &* 0x9fb2_1c65_1e98_df25
        digest ^= digest >> 32
    }

    mutating func mix(_ value: Int) { mix(UInt64(truncatingIfNeeded: value)) }

    mutating func mix(_ id: EntryID) {
        mix(id.term.rawValue)
        mix(id.index.rawValue)
    }

    mutating func mix(_ bytes: [UInt8]) { mix(UInt64(CRC32C.checksum(bytes))) }

    mutating func mix(_ message: Message) {
        mix(message.term.rawValue)
        switch message {
        case .preVoteRequest(let request):
            mix(1)
            mix(request.last)
            mix(request.round)
        case .preVoteResponse(let response):
            mix(response.isGranted ? 3 : 2)
            mix(response.round)
        case .requestVote(let request):
            mix(request.isTransfer ? 5 : 4)
            mix(request.last)
        case .requestVoteResponse(let response):
            mix(response.isGranted ? 7 : 6)
        case .appendEntries(let append):
            mix(8)
            mix(append.session.rawValue)
            mix(append.readSequence.rawValue)
            mix(append.previous)
            mix(append.commit.rawValue)
            for entry in append.entries { mix(entry) }
        case .appendEntriesResponse(let response):
            mix(9)
            mix(response.session.rawValue)
            mix(response.readSequence.rawValue)
            switch response.outcome {
            case .matched(let durable, let received):
                mix(durable.rawValue)
                mix(received.rawValue)
            case .conflict(let previous, let hint):
                mix(previous)
                mix(hint)
            case .staleTerm: mix(10)
            }
        case .installSnapshot(let chunk):
            mix(11)
            mix(chunk.descriptor.id)
            mix(chunk.offset)
            mix(chunk.bytes)
        case .installSnapshotResponse(let response):
            mix(12)
            switch response.outcome {
            case .received(let id, let nextOffset):
                mix(id)
                mix(nextOffset)
            case .installed(let through): mix(through.rawValue)
            case .staleTerm: mix(13)
            }
        case .timeoutNow(let order):
            mix(14)
            mix(order.last)
        case .readIndexRequest(let request):
            mix(15)
            mix(request.number)
        case .readIndexResponse(let response):
            mix(16)
            mix(response.number)
            mix(response.index?.rawValue ?? .max)
        }
    }

    mutating func mix(_ entry: Entry) {
        mix(entry.id)
        mix(UInt64(entry.kind.rawValue))
        mix(entry.payload)
    }
}
