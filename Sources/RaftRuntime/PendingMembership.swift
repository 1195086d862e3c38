import Coordination
import EsperTypes
import RaftCore

/// Changes of members that this node, leading, carries out for somebody.
///
///     admitting ──every ID known──▶ waiting ──accepted──▶ changing ──committed──▶ answered
///         └───refused                  └──refused: answered, or tried again when what is in the way passes by itself
struct PendingMembership {
    enum Asker {
        case caller(Caller)
        /// A node that asks for one of its callers.
        case peer(NodeID, token: UInt64)
    }

    enum Phase: Equatable {
        /// The table is giving new nodes their IDs; so many are missing.
        case admitting(Int)
        /// To be handed to the core, now or when it can take it.
        case waiting
        /// Handed to the core: in the log, unless it says in the same turn why not.
        case changing
    }

    var asker: Asker
    var order: MembershipOrder
    var deadline: Instant
    var phase = Phase.admitting(0)
    /// The member of each name.
    var nodes: [String: NodeID] = [:]

    /// The members that the changes are about, in order.
    var subjects: [NodeID] {
        order.changes.compactMap { change in
            switch change {
            case .add(let new): nodes[new.name]
            case .promote(let name), .demote(let name), .remove(let name), .replace(_, with: let name): nodes[name]
            }
        }
    }

    /// What the core is to do; what holds already is left out.
    func changes(for configuration: Configuration) -> [ConfigurationChange] {
        order.changes.compactMap { change in
            switch change {
            case .add(let new): nodes[new.name].flatMap { configuration.contains($0) ? nil : .addLearner($0) }
            case .promote(let name): nodes[name].flatMap { configuration.isVoter($0) ? nil : .addVoter($0) }
            case .demote(let name): nodes[name].flatMap { configuration.isLearner($0) ? nil : .demote($0) }
            case .remove(let name): nodes[name].flatMap { configuration.contains($0) ? .remove($0) : nil }
            case .replace(let old, let new):
                nodes[old].flatMap { old in
                    nodes[new].flatMap { new in
                        !configuration.contains(old) && configuration.isVoter(new) ? nil : .replace(old, with: new)
                    }
                }
            }
        }
    }
}
