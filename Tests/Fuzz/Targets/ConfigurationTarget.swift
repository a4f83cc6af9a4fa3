import Daemon
import Formats
import Model

/// Input: how the text is stretched, the text.
///
/// Holds: what is read is within all limits and means what it says; what is refused says where and what to do.
func fuzzConfiguration(_ input: inout InputBytes) throws(BrokenProperty) {
    let shape = input.u8()
    let expected = shape & 1 == 0 ? nil : "r0"
    var bytes = input.rest()
    // A short input that is a long text: one of its first bytes, or two, over and over.
    if shape & 2 != 0, bytes.count >= 2 {
        let unit = Array(bytes[..<(shape & 4 == 0 ? 1 : 2)])
        bytes.insert(contentsOf: (0..<(32 << 10)).flatMap { _ in unit }, at: 0)
    }
    guard let text = String(validating: bytes, as: UTF8.self) else { return }
    let reader = ConfigurationReader(file: "/etc/hablk/r0.yaml", expectedVolume: expected)
    switch Result(catching: { () throws(CommandFailure) in try reader.read(text) }) {
    case .success(let configuration): try requireUsable(configuration, expected)
    case .failure(let failure):
        let refusal = failure.refusal
        try require(failure.kind == .configuration, "it fails as \(failure.kind)")
        try require(refusal.message.hasPrefix("/etc/hablk/r0.yaml"), "no place: \(refusal.message)")
        try require(!refusal.reason.isEmpty && !refusal.remedy.isEmpty, "no remedy: \(refusal.message)")
    }
}

private func requireUsable(_ configuration: Configuration, _ expected: String?) throws(BrokenProperty) {
    try require(Configuration.isName(configuration.volume), "a volume's name that is none")
    try require(expected == nil || configuration.volume == expected, "another volume's file")
    let sizes = Geometry.minimumVolumeSize...Geometry.maximumVolumeSize
    if let size = configuration.size {
        try require(sizes.contains(size) && size % Geometry.blockSize == 0, "a volume of \(size) bytes")
    }
    try require((8...32_768).contains(configuration.activityLogExtents), "\(configuration.activityLogExtents) extents")
    try require(configuration.resyncRate != 0, "a resync that never ends")
    let timing = configuration.timing
    try require(timing.cutOff > 0 && timing.pingInterval > 0 && timing.pingTimeout > 0, "a time of nothing")
    try require(timing.reconnectMinimum <= timing.reconnectMaximum, "the least pause is above the longest")
    let nodes = configuration.nodes
    try require(nodes.count == 2 && nodes[0].id < nodes[1].id && nodes[0].name != nodes[1].name, "nodes that are one")
    try require(nodes[0].address != nodes[1].address, "two nodes with one address")
    for node in nodes {
        try require(Configuration.isName(node.name), "a node's name that is none")
        for path in [node.disk, node.metadata].compactMap({ $0 }) {
            try require(path.hasPrefix("/") && !path.utf8.contains(0), "no absolute path: \(path)")
        }
        try require(node.metadata != node.disk, "metadata on the data disk")
        for address in [node.address, node.listen, node.nbdListen].compactMap({ $0 }) {
            try require(NetworkAddress(address.description) == address, "\(address) is read back otherwise")
        }
    }
    // Its words travel in a hello and reach the core.
    let hello = configuration.hello(
        from: nodes[0].id, to: nodes[1].id, run: .none, session: .none, discardMyData: false,
        nonce: [UInt8](repeating: 0, count: Hello.nonceLength))
    try require(HelloFrame.encode(.hello(hello)).count <= 4096, "a hello that is too long")
    _ = configuration.replicaConfiguration(node: nodes[0].id)
}
