// swift-tools-version: 6.2
import PackageDescription

/// The one list of settings for every target of ours.
let settings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("NonisolatedNonsendingByDefault"),
]

/// Tests in a release build drive optimized code; optimizing the tests themselves would only make the build longer.
let testSettings = settings + [.unsafeFlags(["-Onone"], .when(configuration: .release))]

// Products of other packages, by the short name the targets below use.
let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let asn1 = Target.Dependency.product(name: "SwiftASN1", package: "swift-asn1")
let cryptoExtras = Target.Dependency.product(name: "CryptoExtras", package: "swift-crypto")
let crypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")
let deque = Target.Dependency.product(name: "DequeModule", package: "swift-collections")
let hummingbirdCore = Target.Dependency.product(name: "HummingbirdCore", package: "hummingbird")
let httpTypes = Target.Dependency.product(name: "HTTPTypes", package: "swift-http-types")
let lifecycle = Target.Dependency.product(name: "ServiceLifecycle", package: "swift-service-lifecycle")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let metrics = Target.Dependency.product(name: "Metrics", package: "swift-metrics")
let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioEmbedded = Target.Dependency.product(name: "NIOEmbedded", package: "swift-nio")
let nioHTTP1 = Target.Dependency.product(name: "NIOHTTP1", package: "swift-nio")
let nioPosix = Target.Dependency.product(name: "NIOPosix", package: "swift-nio")
let nioSSL = Target.Dependency.product(name: "NIOSSL", package: "swift-nio-ssl")
let nioTLS = Target.Dependency.product(name: "NIOTLS", package: "swift-nio")
let protobuf = Target.Dependency.product(name: "SwiftProtobuf", package: "swift-protobuf")
let x509 = Target.Dependency.product(name: "X509", package: "swift-certificates")
let yams = Target.Dependency.product(name: "Yams", package: "Yams")

func library(_ name: String, _ dependencies: [Target.Dependency] = []) -> Target {
    .target(name: name, dependencies: dependencies, swiftSettings: settings)
}

func executable(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .executableTarget(name: name, dependencies: dependencies, swiftSettings: settings)
}

func tests(
    _ name: String, _ dependencies: [Target.Dependency], path: String? = nil, exclude: [String] = []
) -> Target {
    .testTarget(name: name, dependencies: dependencies, path: path, exclude: exclude, swiftSettings: testSettings)
}

