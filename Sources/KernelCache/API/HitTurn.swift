import CacheCore
import RaftRuntime

/// Questions that all came before the first of them is asked: they are answered from one picture of the names, and counted
/// together. A door makes one of the requests that one read from a socket brings.
///
/// Begin another one before a question that came later, or that has to see what another question or change has seen.
public struct HitTurn {
    private enum Names {
        case unseen
        case seen(NamePicture)
        /// Each name has to be asked for alone.
        case unclear
    }

    private var names = Names.unseen
    var found: UInt64 = 0
    var foundBytes: UInt64 = 0
    var foundCostMilliseconds: UInt64 = 0
    var absent: UInt64 = 0
    var refused: UInt64 = 0

    public init() {}

    mutating func binding(_ name: [UInt8], from authority: any NameAuthority) -> BindingLookup? {
        if case .unseen = names { names = authority.picture().map { .seen($0) } ?? .unclear }
        if case .seen(let picture) = names, let lookup = picture.binding(name) { return lookup }
        return authority.binding(name, principal: nil)
    }

    mutating func note(bytes: Int, costMilliseconds: UInt32) {
        found += 1
        foundBytes += UInt64(bytes)
        foundCostMilliseconds += UInt64(costMilliseconds)
    }
}
