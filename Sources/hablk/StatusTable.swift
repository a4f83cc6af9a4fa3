import Daemon
import Model

/// `hablk status` for people: a row for this node and one for each peer, columns aligned, words first and colour after.
struct StatusTable {
    private struct Cell {
        var text: String
        var shade = Shade.plain
    }

    private static let header = ["VOLUME", "NODE", "ROLE", "DISK", "CONNECTION", "REPLICATION", "OUT OF SYNC"]
    private var rows: [[Cell]] = [header.map { Cell(text: $0) }]
    private var remarks: [String] = []

    mutating func add(_ status: VolumeStatus) {
        rows.append([
            Cell(text: status.volume), Cell(text: status.node), Self.role(status.role), Self.disk(status.disk),
            Cell(text: ""), Cell(text: ""), Cell(text: ""),
        ])
        for peer in status.peers { rows.append(Self.row(peer)) }
        remark(on: status)
    }

    mutating func add(stopped volume: String) {
        rows.append([Cell(text: volume), Cell(text: "-"), Cell(text: "not running", shade: .bad)])
    }

    mutating func add(_ failure: CommandFailure, of volume: String) {
        rows.append([Cell(text: volume), Cell(text: "-"), Cell(text: "?", shade: .bad)])
        remarks.append("\(volume): \(failure.refusal.message); remedy: \(failure.refusal.remedy)")
    }

    /// The rows, then whatever does not fit into a column, a line each.
    func text(coloured: Bool) -> String {
        var widths = [Int](repeating: 0, count: Self.header.count)
        for row in rows {
            for (column, cell) in row.enumerated() { widths[column] = max(widths[column], cell.text.count) }
        }
        let lines = rows.map { row in
            let last = row.lastIndex { !$0.text.isEmpty } ?? 0
            return row[...last].enumerated().map { column, cell in
                let space = column == last ? 0 : widths[column] - cell.text.count + 2
                return cell.shade.paint(cell.text, coloured) + String(repeating: " ", count: space)
            }.joined()
        }
        return (lines + remarks).joined(separator: "\n")
    }

    private mutating func remark(on status: VolumeStatus) {
        var own: [String] = []
        if status.role == .primary { own.append("\(status.clients) client\(status.clients == 1 ? "" : "s")") }
        if status.size > 0 { own.append(ConfigurationScalar.describe(bytes: status.size)) }
        if !status.inStep.isEmpty {
            let doubt = status.votes?.isDecided == false ? " (not known to be decided)" : ""
            own.append("in step: \(status.inStep.joined(separator: ", "))\(doubt)")
        }
        if status.suspect { own.append("suspect: may have lost its cache") }
        if !status.suspended.isEmpty {
            own.append("I/O waits: \(status.suspended.map(\.rawValue).joined(separator: ", "))")
        }
        if let device = status.device { own.append("device \(device)") }
        if !status.nbd.isEmpty { own.append("nbd \(status.nbd)") }
        if own.isEmpty { own.append("no record yet") }
        remarks.append("\(status.volume): \(own.joined(separator: ", "))")
        if let votes = status.votes { remarks.append("\(status.volume): \(Self.words(votes, term: status.term))") }
        if status.reason != nil || status.message != nil {
            remarks.append("\(status.volume): \(Self.words(status.reason, status.message))")
        }
        for peer in status.peers {
            if let lag = Self.lag(of: peer) { remarks.append("\(status.volume): \(lag)") }
            if let traffic = Self.traffic(of: peer) { remarks.append("\(status.volume): \(traffic)") }
            if let resync = peer.resync {
                remarks.append("\(status.volume): \(ResyncProgress.line(resync, peer))")
            }
            if let verify = peer.verify {
                remarks.append("\(status.volume): \(VerifyWords.progress(verify, peer.node))")
            }
            if let last = peer.lastVerify {
                remarks.append("\(status.volume): verified with \(peer.node) \(VerifyWords.status(last))")
            }
            if peer.reason != nil || peer.message != nil {
                remarks.append("\(status.volume), \(peer.node): \(Self.words(peer.reason, peer.message))")
            }
        }
    }

    /// `quorum: 2 of 3 votes (alpha, bravo; not charlie), term 4, lease 1.9 s`
    private static func words(_ votes: VolumeStatus.Votes, term: UInt64) -> String {
        let away = votes.voters.filter { !votes.present.contains($0) }
        var words = votes.present.count * 2 > votes.voters.count ? "quorum" : "no quorum"
        words += ": \(votes.present.count) of \(votes.voters.count) votes (\(votes.present.joined(separator: ", "))"
        if !away.isEmpty { words += "\(votes.present.isEmpty ? "" : "; ")not \(away.joined(separator: ", "))" }
        words += "), term \(term)"
        if let lease = votes.leaseSeconds {
            let tenths = Int(lease * 10)
            words += ", lease \(tenths / 10).\(tenths % 10) s"
        }
        return words
    }

    /// `bravo (async) lags: 3.1 MiB, 0.8 s`
    private static func lag(of peer: VolumeStatus.Peer) -> String? {
        guard peer.lagBytes > 0 || peer.lagSeconds > 0 else { return nil }
        let tenths = Int(peer.lagSeconds * 10)
        return "\(peer.node) (\(peer.mode.rawValue)) lags: \(ConfigurationScalar.describe(bytes: peer.lagBytes)), "
            + "\(tenths / 10).\(tenths % 10) s"
    }

    /// `sent to bravo with zstd: 1.5 GiB as 380 MiB`
    private static func traffic(of peer: VolumeStatus.Peer) -> String? {
        guard let compression = peer.compression, compression != .off else { return nil }
        return "sent to \(peer.node) with \(compression.rawValue): "
            + "\(ConfigurationScalar.describe(bytes: peer.sentBytes)) as "
            + ConfigurationScalar.describe(bytes: peer.wireBytes)
    }

    private static func words(_ reason: String?, _ message: String?) -> String {
        [reason, message].compactMap(\.self).joined(separator: ": ")
    }

    private static func row(_ peer: VolumeStatus.Peer) -> [Cell] {
        let connection: Shade =
            switch peer.connection {
            case .connected: .good
            case .connecting: .passing
            case .standalone: .bad
            }
        let replication: Shade =
            switch peer.replication {
            case .established?: .good
            case nil: .plain
            default: .passing
            }
        let marked = peer.outOfSyncBytes
        return [
            Cell(text: ""), Cell(text: peer.node), role(peer.role), disk(peer.disk),
            Cell(text: peer.connection.rawValue, shade: connection),
            Cell(text: peer.replication?.rawValue ?? "-", shade: replication),
            Cell(text: ConfigurationScalar.describe(bytes: marked), shade: marked == 0 ? .plain : .passing),
        ]
    }

    private static func role(_ role: Role) -> Cell {
        Cell(text: role.rawValue, shade: role == .primary ? .good : role == .unknown ? .passing : .plain)
    }

    private static func disk(_ disk: DiskState) -> Cell {
        switch disk {
        case .upToDate: Cell(text: disk.rawValue, shade: .good)
        case .consistent, .attaching, .unknown: Cell(text: disk.rawValue, shade: .passing)
        case .diskless, .failed, .inconsistent, .outdated: Cell(text: disk.rawValue, shade: .bad)
        }
    }
}
