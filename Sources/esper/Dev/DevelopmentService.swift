import Foundation
import Glibc

/// A server beside the nodes, with files of its own and, when we are root, an account of its own.
struct DevelopmentService {
    let name: String
    /// `DIR/NAME`, or a link there to a place that the unprivileged account can reach.
    let directory: String

    /// The same without a link on the way: where the server's account can go.
    var place: String { (directory as NSString).resolvingSymlinksInPath }
    var logPath: String { "\(directory)/\(name).log" }
    var processPath: String { "\(directory)/\(name).pid" }
    var passwordPath: String { "\(directory)/password" }
    var process: ProcessRecord? { ProcessRecord(file: processPath) }
    var isRunning: Bool { process?.isRunning ?? false }

    /// Makes the directory and a password for the server.
    ///
    /// As root the server runs under an account that may not be able to enter the cluster's directory (a checkout
    /// below /root). Its files then live under /var/tmp and the directory is a link; we say so.
    func prepare() async throws {
        if !Files.exists(directory) {
            let parent = (directory as NSString).deletingLastPathComponent
            if await Account.reaches(parent) {
                try Files.createDirectory(directory, mode: 0o700)
            } else {
                var template = Array("/var/tmp/esper-\(name).XXXXXX".utf8CString)
                guard mkdtemp(&template) != nil else { throw Files.failure("create", "/var/tmp/esper-\(name)") }
                let place = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
                guard symlink(place, directory) == 0 else { throw Files.failure("link", directory) }
                Terminal.progress(
                    "\(name) keeps its files in \(place): its account, \(Account.unprivileged ?? "?"), cannot enter \(parent)"
                )
            }
            try Account.own(directory)
        }
        if !Files.exists(passwordPath) {
            let password = (0..<2).map { _ in String(UInt64.random(in: 0 ... .max), radix: 16) }.joined()
            try Files.write(password, to: passwordPath)
            try Account.own(passwordPath)
        }
    }

    func password() throws -> String { try Files.read(passwordPath) }

    func start(_ arguments: [String]) throws {
        try Spawn.detached(Account.dropping(arguments), log: logPath).write(to: processPath)
    }

    /// Waits until `check` holds.
    ///
    /// - Throws: ``CommandFailure`` when the process has ended or `seconds` have passed.
    func waitUntilReady(seconds: Int, _ check: () async -> Bool) async throws {
        for _ in 0..<(seconds * 20) {
            if await check() { return }
            guard isRunning else {
                let text = (try? Files.read(logPath)) ?? ""
                let last = text.split(whereSeparator: \.isNewline).suffix(3).joined(separator: "; ")
                throw CommandFailure("\(name) ended at once: \(last) (\(logPath))")
            }
            try await Task.sleep(for: .milliseconds(50))
        }
        throw CommandFailure(.timedOut, "\(name) was not ready within \(seconds) s; see \(logPath)")
    }

    /// Whether something accepts connections on a loopback port.
    static func accepts(port: Int) -> Bool {
        let file = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        guard file >= 0 else { return false }
        defer { close(file) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(file, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
            }
        }
    }
}
