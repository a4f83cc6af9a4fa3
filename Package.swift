// swift-tools-version: 6.2
import PackageDescription

// The graph of README.md and nothing else. A boundary stands where the compiler must forbid something.

let strict: [SwiftSetting] = [
    .enableExperimentalFeature("Lifetimes"),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .treatAllWarnings(as: .error),
]

// The simulator's cluster is one object that one thread works on: checking each access of it at run time, which no
// debug-only test needs either, took a sixth of every sweep. The core, which has no classes, is compiled as ever.
let unguarded: [SwiftSetting] = [.unsafeFlags(["-enforce-exclusivity=unchecked"])]

// The daemon's objects too are one thread's, and its checks were a tenth of what a write cost: debug builds keep them.
let unguardedInRelease: [SwiftSetting] = [
    .unsafeFlags(["-enforce-exclusivity=unchecked"], .when(configuration: .release))
]

// liburing and Glibc disagree about fd_set unless every target sees the same feature macros.
let gnu: [CSetting] = [.define("_GNU_SOURCE")]

let argumentParser: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")

let package = Package(
    name: "hablk",
    products: [.executable(name: "hablk", targets: ["hablk"])],
    traits: [
        .trait(name: "Mutants", description: "The core's rules can be left out one at a time, for simulate --mutants.")
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.6.0"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.0.0"),
    ],
    targets: [
        .systemLibrary(
            name: "CLinuxURing", path: "Kernel/CLinuxURing", pkgConfig: "liburing", providers: [.apt(["liburing-dev"])]),
        .systemLibrary(name: "CLinuxNBD", path: "Kernel/CLinuxNBD"),
        .systemLibrary(
            name: "COpenSSL", path: "Sources/COpenSSL", pkgConfig: "libcrypto", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(
            name: "CLZ4", path: "Sources/CLZ4", pkgConfig: "liblz4", providers: [.apt(["liblz4-dev"])]),
        .systemLibrary(
            name: "CZstandard", path: "Sources/CZstandard", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
        .target(name: "CChecksum", cSettings: gnu),
        .target(name: "Model", cSettings: gnu, swiftSettings: strict),
        .target(name: "Formats", dependencies: ["Model", "CChecksum"], cSettings: gnu, swiftSettings: strict),
        .target(
            name: "ReplicationCore", dependencies: ["Model"], exclude: ["Invariants.md"], cSettings: gnu,
            swiftSettings: strict),
        .target(
            name: "Recording", dependencies: ["Model", "Formats", "ReplicationCore"], cSettings: gnu,
            swiftSettings: strict),
        .target(
            name: "LinuxIO", dependencies: ["CLinuxURing", "CLinuxNBD"], cSettings: gnu,
            swiftSettings: strict + unguardedInRelease),
        .target(
            name: "Daemon",
            dependencies: [
                "Model", "Formats", "ReplicationCore", "Recording", "LinuxIO", "COpenSSL", "CLZ4", "CZstandard",
                .product(name: "Logging", package: "swift-log"), .product(name: "Yams", package: "Yams"),
            ],
            cSettings: gnu, swiftSettings: strict + unguardedInRelease),
        .executableTarget(
            name: "hablk", dependencies: ["Daemon", "Formats", "Model", argumentParser], cSettings: gnu,
            swiftSettings: strict),
        .target(
            name: "Simulation", dependencies: ["Model", "Formats", "ReplicationCore", "Recording"],
            path: "Tests/Simulation", exclude: ["Mutants.md"], cSettings: gnu, swiftSettings: strict + unguarded),
        .executableTarget(
            name: "simulate", dependencies: ["Simulation", "Recording", argumentParser], path: "Tests/simulate",
            cSettings: gnu,
            swiftSettings: strict),
        .target(
            name: "FuzzTargets", dependencies: ["Model", "Formats", "ReplicationCore", "LinuxIO", "Daemon"],
            path: "Tests/Fuzz/Targets", cSettings: gnu, swiftSettings: strict),
        .testTarget(name: "ModelTests", dependencies: ["Model"], cSettings: gnu, swiftSettings: strict),
        .testTarget(name: "FormatsTests", dependencies: ["Formats", "Model"], cSettings: gnu, swiftSettings: strict),
        .testTarget(
            name: "ReplicationCoreTests", dependencies: ["ReplicationCore", "Model"], cSettings: gnu,
            swiftSettings: strict),
        .testTarget(
            name: "RecordingTests", dependencies: ["Recording", "ReplicationCore", "Model"], cSettings: gnu,
            swiftSettings: strict),
        .testTarget(name: "LinuxIOTests", dependencies: ["LinuxIO"], cSettings: gnu, swiftSettings: strict),
        .testTarget(
            name: "DaemonTests",
            dependencies: ["Daemon", "Formats", "LinuxIO", "Model", "Recording", "ReplicationCore"],
            cSettings: gnu, swiftSettings: strict),
        .testTarget(
            name: "SimulationTests", dependencies: ["Simulation", "Recording", "ReplicationCore", "Model"],
            cSettings: gnu,
            swiftSettings: strict),
        .testTarget(
            name: "FuzzTests", dependencies: ["FuzzTargets"], path: "Tests/Fuzz/Replay", cSettings: gnu,
            swiftSettings: strict),
        .testTarget(name: "TidyTests", cSettings: gnu, swiftSettings: strict),
        .testTarget(
            name: "EndToEndTests", dependencies: ["hablk", "simulate"], exclude: ["Support/allocations.c"],
            cSettings: gnu, swiftSettings: strict),
    ],
    swiftLanguageModes: [.v6]
)

// Tools/mutants runs the core's own tests with its rules left out: of the tests it needs no others.
if Context.environment["HABLK_MUTANTS"] != nil {
    package.targets.removeAll { $0.type == .test && $0.name != "ReplicationCoreTests" }
}

// libFuzzer brings its own `main`, and must be linked: Tools/fuzz asks for it.
if Context.environment["HABLK_FUZZ"] != nil {
    package.targets.append(
        .executableTarget(
            name: "fuzz", dependencies: ["FuzzTargets"], path: "Tests/Fuzz/Main", cSettings: gnu,
            swiftSettings: strict + [.unsafeFlags(["-parse-as-library"])]))
}
