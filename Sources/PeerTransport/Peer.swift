import EsperTypes
import NIOCore

/// What the transport knows of one member: its line of the table, its two lanes, its faults.
final class Peer {
    var member: PeerMember
    let main: Lane
    let bulk: Lane
    /// The life of the peer's disk that we keep to: the table's, or the first that was seen.
    var incarnation: Incarnation?
    var version: String?
    var isBlocked = false

    init(_ member: PeerMember, _ options: PeerOptions) {
        self.member = member
        incarnation = member.incarnation
        main = Lane(.main, bound: options.mainQueueBytes, options)
        bulk = Lane(.bulk, bound: options.bulkQueueBytes, options)
    }

    var lanes: [Lane] { [main, bulk] }

    func lane(_ kind: LinkKind) -> Lane {
        switch kind {
        case .main: main
        case .bulk: bulk
        }
    }
}

/// One of the two links to a peer, standing or not.
final class Lane {
    enum Dial {
        case idle
        case connecting(PeerConnection)
        case waiting(Scheduled<Void>)
    }

    let kind: LinkKind
    var queue: OutboundQueue
    /// The link, when it stands.
    var connection: PeerConnection?
    var dial = Dial.idle
    var backoff: Backoff
    /// When the link came to stand.
    var openedAt = NIODeadline.uptimeNanoseconds(0)
    /// Has bytes for the next flush.
    var isDirty = false

    init(_ kind: LinkKind, bound: Int, _ options: PeerOptions) {
        self.kind = kind
        queue = OutboundQueue(bound: bound, reserve: options.reservedQueueBytes)
        backoff = Backoff(shortest: options.shortestRetry)
    }

    /// Gives up the dial under way or waited for.
    func cancelDial() {
        switch dial {
        case .idle: break
        case .connecting(let connection): connection.end(.refused(.abandoned))
        case .waiting(let scheduled): scheduled.cancel()
        }
        dial = .idle
    }
}
