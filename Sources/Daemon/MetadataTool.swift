package import Formats
package import Model

/// Looks at a copy's metadata, or destroys it, without a daemon: `hablk metadata`.
package enum MetadataTool {
    /// - Returns: the fields to print, in order.
    package static func show(
        configuration: Configuration, node: Configuration.Node
    ) throws(CommandFailure) -> [JSONValue.Member] {
        throw .failed("not-in-this-build", "this build reads no metadata yet", remedy: "wait for the daemon to land")
    }

    /// - Returns: what was done, in one line.
    package static func wipe(
        configuration: Configuration, node: Configuration.Node
    ) throws(CommandFailure) -> String {
        throw .failed("not-in-this-build", "this build wipes no metadata yet", remedy: "wait for the daemon to land")
    }
}
