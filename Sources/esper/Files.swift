import Foundation
package import Glibc

/// The little that commands do with files.
package enum Files {
    static func absolute(_ path: String) -> String {
        path.hasPrefix("/") ? path : FileManager.default.currentDirectoryPath + "/" + path
    }

    static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    /// Creates the directory and those above it; one that exists is left as it is.
    static func createDirectory(_ path: String, mode: Int) throws {
        guard !exists(path) else { return }
        do {
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: mode])
        } catch {
            throw CommandFailure("cannot create \(path): \(error.localizedDescription)")
        }
    }

    static func move(_ path: String, to target: String) throws {
        guard rename(path, target) == 0 else { throw failure("move", path) }
    }

    static func read(_ path: String) throws -> String {
        do {
            return try String(contentsOfFile: path, encoding: .utf8)
        } catch {
            throw CommandFailure("cannot read \(path): \(error.localizedDescription)")
        }
    }

    /// Replaces the file as a whole.
    package static func write(_ text: String, to path: String, mode: mode_t = 0o600) throws {
        let temporary = "\(path).\(getpid()).tmp"
        unlink(temporary)
        let file = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
        guard file >= 0 else { throw failure("create", temporary) }
        let bytes = [UInt8](text.utf8)
        var offset = 0
        while offset < bytes.count {
            let count = bytes.withUnsafeBytes { Glibc.write(file, $0.baseAddress! + offset, bytes.count - offset) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else {
                let reason = failure("write", temporary)
                close(file)
                unlink(temporary)
                throw reason
            }
            offset += count
        }
        close(file)
        guard rename(temporary, path) == 0 else { throw failure("write", path) }
    }

    static func failure(_ verb: String, _ path: String) -> CommandFailure {
        CommandFailure("cannot \(verb) \(path): \(String(cString: strerror(errno)))")
    }
}
