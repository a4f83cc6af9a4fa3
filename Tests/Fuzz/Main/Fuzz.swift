import FuzzTargets
import Glibc

/// The target that HABLK_FUZZ_TARGET names; `Tools/fuzz` sets it.
private let target: FuzzTarget = {
    let name = getenv("HABLK_FUZZ_TARGET").map { String(cString: $0) } ?? ""
    guard let target = FuzzTarget(rawValue: name) else {
        let names = FuzzTarget.allCases.map(\.rawValue).joined(separator: " ")
        print("HABLK_FUZZ_TARGET is none of: \(names)")
        exit(64)
    }
    return target
}()

/// What libFuzzer calls for each input.
@_cdecl("LLVMFuzzerTestOneInput")
package func fuzz(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    do {
        try target.run(UnsafeRawBufferPointer(start: bytes, count: count))
    } catch {
        // Optimised code traps without its words.
        let words = Array("a property does not hold: \(error)\n".utf8)
        _ = write(STDERR_FILENO, words, words.count)
        abort()
    }
    return 0
}
