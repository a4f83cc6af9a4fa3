package import Model

/// One node of one volume, running: `hablk run`.
package enum VolumeDaemon {
    /// Runs until it is told to stop.
    /// - Returns: the exit code after it was ready.
    /// - Throws: why it did not become ready.
    package static func run(
        configuration: Configuration, node: Configuration.Node, paths: RuntimePaths
    ) throws(CommandFailure) -> Int32 {
        throw .failed("not-in-this-build", "this build runs no volume yet", remedy: "wait for the daemon to land")
    }
}
