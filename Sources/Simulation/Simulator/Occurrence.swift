import Coordination
import EsperTypes
import RaftCore
import RaftStorage

/// Everything that can be due at a moment of a run. Nodes and clients go by their position.
///
/// What is large lies elsewhere: an occurrence is moved several times before it is due.
enum Occurrence {
    indirect case deliver(Message, from: Int, to: Int, epoch: UInt32)
    /// The node handles what is in its inbox.
    case turn(node: Int, life: UInt32)
    case timer(node: Int, life: UInt32)
    /// The write under way is synced.
    case written(node: Int, life: UInt32)
    /// The worker for snapshots is done with something.
    indirect case worked(node: Int, life: UInt32, WorkerResult)
    indirect case link(node: Int, life: UInt32, peer: Int, isUp: Bool)
    indirect case request(node: Int, ClientRequest)
    indirect case reply(ClientRequest, Reply)
    /// The client begins an operation, or asks again.
    case client(Int, number: Int)
    indirect case timeout(ClientRequest.Asker, attempt: UInt64)
    /// The holder of a session goes on with whatever it does; its keeper asks for another keep-alive.
    case holder(Int)
    case keeper(Int)
    /// A write arrives at what a lock guards.
    indirect case guardedWrite(holder: Int, lock: Int, token: UInt64, SessionID)
    /// The watcher connects to some node.
    case connect(Int)
    indirect case watched(Int, connection: UInt32, WatchDelivery)
    /// The watcher has read so many bytes.
    indirect case credit(node: Int, life: UInt32, WatchID, Int)
    case crash(node: Int, life: UInt32)
    case restart(node: Int)
    /// The node looks again whether its disk has room.
    case reserve(node: Int, life: UInt32)
    case resume(node: Int)
    /// The node reads back what was stored long ago.
    case scrub(node: Int, life: UInt32)
    /// What the node found in its files lets it not go on.
    case stop(node: Int, life: UInt32)
    case fault
    /// The operator may ask for another membership.
    case membership
    /// Keys lose history, and taken audit records are forgotten.
    case housekeeping
    /// A name is bound for a moment.
    case briefName
    case endOfFault(Int)
    case heal
}

enum WorkerResult {
    case event(Event)
    case snapshot(SnapshotDescriptor, bytes: [UInt8], retainFrom: UInt64)
    case received(SnapshotDescriptor, offset: UInt64, bytes: [UInt8], isLast: Bool)
    /// A snapshot could not be read for a peer.
    case unreadable(SnapshotDescriptor, to: NodeID, StorageError)
}

/// What comes back.
enum Reply {
    case command(CommandResult, isDuplicate: Bool)
    case value(Int64?)
    case keptAlive(Duration)
    /// There is no such session (any more).
    case sessionGone
    /// Certainly nothing happened; ask the other, if one is known.
    case refused(hint: Int?)
}
