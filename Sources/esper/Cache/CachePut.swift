import ArgumentParser
import CacheCore
package import EsperClient
import EsperTypes
import Foundation

struct CachePut: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "put", abstract: "Store an artifact: one value, some files, or a directory.",
        discussion: """
            One file, or standard input, is stored as a plain value. Several files keep their last names; the files of a \
            directory keep their paths in it. Everything is published at once, or nothing is.
            """)

    @OptionGroup var name: ArtifactArgument

    @Argument(help: "Files, one directory, or - for standard input.")
    var sources: [String]

    @Option(help: "What to wait for: two nodes, not synced; a durable tier or two synced disks; the archive.")
    var mode = WrittenMode.durable

    @Option(help: "action: the first writer wins, for good. alias: replaces what is there.")
    var kind = WrittenKind.action

    @Option(help: "Only when the name has this version.")
    var expectVersion: UInt64?

    @Flag(help: "Only when there is nothing under the name.")
    var expectAbsent = false

    @Option(help: "What making it took.", transform: WrittenDuration.read)
    var cost: WrittenDuration?

    @Option(help: "Forget it after this time.", transform: WrittenDuration.read)
    var ttl: WrittenDuration?

    @Option(help: "The manifest of the graph that it belongs to.", transform: WrittenDigest.read)
    var lineage: WrittenDigest?

    @OptionGroup var cluster: ClusterOptions

    func validate() throws {
        guard !sources.isEmpty else { throw ValidationError("give files, a directory, or -") }
        if sources.contains("-"), sources.count > 1 { throw ValidationError("- stands alone") }
        if expectVersion != nil, expectAbsent { throw ValidationError("give --expect-version or --expect-absent") }
    }

    func run() async throws {
        let files = try ArtifactSources.files(sources)
        var options = StoreOptions()
        options.kind = kind.kind
        options.mode = mode.mode
        options.condition = expectAbsent ? .absent : expectVersion.map(StoreCondition.version) ?? .byKind
        options.cost = cost?.duration
        options.lifetime = ttl?.duration
        options.lineage = lineage?.digest
        try await cluster.changing { client in
            let answer = try await client.cache.store(name.artifact, files, options: options)
            let head: [JSON.Field] = [.init(name: "outcome", value: "committed")] + name.artifact.fields
            cluster.output.print(
                .object(
                    head + [
                        .init(name: "stored", value: .bool(answer.isStored)),
                        .init(name: "tiers", value: answer.tiers.json),
                        .init(name: "binding", value: answer.binding.json),
                    ]),
                text: (answer.isStored ? "stored" : "somebody else stored it first; kept")
                    + ": \(answer.binding.text); held by \(answer.tiers.text)")
        }
    }
}

/// The files that a command is to store.
package enum ArtifactSources {
    package static func files(_ sources: [String]) throws -> [ArtifactFile] {
        if sources == ["-"] {
            return [ArtifactFile(name: "", .bytes([UInt8](FileHandle.standardInput.readDataToEndOfFile())))]
        }
        if sources.count == 1, try isDirectory(sources[0]) { return try directory(sources[0]) }
        var files: [ArtifactFile] = []
        for path in sources {
            guard try !isDirectory(path) else {
                throw CommandFailure(.usage, "\(path) is a directory: it stands alone")
            }
            let name = sources.count == 1 ? "" : (path as NSString).lastPathComponent
            guard !files.contains(where: { $0.name == name }) else {
                throw CommandFailure(.usage, "two files are called \(name)")
            }
            files.append(ArtifactFile(name: name, .file(path)))
        }
        return files
    }

    private static func isDirectory(_ path: String) throws -> Bool {
        var isDirectory: ObjCBool = false
        guard FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory) else {
            throw CommandFailure("there is no \(path)")
        }
        return isDirectory.boolValue
    }

    /// All files below, in order of their names.
    private static func directory(_ path: String) throws -> [ArtifactFile] {
        var files: [ArtifactFile] = []
        let names: [String]
        do {
            names = try FileManager.default.subpathsOfDirectory(atPath: path).sorted()
        } catch {
            throw CommandFailure("cannot read \(path): \(error.localizedDescription)")
        }
        for name in names {
            let file = path + "/" + name
            switch try FileManager.default.attributesOfItem(atPath: file)[.type] as? FileAttributeType {
            case .typeDirectory?: continue
            case .typeRegular?: files.append(ArtifactFile(name: name, .file(file)))
            default: throw CommandFailure("\(file) is no regular file")
            }
        }
        guard !files.isEmpty else { throw CommandFailure("\(path) has no files") }
        guard files.count <= CacheLimits.files else {
            throw CommandFailure("\(path) has \(files.count) files, more than \(CacheLimits.files)")
        }
        return files
    }
}
