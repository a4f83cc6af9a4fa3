/// What is fuzzed: each target turns any bytes into calls of the production code and says which property they break.
/// libFuzzer calls them (`Tools/fuzz`), and so does the test that replays the corpora.
package enum FuzzTarget: String, CaseIterable, Sendable {
    case nbdHandshake = "nbd-handshake"
    case nbdTransmission = "nbd-transmission"
    case peerFrame = "peer-frame"
    case hello
    case metadata
    case control
    case configuration
    case replica

    /// Never traps, whatever the input is.
    /// - Throws: when a property does not hold for it.
    package func run(_ input: UnsafeRawBufferPointer) throws(BrokenProperty) {
        var bytes = InputBytes(input)
        switch self {
        case .nbdHandshake: try fuzzNBDHandshake(&bytes)
        case .nbdTransmission: try fuzzNBDTransmission(&bytes)
        case .peerFrame: try fuzzPeerFrames(&bytes)
        case .hello: try fuzzHello(&bytes)
        case .metadata: try fuzzMetadata(&bytes)
        case .control: try fuzzControl(&bytes)
        case .configuration: try fuzzConfiguration(&bytes)
        case .replica: try fuzzReplica(&bytes)
        }
    }
}

/// A property that an input breaks.
package struct BrokenProperty: Error, CustomStringConvertible {
    package let description: String
    init(_ words: String) { description = words }
}

func require(_ holds: Bool, _ words: @autoclosure () -> String) throws(BrokenProperty) {
    guard holds else { throw BrokenProperty(words()) }
}
