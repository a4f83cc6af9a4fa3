import CLinuxURing
import Glibc

/// An IPv4 or IPv6 address with its port.
package struct SocketAddress: Equatable, Hashable, Sendable, CustomStringConvertible {
    package enum Family: Sendable { case ipv4, ipv6 }

    package let family: Family
    package var port: UInt16
    // The sixteen bytes in the order of the wire; IPv4 has its four in the lowest of `low`.
    private let high: UInt64
    private let low: UInt64
    /// The interface of a link-local IPv6 address; 0 for all others.
    private let scope: UInt32

    /// Reads `1.2.3.4:7789` or `[::1]:7789` (also `[fe80::1%eth0]:7789`); names are for `HostAndPort`.
    package init(_ text: String) throws(AddressError) {
        let parts = try HostAndPort(text)
        guard let address = SocketAddress(host: parts.host, port: parts.port) else {
            throw AddressError(text, "\(parts.host) is not an IPv4 address, nor an IPv6 address in brackets")
        }
        self = address
    }

    /// A numeric host without brackets; nil for anything else.
    package init?(host: String, port: UInt16) {
        var four = in_addr()
        if inet_pton(AF_INET, host, &four) == 1 {
            self.init(family: .ipv4, port: port, high: 0, low: UInt64(UInt32(bigEndian: four.s_addr)), scope: 0)
            return
        }
        let parts = host.split(separator: "%", maxSplits: 1, omittingEmptySubsequences: false)
        var scope: UInt32 = 0
        if parts.count == 2 {
            scope = UInt32(parts[1]) ?? if_nametoindex(String(parts[1]))
            guard scope != 0 else { return nil }
        }
        var six = in6_addr()
        guard inet_pton(AF_INET6, String(parts[0]), &six) == 1 else { return nil }
        let (high, low) = Self.words(of: six)
        self.init(family: .ipv6, port: port, high: high, low: low, scope: scope)
    }

    private init(family: Family, port: UInt16, high: UInt64, low: UInt64, scope: UInt32) {
        self.family = family
        self.port = port
        self.high = high
        self.low = low
        self.scope = scope
    }

    /// nil for other families (Unix sockets).
    init?(_ storage: sockaddr_storage) {
        let address: SocketAddress? = withUnsafeBytes(of: storage) { bytes in
            switch Int32(storage.ss_family) {
            case AF_INET:
                let four = bytes.load(as: sockaddr_in.self)
                let low = UInt64(UInt32(bigEndian: four.sin_addr.s_addr))
                return SocketAddress(
                    family: .ipv4, port: UInt16(bigEndian: four.sin_port), high: 0, low: low, scope: 0)
            case AF_INET6:
                let six = bytes.load(as: sockaddr_in6.self)
                let (high, low) = Self.words(of: six.sin6_addr)
                return SocketAddress(
                    family: .ipv6, port: UInt16(bigEndian: six.sin6_port), high: high, low: low,
                    scope: six.sin6_scope_id)
            default: return nil
            }
        }
        guard let address else { return nil }
        self = address
    }

    var systemFamily: Int32 { family == .ipv4 ? AF_INET : AF_INET6 }

    /// Fills `storage` as the system calls want it; the length that they want too.
    func write(into storage: inout sockaddr_storage) -> socklen_t {
        storage = sockaddr_storage()
        return withUnsafeMutableBytes(of: &storage) { bytes in
            if family == .ipv4 {
                var four = sockaddr_in()
                four.sin_family = sa_family_t(AF_INET)
                four.sin_port = port.bigEndian
                four.sin_addr.s_addr = UInt32(truncatingIfNeeded: low).bigEndian
                bytes.storeBytes(of: four, as: sockaddr_in.self)
                return socklen_t(MemoryLayout<sockaddr_in>.size)
            }
            var six = sockaddr_in6()
            six.sin6_family = sa_family_t(AF_INET6)
            six.sin6_port = port.bigEndian
            six.sin6_addr = Self.address(high, low)
            six.sin6_scope_id = scope
            bytes.storeBytes(of: six, as: sockaddr_in6.self)
            return socklen_t(MemoryLayout<sockaddr_in6>.size)
        }
    }

    private static func words(of address: in6_addr) -> (UInt64, UInt64) {
        withUnsafeBytes(of: address) {
            (
                UInt64(bigEndian: $0.load(as: UInt64.self)),
                UInt64(bigEndian: $0.load(fromByteOffset: 8, as: UInt64.self))
            )
        }
    }

    private static func address(_ high: UInt64, _ low: UInt64) -> in6_addr {
        var address = in6_addr()
        withUnsafeMutableBytes(of: &address) {
            $0.storeBytes(of: high.bigEndian, as: UInt64.self)
            $0.storeBytes(of: low.bigEndian, toByteOffset: 8, as: UInt64.self)
        }
        return address
    }

    /// The address without its port, without brackets.
    package var host: String {
        var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
        if family == .ipv4 {
            var four = in_addr(s_addr: UInt32(truncatingIfNeeded: low).bigEndian)
            inet_ntop(AF_INET, &four, &text, socklen_t(text.count))
        } else {
            var six = Self.address(high, low)
            inet_ntop(AF_INET6, &six, &text, socklen_t(text.count))
        }
        let host = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return scope == 0 ? host : "\(host)%\(scope)"
    }

    /// As it is parsed.
    package var description: String { family == .ipv4 ? "\(host):\(port)" : "[\(host)]:\(port)" }
}

/// `NAME:PORT`, `1.2.3.4:PORT` or `[IPV6]:PORT`, split but not looked up.
package struct HostAndPort: Equatable, Hashable, Sendable, CustomStringConvertible {
    /// Without brackets.
    package let host: String
    package let port: UInt16

    package init(_ text: String) throws(AddressError) {
        guard let colon = text.lastIndex(of: ":") else { throw AddressError(text, "the port is missing (HOST:PORT)") }
        var host = text[..<colon]
        let digits = text[text.index(after: colon)...]
        // UInt16 would take a sign.
        guard !digits.isEmpty, digits.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }), let port = UInt16(digits) else {
            throw AddressError(text, "\(digits.isEmpty ? "an empty port" : String(digits)) is not a port (0…65535)")
        }
        if host.hasPrefix("[") && host.hasSuffix("]") {
            host = host.dropFirst().dropLast()
            guard host.contains(":") else { throw AddressError(text, "brackets are for IPv6 addresses") }
        } else if host.contains(":") {
            throw AddressError(text, "an IPv6 address needs brackets: [ADDRESS]:PORT")
        }
        guard !host.isEmpty, !host.utf8.contains(where: { $0 <= 0x20 || $0 == 0x5B || $0 == 0x5D || $0 >= 0x7F }) else {
            throw AddressError(text, "the host is empty or has characters that no host has")
        }
        self.host = String(host)
        self.port = port
    }

    /// The address when the host is numeric; nil when it must be looked up.
    package var literal: SocketAddress? { SocketAddress(host: host, port: port) }

    package var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

/// An address that cannot be read: which and why.
package struct AddressError: Error, Equatable, Sendable, CustomStringConvertible {
    package let text: String
    package let reason: String

    init(_ text: String, _ reason: String) {
        self.text = text
        self.reason = reason
    }

    package var description: String { "\(text.isEmpty ? "an empty address" : text): \(reason)" }
}
