import Model

/// A real file system with real files for the demo, by programs that others wrote.
struct DemoFiles {
    private let folder: String
    /// What was put in.
    private(set) var count = 0

    private var source: String { "\(folder)/files" }
    private var image: String { "\(folder)/ext4" }
    private var copy: String { "\(folder)/copy" }

    static let programs = ["mke2fs", "e2fsck", "debugfs", "nbdcopy", "tar", "find", "diff", "cmp"]

    init(in folder: String) { self.folder = folder }

    /// - Throws: `.failed` naming what must be installed.
    static func checkPrograms() throws(CommandFailure) {
        for program in programs {
            let (code, _) = try ChildProcess.run("sh", ["-c", "command -v \(program)"])
            guard code != 0 else { continue }
            throw .failed(
                "no-program", "the demo needs `\(program)`", remedy: "apt-get install e2fsprogs libnbd-bin diffutils")
        }
    }

    private func run(_ program: String, _ arguments: [String], allowed: Set<Int32> = [0]) throws(CommandFailure) {
        let (code, text) = try ChildProcess.run(program, arguments)
        guard !allowed.contains(code) else { return }
        throw .failed(
            "demo", "\(program) \(arguments.joined(separator: " ")): exit code \(code): \(text.suffix(400))",
            remedy: "look at its message")
    }

    /// Gathers files of this machine and builds an ext4 file system of them.
    mutating func build() throws(CommandFailure) {
        let gather = """
            mkdir "$1" && cd / && find usr/include usr/share/doc usr/share/perl usr/share/perl5 etc usr/lib/os-release \
            -xdev -type f -readable -size -512k 2>/dev/null | head -n 500 | tar -cf - -T - | tar -xf - -C "$1" && \
            chmod -R u+rwX "$1" && find "$1" -type f | wc -l
            """
        let (code, text) = try ChildProcess.run("sh", ["-c", gather, "sh", source])
        guard code == 0, let count = Int(text.filter(\.isNumber)), count > 0 else {
            throw .failed("demo", "no files could be gathered: \(text.suffix(400))", remedy: "run it as root")
        }
        self.count = count
        let blocks = DemoCluster.fileSystemSize / 4096
        try run("mke2fs", ["-q", "-F", "-t", "ext4", "-b", "4096", "-d", source, image, "\(blocks)"])
    }

    func copyIn(_ node: DemoNode) throws(CommandFailure) {
        try run("nbdcopy", ["--flush", image, Self.address(node)])
    }

    /// Copies the volume out of `node` and looks whether the file system is clean and its files are the same.
    func verify(_ node: DemoNode) throws(CommandFailure) -> Bool {
        try run("rm", ["-rf", copy, "\(folder)/out"])
        try run("nbdcopy", [Self.address(node), copy])
        guard try ChildProcess.run("e2fsck", ["-fn", copy]).code == 0 else { return false }
        try run("mkdir", ["\(folder)/out"])
        try run("debugfs", ["-R", "rdump / \(folder)/out", copy])
        let (code, _) = try ChildProcess.run(
            "diff", ["-r", "--no-dereference", "-x", "lost+found", source, "\(folder)/out"])
        try run("rm", ["-rf", copy, "\(folder)/out"])
        return code == 0
    }

    /// An NBD URI of the node's socket.
    static func address(_ node: DemoNode) -> String {
        let path = node.socket.utf8.map { byte in
            let scalar = Unicode.Scalar(byte)
            if byte < 0x80,
                Character(scalar).isLetter || Character(scalar).isNumber || "/._-".contains(Character(scalar))
            {
                return String(Character(scalar))
            }
            let digits = String(byte, radix: 16)
            return "%" + (digits.count == 1 ? "0" : "") + digits
        }.joined()
        return "nbd+unix:///\(DemoCluster.volume)?socket=\(path)"
    }
}
