/// The first byte of a frame's body. Numbers are never reused; docs/formats/peer-protocol.md has the layouts.
package enum FrameKind: UInt8, CaseIterable {
    case hello = 0x01
    case welcome = 0x02
    case refusal = 0x03
    case preVoteRequest = 0x10
    case preVoteResponse = 0x11
    case requestVote = 0x12
    case requestVoteResponse = 0x13
    case appendEntries = 0x14
    case appendEntriesResponse = 0x15
    case installSnapshot = 0x16
    case installSnapshotResponse = 0x17
    case timeoutNow = 0x18
    case readIndexRequest = 0x19
    case readIndexResponse = 0x1a
    case forward = 0x30
    case forwardRefused = 0x31
    case ask = 0x32
    case answer = 0x33
}
