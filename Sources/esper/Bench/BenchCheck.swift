import ArgumentParser
import Simulation

struct BenchCheck: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "check", abstract: "Judge a recorded history: is it linearizable, were locks exclusive?",
        discussion: "Exit code 0 only when every key and lock followed an order it could have followed.")

    @Argument(help: "The file that --history wrote.")
    var file: String

    @OptionGroup var output: OutputOptions

    func run() async throws {
        let report: HistoryChecker.Report
        do {
            report = HistoryChecker().check(try History(reading: [UInt8](try Files.read(file).utf8)))
        } catch let error as History.ReadingError {
            throw CommandFailure("\(file): \(error)")
        }
        let (verdict, reason): (String, String?) =
            switch report.verdict {
            case .holds: ("holds", nil)
            case .violated(let violation): ("violated", "\(violation)")
            case .undecided(let model, let key, let reason): ("undecided", "\(model) \(key): \(reason)")
            case .invalid(let problem): ("invalid", "\(problem)")
            }
        output.print(
            .fields([
                "verdict": .string(verdict), "reason": .optional(reason) { .string($0) },
                "operations": .int(report.operations), "keys": .int(report.keys),
                "unjudged_models": .array(report.unjudgedModels.map { .string($0) }),
            ]),
            text: "\(verdict): \(report.operations) operations on \(report.keys) keys and locks")
        if let reason { throw CommandFailure(.failed, "the history is \(verdict): \(reason)", reason: verdict) }
    }
}
