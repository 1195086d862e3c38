import EsperTypes

/// A placement while it is being made. Hosts and shards are numbers here.
struct PlacementDraft {
    private let hosts: [ShardMap.Host]
    private let zones: [Int]
    private let copies: Int
    private let count: Int
    /// How many copies, and how many shards to own, are each host's share, and the least and most that it may have of each.
    private let copyShare: Share
    private let ownerShare: Share
    /// The owner first.
    private var sets: [[Int]]
    private var copyLoad: [Int]
    private var ownerLoad: [Int]
    /// What each host draws: of host h for shard s at h · count + s.
    private let scores: [Double]

    private struct Share {
        var fair: [Double]
        var least: [Int]
        var most: [Int]

        init(weights: [Double], total: Int, each: Int, cap: Double, floor: Double) {
            fair = PlacementDraft.shares(weights: weights, total: Double(total), limit: Double(each))
            least = fair.map { Int($0 * floor) }
            most = fair.map { min(each, max(Int($0 * cap), PlacementDraft.ceiling($0))) }
        }
    }

    init(hosts: [ShardMap.Host], shards count: Int, copies: Int, cap: Double, floor: Double) {
        self.hosts = hosts
        self.copies = copies
        let names = Array(Set(hosts.map(\.zone))).sorted()
        zones = hosts.map { host in names.firstIndex(of: host.zone)! }
        let weights = hosts.map { Double($0.weight) }
        self.count = count
        copyShare = Share(weights: weights, total: count * copies, each: count, cap: cap, floor: floor)
        ownerShare = Share(weights: weights, total: count, each: count, cap: cap, floor: floor)
        sets = Array(repeating: [], count: count)
        copyLoad = Array(repeating: 0, count: hosts.count)
        ownerLoad = copyLoad
        var scores: [Double] = []
        scores.reserveCapacity(hosts.count * count)
        for host in hosts {
            for shard in 0..<count {
                scores.append(Rendezvous.score(host: host.id, weight: host.weight, shard: ShardID(shard)!))
            }
        }
        self.scores = scores
    }

    private static func ceiling(_ value: Double) -> Int { Double(Int(value)) < value ? Int(value) + 1 : Int(value) }

    /// In proportion to the weights, but nobody above the limit: what the heavy ones cannot take goes to the others.
    private static func shares(weights: [Double], total: Double, limit: Double) -> [Double] {
        var shares = Array(repeating: 0.0, count: weights.count)
        var open = Array(weights.indices)
        var rest = total
        while true {
            let sum = open.reduce(0) { $0 + weights[$1] }
            let over = open.filter { rest * weights[$0] / sum > limit }
            if over.isEmpty {
                for host in open { shares[host] = rest * weights[host] / sum }
                return shares
            }
            for host in over { shares[host] = limit }
            rest -= limit * Double(over.count)
            open.removeAll(where: over.contains)
            if open.isEmpty { return shares }
        }
    }

    var placements: [Placement] {
        sets.map { set in
            Placement(owner: hosts[set[0]].id, replicas: set.dropFirst().map { hosts[$0].id })
        }
    }

    private func score(_ host: Int, _ shard: Int) -> Double { scores[host * count + shard] }

    /// Takes over what can stay.
    mutating func keep(_ previous: [Placement]) {
        guard !previous.isEmpty else { return }
        let numbers = Dictionary(uniqueKeysWithValues: hosts.enumerated().map { ($1.id, $0) })
        for shard in sets.indices {
            let members = previous[shard].members.compactMap { numbers[$0] }
            for (rank, host) in members.prefix(copies).enumerated() {
                sets[shard].append(host)
                copyLoad[host] += 1
                // Whoever is left of a set takes over, as at its owner's death.
                if rank == 0 { ownerLoad[host] += 1 }
            }
        }
    }

    /// Completes every set.
    mutating func fill() {
        for shard in sets.indices where sets[shard].count < copies {
            let order = hosts.indices.sorted {
                let (left, right) = (score($0, shard), score($1, shard))
                return left == right ? $0 < $1 : left > right
            }
            while sets[shard].count < copies {
                let free = order.filter { !sets[shard].contains($0) }
                let isFirst = sets[shard].isEmpty
                let below = free.filter {
                    copyLoad[$0] < copyShare.most[$0] && (!isFirst || ownerLoad[$0] < ownerShare.most[$0])
                }
                let choice = best(of: below, for: shard) ?? leastLoaded(of: free)
                sets[shard].append(choice)
                copyLoad[choice] += 1
                if isFirst { ownerLoad[choice] += 1 }
            }
        }
    }

    /// The first whose zone has the fewest members of the set.
    private func best(of candidates: [Int], for shard: Int) -> Int? {
        var best: (host: Int, sharing: Int)?
        for host in candidates {
            let sharing = sets[shard].count { zones[$0] == zones[host] }
            if sharing == 0 { return host }
            if best.map({ sharing < $0.sharing }) ?? true { best = (host, sharing) }
        }
        return best?.host
    }

