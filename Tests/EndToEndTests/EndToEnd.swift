import Testing

/// Real daemons on loopback, one test at a time: each has its cluster, its load and its faults for itself. The suites
/// are its extensions, a file each.
@Suite(.serialized) enum EndToEnd {}
