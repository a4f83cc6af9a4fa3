import CLinuxURing
import Glibc

/// What waits to be sent on one stream, in order: small headers copied into a byte ring, payloads by pointer.
///
/// Bounded three ways (bytes, header bytes, segments) and allocates only in `init`. Knows no socket: `gather` describes
/// the front for one sendmsg, `advance` takes off what was sent, and payloads that were sent whole come back as tags.
struct SendQueue: ~Copyable {
    private struct Segment {
        var base: UnsafeRawPointer
        var count: Int
        /// A payload's release tag; negative for none.
        var tag: Int32
        var isHeader: Bool
    }

    /// A quarter of what one sendmsg may have; more would not fit a socket's buffer anyway.
    private static let vectorLimit = 256

    private let capacity: Int
    private let segmentLimit: Int
    private let headerLimit: Int
    private let segments: UnsafeMutablePointer<Segment>
    private let released: UnsafeMutablePointer<Int32>
    private let headers: UnsafeMutableRawPointer
    private let vectors: UnsafeMutablePointer<iovec>
    private let message: UnsafeMutablePointer<msghdr>
    private var firstSegment = 0
    private var segmentCount = 0
    private var firstReleased = 0
    private(set) var releasedCount = 0
    private var headerEnd = 0
    private var headerBytes = 0
    private(set) var queuedBytes = 0

    init(capacity: Int, headerBytes: Int, segments: Int) {
        precondition(capacity > 0 && headerBytes > 0 && segments >= 4, "a send queue needs room for a message")
        self.capacity = capacity
        headerLimit = headerBytes
        segmentLimit = segments
        self.segments = .allocate(capacity: segments)
        released = .allocate(capacity: segments)
        headers = .allocate(byteCount: headerBytes, alignment: 8)
        vectors = .allocate(capacity: Self.vectorLimit)
        vectors.initialize(repeating: iovec(), count: Self.vectorLimit)
        message = .allocate(capacity: 1)
        message.initialize(to: msghdr())
        message.pointee.msg_iov = vectors
    }

    deinit {
        segments.deallocate()
        released.deallocate()
        headers.deallocate()
        vectors.deallocate()
        message.deallocate()
    }

    var isEmpty: Bool { segmentCount == 0 }

    func hasRoom(headerBytes: Int, payloads: Int, payloadBytes: Int) -> Bool {
        // A header may wrap in its ring and so become two segments. Released tags count: each payload becomes one.
        queuedBytes + headerBytes + payloadBytes <= capacity && self.headerBytes + headerBytes <= headerLimit
            && segmentCount + releasedCount + payloads + 2 <= segmentLimit
    }

    mutating func append(header bytes: UnsafeRawBufferPointer) {
        var copied = 0
        while copied < bytes.count {
            let count = min(bytes.count - copied, headerLimit - headerEnd)
            let place = headers + headerEnd
            place.copyMemory(from: bytes.baseAddress! + copied, byteCount: count)
            if !extendLast(upTo: place, by: count) {
                push(Segment(base: UnsafeRawPointer(place), count: count, tag: -1, isHeader: true))
            }
            headerEnd = headerEnd + count == headerLimit ? 0 : headerEnd + count
            copied += count
        }
        headerBytes += bytes.count
        queuedBytes += bytes.count
    }

    mutating func append(payload: UnsafeRawPointer, count: Int, tag: Int32) {
        push(Segment(base: payload, count: count, tag: tag, isHeader: false))
        queuedBytes += count
    }

    /// Headers of several messages in a row are one segment. The last one may be in flight: then its old length was
    /// what the kernel saw, and `advance` leaves the rest.
    private mutating func extendLast(upTo place: UnsafeMutableRawPointer, by count: Int) -> Bool {
        guard segmentCount > 0 else { return false }
        let last = (firstSegment + segmentCount - 1) % segmentLimit
        guard segments[last].isHeader, segments[last].base + segments[last].count == UnsafeRawPointer(place) else {
            return false
        }
        segments[last].count += count
        return true
    }

    private mutating func push(_ segment: Segment) {
        (segments + (firstSegment + segmentCount) % segmentLimit).initialize(to: segment)
        segmentCount += 1
    }

    /// The front of the queue as one message of so many bytes; it and what it points to stay as they are until the next
    /// `gather`.
    func gather() -> (message: UnsafePointer<msghdr>, bytes: Int) {
        let count = min(segmentCount, Self.vectorLimit)
        var bytes = 0
        for number in 0..<count {
            let segment = segments + (firstSegment + number) % segmentLimit
            vectors[number].iov_base = UnsafeMutableRawPointer(mutating: segment.pointee.base)
            vectors[number].iov_len = segment.pointee.count
            bytes += segment.pointee.count
        }
        message.pointee.msg_iovlen = count
        return (UnsafePointer(message), bytes)
    }

    /// Takes `bytes` off the front.
    mutating func advance(by bytes: Int) {
        precondition(bytes <= queuedBytes, "more was sent than was queued")
        queuedBytes -= bytes
        var left = bytes
        while left > 0 {
            let segment = segments + firstSegment
            let count = min(left, segment.pointee.count)
            segment.pointee.base += count
            segment.pointee.count -= count
            if segment.pointee.isHeader { headerBytes -= count }
            left -= count
            if segment.pointee.count == 0 { popFirst() }
        }
    }

    /// Forgets all that waits; its payloads count as released.
    mutating func abandon() {
        while segmentCount > 0 { popFirst() }
        headerBytes = 0
        queuedBytes = 0
    }

    private mutating func popFirst() {
        let tag = segments[firstSegment].tag
        if tag >= 0 {
            released[(firstReleased + releasedCount) % segmentLimit] = tag
            releasedCount += 1
        }
        firstSegment = (firstSegment + 1) % segmentLimit
        segmentCount -= 1
    }

    mutating func nextReleased() -> Int32? {
        guard releasedCount > 0 else { return nil }
        let tag = released[firstReleased]
        firstReleased = (firstReleased + 1) % segmentLimit
        releasedCount -= 1
        return tag
    }
}