let package = Package(
    name: "esper",
    products: [
        .executable(name: "esper-node", targets: ["esper-node"]),
        .executable(name: "esper", targets: ["esper"]),
        .library(name: "EsperClient", targets: ["EsperClient"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser.git", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-asn1.git", from: "1.7.4"),
        .package(url: "https://github.com/apple/swift-certificates.git", from: "1.21.1"),
        .package(url: "https://github.com/apple/swift-collections.git", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-crypto.git", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-http-types.git", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log.git", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics.git", from: "2.13.0"),
        .package(url: "https://github.com/apple/swift-nio.git", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-ssl.git", from: "2.37.6"),
        .package(url: "https://github.com/apple/swift-protobuf.git", from: "1.39.0"),
        .package(
            url: "https://github.com/hummingbird-project/hummingbird.git", from: "2.28.1", traits: ["FullFoundation"]),
        .package(url: "https://github.com/jpsim/Yams.git", from: "6.2.2"),
        .package(url: "https://github.com/swift-server/swift-service-lifecycle.git", from: "2.13.0"),
    ],
    targets: [
        // Pure: no clock, random source, socket, file, log line or suspension.
        library("EsperTypes", ["CCRC32C"]),
        library("RaftCore", ["EsperTypes", deque]),
        library("CacheCore", ["EsperTypes", deque]),
        library("Coordination", ["EsperTypes", "CacheCore", deque]),

        // Shells: one kind of I/O each.
        library("RaftStorage", ["EsperTypes", "RaftCore", logging, metrics]),
        library("Identity", ["EsperTypes", asn1, crypto, nioCore, nioSSL, x509]),
        library(
            "Enrollment",
            [
                "EsperTypes", "Coordination", "Identity", "Observability", crypto, logging, metrics, nioCore, nioPosix,
                nioSSL, nioTLS,
            ]),
        library("PeerTransport", ["EsperTypes", "RaftCore", "Identity", logging, metrics, nioCore, nioPosix, nioSSL]),
        library(
            "RaftRuntime",
            [
                "EsperTypes", "CacheCore", "RaftCore", "Coordination", "RaftStorage", "PeerTransport",
                deque, logging, metrics, nioCore, nioPosix,
            ]),
        library("PostgreSQL", ["CLibPQ", logging, metrics]),
        library("Catalog", ["EsperTypes", "CacheCore", "Coordination", "PostgreSQL", logging, metrics]),
        library("Redis", ["CHiredis", logging, metrics, nioCore, nioPosix, nioSSL]),
        library(
            "ObjectStore", ["EsperTypes", crypto, logging, metrics, nioCore, nioHTTP1, nioPosix, nioSSL, nioTLS]),
        library("Observability", [logging, metrics]),
        .target(
            name: "EsperProtocol", dependencies: [protobuf], exclude: ["generate", "proto"], swiftSettings: settings),
        library("GRPCTransport", ["CNghttp2", "CZlib", logging, metrics, nioCore, nioPosix, nioSSL, nioTLS, protobuf]),
        library(
            "APIDoor",
            [
                "EsperTypes", "RaftCore", "Coordination", "RaftRuntime", "Identity", "Observability",
                "EsperProtocol", "GRPCTransport", "CacheCore", "KernelCache",
                crypto, httpTypes, hummingbirdCore, logging, metrics, nioCore, nioPosix, nioSSL, nioTLS, protobuf,
            ]),
        .target(
            name: "EtcdProtocol", dependencies: [protobuf], exclude: ["proto"], swiftSettings: settings),
        library(
            "EtcdDoor",
            [
                "EsperTypes", "Coordination", "RaftRuntime", "APIDoor", "EtcdProtocol", "GRPCTransport",
                crypto, cryptoExtras, deque, nioCore, nioPosix, protobuf,
            ]),
        // The kernel cache, its tiers and its door.
        library(
            "KernelCache",
            [
                "EsperTypes", "CacheCore", "Coordination", "RaftRuntime", "Identity", "EsperProtocol", "GRPCTransport",
                "Redis", "ObjectStore", "PostgreSQL", "Catalog",
                crypto, deque, logging, metrics, nioCore, nioPosix, nioSSL, protobuf,
            ]),
        library(
            "RedisDoor",
            [
                "EsperTypes", "CacheCore", "Coordination", "RaftRuntime", "KernelCache", "Identity",
                crypto, deque, logging, metrics, nioCore, nioPosix, nioSSL,
            ]),
        library(
            "EsperClient",
            [
                "EsperTypes", "CacheCore", "EsperProtocol", "GRPCTransport", "Identity", crypto, logging, nioCore,
                nioPosix, nioSSL, protobuf, yams,
            ]),
        .target(name: "CCRC32C"),
        .target(name: "CJemalloc", linkerSettings: [.linkedLibrary("jemalloc")]),
        .systemLibrary(name: "CHiredis", providers: [.apt(["libhiredis-dev"])]),
        .systemLibrary(name: "CLibPQ", pkgConfig: "libpq", providers: [.apt(["libpq-dev"])]),
        .systemLibrary(name: "CNghttp2", pkgConfig: "libnghttp2", providers: [.apt(["libnghttp2-dev"])]),
        .systemLibrary(name: "CZlib", pkgConfig: "zlib", providers: [.apt(["zlib1g-dev"])]),

        // Composition root and executables.
        library(
            "EsperNode",
            [
                "EsperTypes", "RaftCore", "Coordination", "RaftStorage", "Identity", "Enrollment", "PeerTransport",
                "RaftRuntime", "PostgreSQL", "Catalog", "Observability", "GRPCTransport", "APIDoor", "EtcdDoor",
                "CacheCore", "KernelCache", "Redis", "ObjectStore", "RedisDoor",
                lifecycle, logging, metrics, nioCore, nioPosix, nioSSL, yams,
            ]),
        executable("esper-node", ["CJemalloc", "EsperNode", "Observability", argumentParser, logging, metrics]),
        executable(
            "esper",
            [
                "EsperClient", "EsperTypes", "Enrollment", "EtcdProtocol", "GRPCTransport", "Identity", "Coordination",
                "RaftRuntime", "RaftStorage", "Simulation", "CacheCore", "KernelCache", argumentParser, logging,
                nioCore,
                nioPosix, nioSSL,
                protobuf, yams,
            ]),

        // Deterministic simulation and the checkers that judge histories.
        library("Simulation", ["EsperTypes", "RaftCore", "RaftStorage", "CacheCore", "Coordination", deque]),
        executable("simulate", ["Simulation", "EsperTypes", argumentParser]),

        tests("EsperTypesTests", ["EsperTypes"]),
        tests("RaftCoreTests", ["RaftCore", "EsperTypes"]),
        // The published data-driven format for quorums and configurations, run against the core.
        .target(
            name: "RaftScript", dependencies: ["RaftCore", "EsperTypes"], path: "Tests/RaftScript",
            swiftSettings: settings),
        .executableTarget(
            name: "raft-script", dependencies: ["RaftScript"], path: "Tests/raft-script", swiftSettings: settings),
        tests("RaftScriptTests", ["RaftScript"], exclude: ["cases"]),
        tests("CacheCoreTests", ["CacheCore", "EsperTypes"]),
        tests("CoordinationTests", ["Coordination", "CacheCore", "EsperTypes"]),
        tests("SimulationTests", ["Simulation", "RaftCore", "CacheCore", "Coordination", "EsperTypes"]),
        tests("RaftStorageTests", ["RaftStorage", "RaftCore", "EsperTypes", "TestSupport", logging]),
        // Mutated bytes for every decoder of what comes from outside.
        tests(
            "DecoderTests",
            [
                "APIDoor", "CacheCore", "Coordination", "Enrollment", "EsperNode", "EsperTypes", "Identity",
                "PeerTransport", "RaftCore",
                "RaftRuntime", "RaftStorage", "TestSupport", nioCore,
            ]),
        tests("IdentityTests", ["Identity", "EsperTypes", asn1, crypto, nioSSL, x509]),
        tests(
            "EnrollmentTests",
            [
                "Enrollment", "Coordination", "Identity", "EsperTypes", "TestSupport", logging, nioCore, nioPosix,
                nioSSL,
            ]),
        tests(
            "PeerTransportTests",
            [
                "PeerTransport", "RaftCore", "Identity", "EsperTypes", logging, metrics, nioCore, nioEmbedded, nioPosix,
                nioSSL,
            ]),
        // What tests of several targets share: servers of their own.
        .target(name: "TestSupport", path: "Tests/TestSupport", exclude: ["python"], swiftSettings: settings),
        tests("PostgreSQLTests", ["PostgreSQL", "TestSupport", logging]),
        tests(
            "CatalogTests",
            ["Catalog", "PostgreSQL", "TestSupport", "CacheCore", "Coordination", "EsperTypes", logging]),
        tests("RedisTests", ["Redis", "TestSupport", "Identity", logging, nioCore, nioPosix, nioSSL]),
        tests(
            "ObjectStoreTests",
            ["ObjectStore", "EsperTypes", "TestSupport", crypto, logging, nioCore, nioHTTP1, nioPosix, nioSSL]),
        tests(
            "KernelCacheTests",
            [
                "KernelCache", "CacheCore", "Coordination", "RaftRuntime", "Redis", "ObjectStore", "PostgreSQL",
                "Catalog", "EsperTypes", "GRPCTransport", "Identity", "TestSupport", crypto, logging, nioCore, nioPosix,
                nioSSL,
            ]),
        tests(
            "RedisDoorTests",
            [
                "RedisDoor", "KernelCache", "CacheCore", "RaftRuntime", "Coordination", "EsperTypes", "TestSupport",
                logging, nioCore, nioEmbedded, nioPosix, nioSSL,
            ]),
        tests("ObservabilityTests", ["Observability", logging, metrics]),
        tests(
            "GRPCTransportTests",
            [
                "GRPCTransport", "CNghttp2", "CZlib", "EsperProtocol", "Identity", "TestSupport", logging, nioCore,
                nioEmbedded,
                nioPosix, nioSSL, protobuf,
            ], exclude: ["python"]),
        tests(
            "RaftRuntimeTests",
            [
                "RaftRuntime", "CacheCore", "RaftCore", "RaftStorage", "PeerTransport", "Coordination", "Identity",
                "EsperTypes",
                "TestSupport", logging, nioCore, nioPosix,
            ]),
        tests(
            "APIDoorTests",
            [
                "APIDoor", "RaftRuntime", "RaftCore", "RaftStorage", "PeerTransport", "Coordination", "Identity",
                "Observability", "EsperTypes", "EsperProtocol", "GRPCTransport", "TestSupport", "CacheCore",
                "KernelCache", "EsperClient",
                asn1, crypto, logging, metrics, nioCore, nioPosix, nioSSL, protobuf, x509,
            ]),
        tests(
            "EtcdDoorTests",
            [
                "EtcdDoor", "EtcdProtocol", "GRPCTransport", "RaftRuntime", "RaftCore", "Coordination", "EsperTypes",
                crypto,
                protobuf,
            ]),
        tests(
            "EsperClientTests",
            [
                "EsperClient", "EsperProtocol", "GRPCTransport", "Identity", "EsperTypes", logging, nioCore, nioPosix,
                nioSSL, protobuf,
            ]),
        tests(
            "EsperNodeTests",
            ["EsperNode", "CacheCore", "EsperTypes", "ObjectStore", "RedisDoor", logging, nioPosix]),
        // Real processes for tests: started, signalled and cleaned up.
        .target(
            name: "ClusterSupport", dependencies: ["EsperTypes", "Identity", "TestSupport"],
            path: "Tests/ClusterSupport",
            swiftSettings: settings),
        tests(
            "IntegrationTests",
            [
                "CacheCore", "ClusterSupport", "esper-node",
                "EsperNode", "EsperClient", "EsperProtocol", "Enrollment", "GRPCTransport", "Identity", "PeerTransport",
                "PostgreSQL",
                "TestSupport", "Simulation",
                "EsperTypes",
                crypto, logging, nioCore, nioPosix, nioSSL, protobuf,
            ], exclude: ["python"]),
        // A real etcd beside real nodes, both driven by etcd's own clients.
        tests(
            "EtcdCompatibilityTests", ["ClusterSupport", "TestSupport", "Identity", "esper-node"], exclude: ["python"]),
        tests("EsperCommandTests", ["esper", "EsperTypes", "EsperClient"]),
        tests(
            "ChaosTests",
            [
                "ClusterSupport", "TestSupport", "esper-node", "EsperClient", "EsperProtocol", "GRPCTransport",
                "Identity",
                "Simulation", "EsperTypes", logging, nioCore, nioPosix, nioSSL, protobuf,
            ],
            path: "ChaosTests", exclude: ["patroni", "torch"]),
    ]
)