    private func leastLoaded(of candidates: [Int]) -> Int {
        candidates.min { surplus($0) < surplus($1) }!
    }

    /// In parts of the share.
    private func surplus(_ host: Int) -> Double {
        (Double(copyLoad[host]) - copyShare.fair[host]) / max(copyShare.fair[host], 1)
    }

    /// Gives copies of the most loaded to hosts below the floor, up to their share, and takes what is above the cap.
    mutating func levelCopies() {
        for receiver in hosts.indices.sorted(by: { surplus($0) < surplus($1) })
        where copyLoad[receiver] < copyShare.least[receiver] {
            let goal = Int(copyShare.fair[receiver])
            moveCopies(to: receiver, until: goal) { [copyLoad, copyShare] in Double(copyLoad[$0]) > copyShare.fair[$0] }
        }
        for giver in hosts.indices {
            var isStuck = false
            while copyLoad[giver] > copyShare.most[giver], !isStuck {
                let before = copyLoad[giver]
                for receiver in hosts.indices.sorted(by: { surplus($0) < surplus($1) })
                where receiver != giver && copyLoad[receiver] < copyShare.most[receiver] {
                    moveCopies(to: receiver, until: copyLoad[receiver] + 1) { $0 == giver }
                    if copyLoad[giver] < before { break }
                }
                isStuck = copyLoad[giver] == before
            }
        }
    }

    /// - Parameter isGiver: whether a host gives copies away; none gives below its share.
    private mutating func moveCopies(to receiver: Int, until goal: Int, from isGiver: (Int) -> Bool) {
        guard copyLoad[receiver] < goal else { return }
        let order = sets.indices.sorted {
            let (left, right) = (score(receiver, $0), score(receiver, $1))
            return left == right ? $0 < $1 : left > right
        }
        // First without putting two copies into one zone, then anyhow.
        for mayShareZones in [false, true] {
            for shard in order where copyLoad[receiver] < goal && !sets[shard].contains(receiver) {
                let givers = sets[shard].indices.filter { rank in
                    let host = sets[shard][rank]
                    guard isGiver(host), Double(copyLoad[host]) > copyShare.fair[host] else { return false }
                    return mayShareZones || !worsens(shard, replacing: rank, by: receiver)
                }
                guard let rank = givers.max(by: { surplus(sets[shard][$0]) < surplus(sets[shard][$1]) }) else {
                    continue
                }
                let giver = sets[shard][rank]
                sets[shard][rank] = receiver
                copyLoad[giver] -= 1
                copyLoad[receiver] += 1
                if rank == 0 {
                    ownerLoad[giver] -= 1
                    ownerLoad[receiver] += 1
                }
            }
        }
    }

    private func worsens(_ shard: Int, replacing rank: Int, by host: Int) -> Bool {
        var others = sets[shard]
        let old = others.remove(at: rank)
        return others.count { zones[$0] == zones[host] } > others.count { zones[$0] == zones[old] }
    }

    /// Evens out the numbers of owners by exchanging roles within the sets, along the shortest chain from one who owns too much
    /// to one who owns too little.
    mutating func levelOwners() {
        for _ in 0..<2 * count {
            let above = hosts.indices.filter { ownerLoad[$0] > ownerShare.most[$0] }
            let below = hosts.indices.filter { ownerLoad[$0] < ownerShare.least[$0] }
            let isDone =
                if !above.isEmpty {
                    !shift(from: above) { [ownerLoad, ownerShare] in Double(ownerLoad[$0]) + 1 <= ownerShare.fair[$0] }
                        && !shift(from: above) { [ownerLoad, ownerShare] in ownerLoad[$0] < ownerShare.most[$0] }
                } else if !below.isEmpty {
                    !shift(from: hosts.indices.filter { Double(ownerLoad[$0]) > ownerShare.fair[$0] }) {
                        below.contains($0)
                    }
                } else { true }
            if isDone { return }
        }
    }

    /// - Returns: whether there was a chain.
    private mutating func shift(from givers: [Int], to isReceiver: (Int) -> Bool) -> Bool {
        var owned: [[Int]] = Array(repeating: [], count: hosts.count)
        for shard in sets.indices { owned[sets[shard][0]].append(shard) }
        // By which shard each host was reached.
        var reached: [Int?] = Array(repeating: nil, count: hosts.count)
        var isSeen = Array(repeating: false, count: hosts.count)
        var queue = givers
        for giver in givers { isSeen[giver] = true }
        var position = 0
        while position < queue.count {
            let host = queue[position]
            position += 1
            for shard in owned[host] {
                for next in sets[shard].dropFirst() where !isSeen[next] {
                    isSeen[next] = true
                    reached[next] = shard
                    guard isReceiver(next) else {
                        queue.append(next)
                        continue
                    }
                    ownerLoad[next] += 1
                    var end = next
                    while let shard = reached[end] {
                        let owner = sets[shard][0]
                        sets[shard].swapAt(0, sets[shard].firstIndex(of: end)!)
                        end = owner
                    }
                    ownerLoad[end] -= 1
                    return true
                }
            }
        }
        return false
    }
}
