/// How the data of writes and resyncs is made shorter on its way to a peer (`compression`). The words are the
/// configuration's.
package enum Compression: String, Sendable, CaseIterable {
    case off
    case lz4
    case zstd

    /// What a peer must take for it.
    package var needs: PeerCapabilities {
        switch self {
        case .off: []
        case .lz4: .lz4
        case .zstd: .zstandard
        }
    }
}
