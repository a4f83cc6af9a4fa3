package import Model

/// Writes this node's metadata: `hablk create`.
package enum VolumeCreation {
    /// - Returns: what was done, in one line.
    package static func create(
        configuration: Configuration, node: Configuration.Node, assumeIdentical: Bool, force: Bool
    ) throws(CommandFailure) -> String {
        throw .failed("not-in-this-build", "this build writes no metadata yet", remedy: "wait for the daemon to land")
    }
}
