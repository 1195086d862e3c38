package import EsperClient

/// The map of shards as a picture: a square for each shard in its owner's colour, with a stripe in the colour of each further holder
/// and a frame where it moves.
package struct ShardPicture {
    private static let columns = 32
    private static let side = 20
    private static let top = 48

    private let places: ShardPlaces

    package init(_ places: ShardPlaces) { self.places = places }

    /// Colours as far from each other as the number of hosts allows.
    private func colour(_ id: UInt64) -> String {
        guard let position = places.hosts.firstIndex(where: { $0.id == id }) else { return "#888" }
        return "hsl(\(position * 360 / max(1, places.hosts.count)) 60% 55%)"
    }

    /// Names come from the cluster's settings, and are text here.
    private static func escaped(_ text: String) -> String {
        text.reduce(into: "") { result, character in
            switch character {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "\"": result += "&quot;"
            default: result.append(character)
            }
        }
    }

    private func name(_ id: UInt64) -> String {
        Self.escaped(places.hosts.first { $0.id == id }?.name ?? "\(id)")
    }

    package var svg: String {
        let rows = (places.shards.count + Self.columns - 1) / Self.columns
        let legend = Self.top + rows * Self.side + 12
        let (width, height) = (Self.columns * Self.side + 24, legend + places.hosts.count * 20 + 12)
        var lines = [
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 \(width) \(height)\" "
                + "font-family=\"sans-serif\" font-size=\"13\">",
            "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>",
            "<text x=\"12\" y=\"22\" font-size=\"16\">Shards of the cache, epoch \(places.epoch)</text>",
            "<text x=\"12\" y=\"40\">colour: owner; stripes: further copies; frame: moving</text>",
        ]
        for (number, shard) in places.shards.enumerated() { lines += square(number, shard) }
        for (position, host) in places.hosts.enumerated() {
            let y = legend + position * 20
            let state = host.isDown ? ", down" : host.isDraining ? ", draining" : ""
            lines.append(
                "<rect x=\"12\" y=\"\(y)\" width=\"14\" height=\"14\" fill=\"\(colour(host.id))\"/>"
                    + "<text x=\"34\" y=\"\(y + 12)\">\(Self.escaped(host.name)): owns \(host.owned), "
                    + "holds \(host.held)\(state)</text>")
        }
        lines.append("</svg>")
        return lines.joined(separator: "\n")
    }

    private func square(_ number: Int, _ shard: ShardPlaces.Shard) -> [String] {
        let (x, y) = (12 + number % Self.columns * Self.side, Self.top + number / Self.columns * Self.side)
        let size = Self.side - 2
        let moving = shard.step == "stable" ? "" : ", \(shard.step) to \(shard.target.map(name).joined(separator: " "))"
        var lines = [
            "<g><title>\(number): \(shard.members.map(name).joined(separator: " "))\(moving)</title>",
            "<rect x=\"\(x)\" y=\"\(y)\" width=\"\(size)\" height=\"\(size)\" "
                + "fill=\"\(shard.members.first.map(colour) ?? "#888")\"/>",
        ]
        for (rank, member) in shard.members.dropFirst().enumerated() {
            lines.append(
                "<rect x=\"\(x)\" y=\"\(y + size - 4 * (rank + 1))\" width=\"\(size)\" height=\"4\" "
                    + "fill=\"\(colour(member))\"/>")
        }
        if !moving.isEmpty {
            lines.append(
                "<rect x=\"\(x)\" y=\"\(y)\" width=\"\(size)\" height=\"\(size)\" fill=\"none\" stroke=\"black\" "
                    + "stroke-width=\"2\"/>")
        }
        lines.append("</g>")
        return lines
    }
}
