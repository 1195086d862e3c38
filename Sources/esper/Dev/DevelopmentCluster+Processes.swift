import Foundation
import Glibc

/// Starting and stopping the processes of the cluster.
extension DevelopmentCluster {
    /// What a node's process does.
    enum NodeState: String, Sendable {
        case running, paused, down
    }

    func state(of node: Node) -> NodeState {
        guard let process = process(of: node), process.isRunning else { return .down }
        return process.isPaused ? .paused : .running
    }

    func start(_ node: Node) throws {
        recordInitialization(of: node)
        var command = [try NodeProgram.path(), "--config", settingsPath(of: node)]
        if !Files.exists(initializedPath(of: node)) { command.append("--initialize") }
        try Spawn.detached(command, log: logPath(of: node)).write(to: processPath(of: node))
    }

    /// Notes that the node has its data directory, once it has. What cannot be noted now is noted at the next start.
    func recordInitialization(of node: Node) {
        guard !Files.exists(initializedPath(of: node)), Files.exists("\(dataDirectory(of: node))/metadata") else {
            return
        }
        try? Files.write("\(node.name) has a data directory\n", to: initializedPath(of: node))
    }

    /// Asks every process to end, and ends those that have not within `seconds`.
    ///
    /// - Returns: names of those that had to be killed.
    static func stop(
        _ processes: [(name: String, record: ProcessRecord)], with signal: CInt, within seconds: Int
    ) async throws -> [String] {
        for process in processes where process.record.signal(signal) {
            // A paused process would see nothing.
            process.record.signal(SIGCONT)
        }
        for _ in 0..<(seconds * 50) {
            if !processes.contains(where: { $0.record.isRunning }) { return [] }
            try await Task.sleep(for: .milliseconds(20))
        }
        var killed: [String] = []
        for process in processes where process.record.signal(SIGKILL) { killed.append(process.name) }
        for _ in 0..<250 where processes.contains(where: { $0.record.isRunning }) {
            try await Task.sleep(for: .milliseconds(20))
        }
        return killed
    }

    /// The last lines of a node's log, for messages.
    func lastWords(of node: Node) -> String {
        let text = (try? Files.read(logPath(of: node))) ?? ""
        return text.split(whereSeparator: \.isNewline).suffix(2).joined(separator: "; ")
    }
}
