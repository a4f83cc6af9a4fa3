/// The words, sizes, times and addresses that the configuration and the command line share. Each gives nil for anything
/// that it does not wholly understand.
package enum ConfigurationScalar {
    /// `10GiB`, `512MiB`, `4096` (bytes). K, M, G and T alone mean KiB and so on.
    package static func size(_ text: String) -> UInt64? {
        guard let (number, unit) = split(text) else { return nil }
        let shift: UInt64
        switch unit {
        case "": shift = 0
        case "KiB", "K": shift = 10
        case "MiB", "M": shift = 20
        case "GiB", "G": shift = 30
        case "TiB", "T": shift = 40
        default: return nil
        }
        let (size, overflow) = number.multipliedReportingOverflow(by: 1 << shift)
        return overflow ? nil : size
    }

    /// `100MiB/s` or `100MiB`: bytes a second.
    package static func rate(_ text: String) -> UInt64? {
        let bytes = size(text.hasSuffix("/s") ? String(text.dropLast(2)) : text)
        return bytes == 0 ? nil : bytes
    }

    /// `6s`, `500ms`, `2min`; in nanoseconds. `bareSeconds`: a number without unit means seconds.
    package static func duration(_ text: String, bareSeconds: Bool = false) -> UInt64? {
        guard let (number, unit) = split(text) else { return nil }
        let scale: UInt64
        switch unit {
        case "us": scale = 1000
        case "ms": scale = 1_000_000
        case "s": scale = 1_000_000_000
        case "min": scale = 60_000_000_000
        case "h": scale = 3_600_000_000_000
        case "" where bareSeconds: scale = 1_000_000_000
        default: return nil
        }
        let (nanoseconds, overflow) = number.multipliedReportingOverflow(by: scale)
        return overflow ? nil : nanoseconds
    }

    /// `7d`, `12h`, `90min`, `30s`: seconds.
    package static func days(_ text: String) -> UInt64? {
        if let (number, unit) = split(text), unit == "d" {
            let (seconds, overflow) = number.multipliedReportingOverflow(by: 86_400)
            return overflow ? nil : seconds
        }
        return duration(text).flatMap { $0 % 1_000_000_000 == 0 && $0 > 0 ? $0 / 1_000_000_000 : nil }
    }

    /// `100ms..5s`, the first not above the second.
    package static func durationRange(_ text: String) -> ClosedRange<UInt64>? {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 3, parts[1].isEmpty, let low = duration(String(parts[0])),
            let high = duration(String(parts[2])), low <= high
        else { return nil }
        return low...high
    }

    /// `off`, `false` and `no` are one word.
    package static func isOff(_ text: String) -> Bool {
        ["off", "false", "no"].contains(text.lowercased())
    }

    package static func flag(_ text: String) -> Bool? {
        if isOff(text) { return false }
        return ["on", "true", "yes"].contains(text.lowercased()) ? true : nil
    }

    /// Digits and a unit; spaces between them are allowed, signs and fractions are not.
    private static func split(_ text: String) -> (UInt64, Substring)? {
        let digits = text.prefix { $0.isASCII && $0.isWholeNumber }
        guard !digits.isEmpty, let number = UInt64(digits) else { return nil }
        return (number, text[digits.endIndex...].drop { $0 == " " })
    }

    /// A size as people write it: `10 GiB`, `1.5 MiB`, `512 B`.
    package static func describe(bytes: UInt64) -> String {
        let units = ["KiB", "MiB", "GiB", "TiB", "PiB"]
        guard bytes >= 1024 else { return "\(bytes) B" }
        var tenths = bytes >= UInt64.max / 10 ? UInt64.max : bytes * 10
        var unit = -1
        while tenths >= 10240, unit < units.count - 1 {
            tenths /= 1024
            unit += 1
        }
        return tenths % 10 == 0 || tenths >= 1000
            ? "\(tenths / 10) \(units[unit])" : "\(tenths / 10).\(tenths % 10) \(units[unit])"
    }

    /// A size as the configuration takes it, exact: `10GiB`, `4096`.
    package static func exact(bytes: UInt64) -> String {
        for (unit, shift) in [("TiB", UInt64(40)), ("GiB", 30), ("MiB", 20), ("KiB", 10)]
        where bytes > 0 && bytes % (1 << shift) == 0 {
            return "\(bytes >> shift)\(unit)"
        }
        return "\(bytes)"
    }

    /// A time as people write it: `500ms`, `6s`, `1min 5s`.
    package static func describe(nanoseconds: UInt64) -> String {
        let milliseconds = nanoseconds / 1_000_000
        if milliseconds < 1000 { return "\(milliseconds)ms" }
        if milliseconds < 10_000, milliseconds % 1000 >= 100 {
            return "\(milliseconds / 1000).\(milliseconds % 1000 / 100)s"
        }
        let seconds = milliseconds / 1000
        if seconds < 60 { return "\(seconds)s" }
        if seconds < 3600 { return "\(seconds / 60)min \(seconds % 60)s" }
        return "\(seconds / 3600)h \(seconds % 3600 / 60)min"
    }
}

/// `HOST:PORT`; an IPv6 address stands in brackets. The host is looked up when it is used.
package struct NetworkAddress: Equatable, Hashable, Sendable, CustomStringConvertible {
    package var host: String
    package var port: UInt16

    /// Nil for anything else, port 0 included.
    package init?(_ text: String) {
        guard let colon = text.lastIndex(of: ":") else { return nil }
        let digits = text[text.index(after: colon)...]
        guard digits.count <= 5, digits.allSatisfy({ $0.isASCII && $0.isWholeNumber }), let port = UInt16(digits),
            port > 0
        else { return nil }
        var host = text[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") {
            host = host.dropFirst().dropLast()
            guard host.contains(":"), Self.isAddress6(host) else { return nil }
        } else {
            guard Self.isHostName(host) else { return nil }
        }
        self.host = String(host)
        self.port = port
    }

    package var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }

    /// Enough to tell a typing error; the resolver has the last word. A zone (`%eth0`) is allowed.
    private static func isAddress6(_ text: Substring) -> Bool {
        let parts = text.split(separator: "%", maxSplits: 1, omittingEmptySubsequences: false)
        guard parts[0].allSatisfy({ $0.isASCII && ($0.isHexDigit || $0 == ":" || $0 == ".") }) else { return false }
        return parts.count == 1 || (!parts[1].isEmpty && parts[1].allSatisfy { $0.isASCII && $0 != "]" && $0 != " " })
    }

    private static func isHostName(_ text: Substring) -> Bool {
        guard !text.isEmpty, text.utf8.count <= 253 else { return false }
        let labels = text.split(separator: ".", omittingEmptySubsequences: false)
        guard
            labels.allSatisfy({ label in
                !label.isEmpty && label.utf8.count <= 63 && !label.hasPrefix("-") && !label.hasSuffix("-")
                    && label.allSatisfy { $0.isASCII && ($0.isLetter || $0.isWholeNumber || $0 == "-" || $0 == "_") }
            })
        else { return false }
        // Only digits and dots: then it must be an IPv4 address.
        guard labels.allSatisfy({ $0.allSatisfy(\.isWholeNumber) }) else { return true }
        return labels.count == 4 && labels.allSatisfy { UInt8($0) != nil }
    }
}
