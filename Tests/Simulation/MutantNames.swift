import ReplicationCore

/// A mutant of the core by its name (`Mutant`), for the command line.
package struct MutantName: Sendable {
    package var name: String
    /// Why the rule that it leaves out is there.
    package var rule: String
    /// `two nodes`, `quorum`, `fencing`, `modes` or `mixed`: whose seeds show it.
    package var clusters: String
}

extension MutantName {
    #if Mutants
        package static var all: [MutantName] {
            rulesOfMutants.map { MutantName(name: $0.name, rule: $0.rule, clusters: $0.clusters) }
        }

        /// Every core of this process leaves the rule out from now on. False: there is no such rule.
        package static func leaveOut(_ name: String) -> Bool { ReplicationCore.leaveOut(name) }
    #else
        /// None: the core was built without them.
        package static var all: [MutantName] { [] }
        package static func leaveOut(_ name: String) -> Bool { false }
    #endif
}
