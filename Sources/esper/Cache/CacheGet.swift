import ArgumentParser
import CacheCore
import EsperClient
import EsperTypes
import Foundation

struct CacheGet: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "get", abstract: "Fetch an artifact; exit code 1 when there is none.",
        discussion: """
            Every byte is checked against its SHA-256. Files appear when everything has come: an interrupted get leaves what \
            was there before.
            """)

    @OptionGroup var name: ArtifactArgument

    @Option(
        help: """
            A directory (it exists, ends with a slash, or the artifact has named files), a file, or - for standard output, \
            which is the default.
            """)
    var into = "-"

    @Option(name: .customLong("file"), help: "Only this file; may be given several times.")
    var files: [String] = []

    @Flag(help: "Answer also without a quorum; possibly old, and said so.")
    var allowStale = false

    @OptionGroup var cluster: ClusterOptions

    func validate() throws {
        if cluster.output.isJSON, into == "-" {
            throw ValidationError("with --output json give --into DIR or FILE: standard output is the document's")
        }
    }

    func run() async throws {
        var options = RetrieveOptions()
        options.files = files
        options.allowsStale = allowStale
        try await cluster.withClient { client in
            guard into != "-" else { return try await print(client, options) }
            // A look first: where its files go depends on what it is.
            guard case .found(let header) = try await client.cache.header(name.artifact, allowsStale: allowStale) else {
                throw absent
            }
            let sink = FileSink(place(of: header), files: files)
            do {
                guard
                    case .found(let header) = try await client.cache.retrieve(
                        name.artifact, into: sink, options: options)
                else { throw absent }
                try await sink.finish()
                report(header, sink.paths)
            } catch {
                await sink.discard()
                throw error
            }
        }
    }

    private func print(_ client: EsperClient, _ options: RetrieveOptions) async throws {
        guard case .found = try await client.cache.retrieve(name.artifact, into: OutputSink(files), options: options)
        else { throw absent }
    }

    private var absent: CommandFailure {
        if cluster.output.isJSON {
            Terminal.line(JSON.object([.init(name: "found", value: false)] + name.artifact.fields).text)
        }
        return CommandFailure(.failed, "there is no artifact \(name.name)", reason: "not_found")
    }

    private func place(of header: ArtifactHeader) -> FileSink.Place {
        var isDirectory: ObjCBool = false
        let exists = FileManager.default.fileExists(atPath: into, isDirectory: &isDirectory)
        let hasNames = header.manifest.files.contains { !$0.name.isEmpty } && files.count != 1
        let isPlace = exists ? isDirectory.boolValue : into.hasSuffix("/") || hasNames
        let path = into.count > 1 && into.hasSuffix("/") ? String(into.dropLast()) : into
        return isPlace ? .directory(path) : .file(path)
    }

    private func report(_ header: ArtifactHeader, _ paths: [Int: String]) {
        let files = header.manifest.files.enumerated().filter { paths[$0.offset] != nil }
        let bytes = files.reduce(UInt64(0)) { $0 + $1.element.size }
        let head: [JSON.Field] = [.init(name: "found", value: true)] + name.artifact.fields
        cluster.output.print(
            .object(
                head + [
                    .init(name: "stale", value: .bool(header.isStale)),
                    .init(name: "tier", value: .optional(header.tier) { .string($0.name) }),
                    .init(name: "bytes", value: .unsigned(bytes)),
                    .init(name: "writer", value: .string(header.manifest.writer)),
                    .init(
                        name: "files",
                        value: .array(
                            files.map { number, file in
                                .object(file.fields + [.init(name: "path", value: .string(paths[number] ?? ""))])
                            })),
                    .init(name: "binding", value: header.binding.json),
                ]),
            text: "\(files.count == 1 ? "1 file" : "\(files.count) files"), \(WrittenSize.text(bytes)), into \(into)"
                + (header.isStale ? "; possibly old: no quorum confirmed it" : ""))
    }
}

/// Standard output, for an artifact of one file.
final class OutputSink: ArtifactSink {
    private let wanted: Set<String>
    private let hasWritten = SharedMark()

    init(_ files: [String]) { wanted = Set(files) }

    func begin(_ header: ArtifactHeader) async throws {
        guard !hasWritten.isSet else {
            throw CommandFailure("the artifact was replaced while it was read; what was printed is of the one before")
        }
        let files = header.manifest.files.filter { wanted.isEmpty || wanted.contains($0.name) }
        guard files.count == 1 else {
            throw CommandFailure(
                .usage, "the artifact has \(files.count) files: give --into DIR, or --file NAME", reason: "usage")
        }
    }

    func write(_ bytes: [UInt8], file: Int) async throws {
        hasWritten.set()
        Terminal.raw(bytes)
    }
}
