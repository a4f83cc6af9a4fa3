/// What a fence command said of a peer, by its exit code: those of DRBD's fence-peer handlers (drbd.conf(5), "fence-peer"),
/// so that existing scripts serve.
package enum FencingOutcome: Equatable, Sendable {
    /// 3: its copy is inconsistent; nobody can promote it.
    case peerInconsistent
    /// 4: its copy is outdated now, or it was barred from promotion.
    case peerOutdated
    /// 5: it is unreachable and taken for dead: enough where the copy here is up to date.
    case peerUnreachable
    /// 6: it is primary, and goes on.
    case peerIsPrimary
    /// 7: it was ended.
    case peerFenced
    /// Anything else: the peer may be there still. An exit code, 256 and more: it could not be started, was killed or took
    /// too long.
    case failed(code: UInt16)

    package init(exitCode: UInt16) {
        self =
            switch exitCode {
            case 3: .peerInconsistent
            case 4: .peerOutdated
            case 5: .peerUnreachable
            case 6: .peerIsPrimary
            case 7: .peerFenced
            default: .failed(code: exitCode)
            }
    }

    package var exitCode: UInt16 {
        switch self {
        case .peerInconsistent: 3
        case .peerOutdated: 4
        case .peerUnreachable: 5
        case .peerIsPrimary: 6
        case .peerFenced: 7
        case .failed(let code): code
        }
    }

    package static let notStarted = FencingOutcome.failed(code: 256)
    package static let notInTime = FencingOutcome.failed(code: 257)
    package static let killed = FencingOutcome.failed(code: 258)

    package var words: String {
        switch self {
        case .peerInconsistent: "its copy is inconsistent"
        case .peerOutdated: "its copy is outdated or barred"
        case .peerUnreachable: "it is unreachable"
        case .peerIsPrimary: "it is primary"
        case .peerFenced: "it was ended"
        case .notStarted: "the command could not be started"
        case .notInTime: "the command took too long"
        case .killed: "the command was killed"
        case .failed(let code): "the command failed with exit code \(code)"
        }
    }
}
