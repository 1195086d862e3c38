import ArgumentParser

/// How a command answers.
struct OutputOptions: ParsableArguments {
    enum Format: String, CaseIterable, ExpressibleByArgument {
        case text, json
    }

    @Option(name: [.short, .long], help: "text for people, or json: exactly one document (streams: one per line).")
    var output = Format.text

    var isJSON: Bool { output == .json }

    /// Prints the document, or the text when nobody asked for JSON.
    func print(_ json: @autoclosure () -> JSON, text: @autoclosure () -> String) {
        if isJSON {
            Terminal.line(json().text)
        } else {
            let text = text()
            if !text.isEmpty { Terminal.line(text) }
        }
    }
}
