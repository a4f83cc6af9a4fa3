import Foundation

/// Where programs are: ours beside the tests, everybody else's in the path.
enum Program {
    static let searchPath =
        (ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin") + ":/usr/sbin:/sbin:/usr/local/sbin"

    /// The program that the same build made; tests and daemons are always of one build.
    static func hablk() throws -> String {
        let tests = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        let path = URL(fileURLWithPath: tests).deletingLastPathComponent().appendingPathComponent("hablk").path
        let override = ProcessInfo.processInfo.environment["HABLK_UNDER_TEST"]
        guard FileManager.default.isExecutableFile(atPath: override ?? path) else {
            throw Trouble("\(path) is missing; `Tools/build` makes it")
        }
        return override ?? path
    }

    static func path(of name: String) throws -> String {
        if name == "hablk" { return try hablk() }
        if name.contains("/") { return name }
        for folder in searchPath.split(separator: ":") {
            let path = "\(folder)/\(name)"
            if FileManager.default.isExecutableFile(atPath: path) { return path }
        }
        throw Trouble("the program \(name) is missing; `Tools/install` brings it")
    }

    /// Runs a program to its end.
    static func run(
        _ words: String..., environment: [String: String] = [:], seconds: Double = 60
    ) throws -> CommandResult {
        try run(words, environment: environment, seconds: seconds)
    }

    static func run(
        _ words: [String], environment: [String: String] = [:], seconds: Double = 60
    ) throws -> CommandResult {
        let base = NSTemporaryDirectory() + "/hablk-run-\(UUID().uuidString)"
        defer {
            unlink(base + ".out")
            unlink(base + ".err")
        }
        let child = try ChildProcess(
            words, environment: environment, outputPath: base + ".out", errorsPath: base + ".err")
        let code = try child.waitForExit(seconds: seconds)
        return CommandResult(words: words, code: code, output: child.output, errors: child.errors)
    }
}
