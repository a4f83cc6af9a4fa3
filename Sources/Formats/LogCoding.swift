package import Model

extension LogTransaction {
    /// Consecutive transactions whose rotating parts together are a table of `slots`.
    package static func window(for slots: Int) -> Int { (slots + contextLimit - 1) / contextLimit }
}

/// An activity-log transaction in its block.
///
///        0  common         magic "HABLKLOG", version
///       10  updates u16, context entries u16, zero u16
///       16  instance u64, number u64, sequence u64
///       40  first slot of the context u32, zero u32
///       48  8 × seen mark (start number u64, sequence u64)
///      176  64 × update (slot u32, extent u32); unused ones are zero
///      688  640 × extent u32 of the context; unused ones are zero
///     3248  zero
///
/// A free slot's extent is 0xffffffff.
package enum LogCoding {
    package static let version: UInt16 = 1
    package static let blockLength = 4096
    /// Bytes of one write of the log: the block, and the same once more as its echo.
    package static let writeLength = 2 * blockLength
    static let magic = MetadataBlock.magic("HABLKLOG")
    static let noExtent = UInt32.max
    private static let contextOffset = 688

    /// Writes the transaction into exactly 4 KiB.
    package static func encode(_ transaction: LogTransaction, into output: UnsafeMutableRawBufferPointer) {
        precondition(transaction.updates.count <= LogTransaction.updateLimit, "more updates than a transaction holds")
        precondition(transaction.context.count <= LogTransaction.contextLimit, "more context than a transaction holds")
        precondition(transaction.number > 0, "transactions are counted from 1")
        var writer = MetadataBlock.begin(output, magic: magic, version: version)
        writer.u16(UInt16(transaction.updates.count))
        writer.u16(UInt16(transaction.context.count))
        writer.zeroes(2)
        writer.identity(transaction.instance)
        writer.u64(transaction.number)
        writer.u64(transaction.sequence)
        writer.u32(transaction.contextStart)
        writer.zeroes(4)
        for node in NodeID.all { writer.mark(transaction.seen[node]) }
        for update in transaction.updates {
            writer.u32(update.slot)
            writer.u32(update.extent ?? noExtent)
        }
        writer.pad(to: contextOffset + LogTransaction.contextLimit * 4)
        for (index, extent) in transaction.context.enumerated() {
            output.storeLittleEndian(extent ?? noExtent, at: contextOffset + index * 4)
        }
        MetadataBlock.seal(&writer)
    }

    /// Writes the transaction and its echo into exactly `writeLength` bytes.
    package static func encodeWithEcho(_ transaction: LogTransaction, into output: UnsafeMutableRawBufferPointer) {
        precondition(output.count == writeLength, "a transaction is written with its echo")
        encode(transaction, into: UnsafeMutableRawBufferPointer(rebasing: output[..<blockLength]))
        UnsafeMutableRawBufferPointer(rebasing: output[blockLength...])
            .copyMemory(from: UnsafeRawBufferPointer(rebasing: output[..<blockLength]))
    }

    /// The transaction in a block, if it is one of this copy.
    package static func decode(
        _ bytes: UnsafeRawBufferPointer, instance: InstanceID
    ) throws(BlockFault) -> LogTransaction {
        var (transaction, reader, updates, context) = try head(bytes, instance: instance)
        do throws(FieldError) {
            for node in NodeID.all { transaction.seen[node] = try reader.mark() }
            transaction.updates.reserveCapacity(updates)
            for _ in 0..<updates {
                transaction.updates.append(LogTransaction.Update(slot: try reader.u32(), extent: try reader.extent()))
            }
            try reader.skip(contextOffset - reader.offset)
            transaction.context.reserveCapacity(context)
            for _ in 0..<context { transaction.context.append(try reader.extent()) }
        } catch {
            throw BlockFault(error)
        }
        return transaction
    }

    /// Number and sequence alone: what every block of the ring is asked for.
    static func stamp(
        _ bytes: UnsafeRawBufferPointer, instance: InstanceID
    ) throws(BlockFault) -> (number: UInt64, sequence: UInt64) {
        let transaction = try head(bytes, instance: instance).transaction
        return (transaction.number, transaction.sequence)
    }

    private static func head(
        _ bytes: UnsafeRawBufferPointer, instance: InstanceID
    ) throws(BlockFault) -> (transaction: LogTransaction, reader: FieldReader, updates: Int, context: Int) {
        var reader = try MetadataBlock.open(bytes, magic: magic, version: version)
        let head: (transaction: LogTransaction, reader: FieldReader, updates: Int, context: Int)
        do throws(FieldError) {
            let updates = Int(try reader.u16())
            let context = Int(try reader.u16())
            guard updates <= LogTransaction.updateLimit, context <= LogTransaction.contextLimit else {
                throw .value(.slots)
            }
            try reader.skip(2)
            let writer = try reader.identity(InstanceID.self)
            let number = try reader.counter()
            let sequence = try reader.counter()
            guard number > 0 else { throw .value(.counter) }
            let start = try reader.u32()
            try reader.skip(4)
            let transaction = LogTransaction(
                instance: writer, sequence: sequence, number: number, updates: [], contextStart: start, context: [],
                seen: PerNode(repeating: .none))
            head = (transaction, reader, updates, context)
        } catch {
            throw BlockFault(error)
        }
        guard head.transaction.instance == instance else { throw .otherInstance(head.transaction.instance) }
        return head
    }
}

extension FieldReader {
    fileprivate mutating func extent() throws(FieldError) -> UInt32? {
        let extent = try u32()
        return extent == LogCoding.noExtent ? nil : extent
    }
}
