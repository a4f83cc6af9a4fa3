import Foundation
import Testing

extension EndToEnd {
    @Suite struct UnitFileTests {
        /// What `systemd-analyze verify` finds wrong, it says; else it says nothing.
        @Test(arguments: ["hablk@.service", "hablk-witness.service"])
        func `systemd finds nothing wrong with a unit`(name: String) throws {
            let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
                .deletingLastPathComponent().path
            var pattern = Array("/tmp/hablk-XXXXXX".utf8CString)
            guard mkdtemp(&pattern) != nil else { throw Trouble("no temporary folder") }
            let folder = pattern.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
            defer { try? FileManager.default.removeItem(atPath: folder) }
            let text = try String(contentsOfFile: "\(root)/Tools/systemd/\(name)", encoding: .utf8)
            // The program is looked for where it would be installed.
            let unit = "\(folder)/" + name.replacingOccurrences(of: "@.", with: "@r0.")
            try text.replacingOccurrences(of: "ExecStart=hablk", with: "ExecStart=\(Program.hablk())").write(
                toFile: unit, atomically: true, encoding: .utf8)
            let result = try Program.run("systemd-analyze", "verify", unit)
            #expect(result.code == 0 && result.errors.isEmpty, "\(result)")
        }
    }
}
