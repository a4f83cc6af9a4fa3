#if Mutants
    import Foundation
    import ReplicationCore

    /// Which rule of the core these tests do without; `nil`: none (`Tools/mutants`).
    private let ruleLeftOut: String? = {
        guard let name = ProcessInfo.processInfo.environment["HABLK_LEAVE_OUT"] else { return nil }
        precondition(leaveOut(name), "no rule of the core is called `\(name)`")
        return name
    }()

    func leaveOutRule() { _ = ruleLeftOut }
#else
    func leaveOutRule() {}
#endif
