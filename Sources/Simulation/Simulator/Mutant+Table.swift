/// Where each mistake comes from, in which plans it shows, and which rules find it.
extension Mutant {
    /// The plans in which it is looked for; nil are those that the seeds draw.
    package var storm: SeedRunner.Storm? {
        switch self {
        case .votesBeforeDurable, .losesVote, .grantsEveryVote, .commitsOldTermsByCounting, .keepsLogUnderSnapshot:
            .elections
        case .switchesWithoutJoint, .leavesJointEarly, .stacksChanges, .changesBeforeOwnTerm, .forgetsToLeave,
            .addsNodesNeverStarted, .countsRemovedLeader, .ignoresOldVoters, .keepsTruncatedConfiguration,
            .snapshotsFirstConfiguration, .learnersRefuseVotes, .removedNodesCampaign, .demotedConfirmNoReads:
            .members
        case .deposedLeaderRenews, .deposedLeaderExpires, .newLeaderKeepsDeadlines, .graceShorterThanLease: .sessions
        case .commitsWithoutHolders, .forgetsSilentHolders, .newLeaderForgetsHolders, .votesHideLeases,
            .guardsNoNames, .forgetsEndsOfNames,
            .leasesCountFromReceipt, .answersBeforeBase, .answersPending, .leaseKeptOverRestart,
            .looksAtLeaseLast:
            .names
        case .lateAnswersConfirmReads, .newLeaderIgnoresLease, .leaseSurvivesTransfer: .reads
        case .retriesFailedSync, .takesFailedSyncForFull, .ignoresScrub, .repairsKeepLog, .servesDamage,
            .damageTakenForEnd:
            .disks
        default: nil
        }
    }

    /// The published defect, or the rule of the paper or dissertation, of which it is a copy.
    package var source: String {
        switch self {
        case .votesBeforeDurable: "robustmq PR #2039; Raft §5.1"
        case .acknowledgementsBeforeDurable: "NATS 2.12.1 (Jepsen 2025)"
        case .losesSyncedEntries: "etcd #3453; dissertation §3.8"
        case .losesVote: "dissertation §3.8"
        case .readsWithoutRound: "Jepsen redis-raft (2020); dissertation §6.4"
        case .readsAnywhere: "etcd #741; dissertation §6.4"
        case .answersBeforeCommit: "redpanda #3003"
        case .forgetsRequestIDs: "dissertation §6.3"
        case .claimsMissingEntries: "openraft #584"
        case .probesOnce: "etcd-io/raft PR #52"
        case .heartbeatsNameTheEnd: "openraft #1500; etcd #1366"
        case .grantsEveryVote: "Raft §5.2, §5.4.1"
        case .switchesWithoutJoint: "Raft §6"
        case .leavesJointEarly: "camunda #60086"
        case .stacksChanges: "redpanda PR #17675"
        case .changesBeforeOwnTerm: "Ongaro on raft-dev (2015)"
        case .forgetsToLeave: "openraft, joint-consensus.md (2025)"
        case .addsNodesNeverStarted: "etcd #3477; raft-rs #192"
        case .countsRemovedLeader: "dissertation §4.2.2"
        case .ignoresOldVoters: "Raft §6"
        case .keepsTruncatedConfiguration: "scylla #30936"
        case .snapshotsFirstConfiguration: "openraft #1808"
        case .rejoinsWiped: "Jepsen RethinkDB 2.2.3; openraft FAQ 04"
        case .commitsOldTermsByCounting: "logcabin #44; Raft §5.4.2"
        case .commitsByMaximum: "openraft #1802"
        case .readsBeforeOwnTerm: "etcd #7331; redpanda #5025; etcd-io/raft PR #105"
        case .lateAnswersConfirmReads: "etcd #20418 (Antithesis 2025); etcd-io/raft PR #397"
        case .demotedConfirmNoReads: "scylla PR #29226"
        case .readsOnceRestarted: "openraft PR #1825"
        case .snapshotsStrandReads: "openraft #1761"
        case .newLeaderIgnoresLease: "LeaseGuard (2025); sofa-jraft #25"
        case .leaseSurvivesTransfer: "openraft PR #1748; tikv PR #1595"
        case .commitsWithoutHolders: "Gray and Cheriton (1989); Hermes (2020)"
        case .forgetsSilentHolders: "Gray and Cheriton (1989): a holder that cannot be reached"
        case .newLeaderForgetsHolders: "LeaseGuard (2025), for leases of others"
        case .votesHideLeases: "LeaseGuard (2025), for leases of others, where nodes are set unlike"
        case .guardsNoNames: "Gray and Cheriton (1989): a write that asks no holder"
        case .forgetsEndsOfNames: "Redis before 3.2: replicas tell of keys whose time is over"
        case .leasesCountFromReceipt: "tikv PR #1595; Gray and Cheriton (1989)"
        case .answersBeforeBase: "FusionCache #613, of a snapshot"
        case .answersPending: "Hermes (2020): reads of what is not valid"
        case .leaseKeptOverRestart: "LeaseGuard (2025)"
        case .looksAtLeaseLast: "Kleppmann, How to do distributed locking (2016)"
        case .reportsWritesEarly: "etcd #14370"
        case .completionsNameLatest: "etcd-io/raft rawnode.go (ABA); openraft #1960"
        case .tearsCompaction: "nexus PR #4215"
        case .compactsBeforeSnapshot: "etcd PR #12691"
        case .storesUnsynced: "redisraft PR #548"
        case .installsUnsynced: "redisraft PR #548, of a received one"
        case .forgetsSnapshotNames: "etcd #22340; etcd PR #22314"
        case .forgetsSegmentNames: "etcd #6368; ClickHouse #116316"
        case .trustsUnsyncedTail: "surrealkv PR #191"
        case .snapshotsAheadOfIndex: "etcd 3.5 post-mortem; etcd #20426"
        case .neverSendsSnapshots: "openraft #1828; etcd-io/raft PR #31"
        case .keepsLogUnderSnapshot: "hashicorp/raft #697 (Antithesis 2026)"
        case .learnersRefuseVotes: "etcd PR #10998"
        case .removedNodesCampaign: "hashicorp/raft #524; etcd #11038"
        case .refusesFormerLeaders: "hashicorp/raft #606"
        case .grantsDefendLeaders: "hashicorp/raft PR #609"
        case .lateGrantsCount: "openraft PR #1846"
        case .gapsAreNoWord: "redpanda #30815"
        case .ordersBeforeLevel: "redpanda #2606; hashicorp/raft PR #581; openraft #1805"
        case .ordersAskFirst: "canonical/raft #203"
        case .ignoresOldTerms: "etcd #8243; canonical/raft #279; openraft #1796"
        case .electionsWithoutPreVote: "Cloudflare outage (2020); CockroachDB #107060"
        case .reusesRequestNumbers: "VRR paper, by TigerBeetle's client_sessions.zig"
        case .oldAppendsTruncate: "openraft 9540c904"
        case .leadsWithHungDisk: "etcd #15247; LeaseGuard (2025)"
        case .goesOnAfterFailedSync: "CockroachDB PR #37102; Rebello, ATC 2020"
        case .retriesFailedSync: "PostgreSQL, fsync errors (2018); Rebello, ATC 2020"
        case .takesFailedSyncForFull: "PostgreSQL, fsync errors (2018)"
        case .ignoresScrub, .repairsKeepLog: "Ganesan, FAST 2017"
        case .servesDamage: "Redis, by Ganesan, FAST 2017"
        case .acknowledgesWhatDidNotFit: "canonical/raft #372; dqlite #190"
        case .refusesTornTail: "etcd #5230; etcd #6515"
        case .forgetsAnswers: "dissertation §6.3"
        case .appliesByOwnClock: "etcd #11651"
        case .deposedLeaderRenews: "etcd #15247; etcd PR #16822"
        case .deposedLeaderExpires: "etcd #12528"
        case .newLeaderKeepsDeadlines: "etcd PR #4778"
        case .graceShorterThanLease: "Esper, before this simulation drew leases"
        case .resourceIgnoresTokens: "Jepsen etcd 3.4.3 (2020)"
        case .watchesForgetRestore: "etcd #8411; etcd PR #9281"
        case .watchesSkipCompacted: "etcd #18089; etcd #19179"
        case .watchesBeginAtPresent: "Jepsen etcd 3.4.3 (2020)"
        case .damageTakenForEnd: "NATS 2.12.1 (Jepsen 2025); Alagappan, FAST 2018"
        }
    }

    /// The rules that it breaks; anything else that is found is a mistake of the simulator.
    package var breaks: [SimulationFailure.Rule] {
        switch self {
        case .votesBeforeDurable, .losesVote, .grantsEveryVote:
            [.electionSafety, .leaderCompleteness, .logMatching, .committedNeverChanges, .stateMachineSafety]
        case .acknowledgementsBeforeDurable, .reportsWritesEarly, .completionsNameLatest,
            .commitsByMaximum, .goesOnAfterFailedSync, .acknowledgesWhatDidNotFit:
            // Some of them count votes too early as well.
            [
                .electionSafety, .committedIsDurable, .commitsOwnTerm, .leaderCompleteness, .committedNeverChanges,
                .stateMachineSafety,
            ]
        case .commitsOldTermsByCounting:
            [.commitsOwnTerm, .leaderCompleteness, .committedNeverChanges, .stateMachineSafety]
        case .losesSyncedEntries, .oldAppendsTruncate, .claimsMissingEntries:
            // A leader never sends again what it was told is durable, so such a follower may also stay behind for ever.
            [.committedIsDurable, .leaderCompleteness, .committedNeverChanges, .stateMachineSafety, .liveness]
        case .switchesWithoutJoint, .leavesJointEarly, .stacksChanges, .changesBeforeOwnTerm,
            .keepsTruncatedConfiguration, .snapshotsFirstConfiguration:
            [.configurationSafety]
        case .forgetsToLeave, .addsNodesNeverStarted, .neverSendsSnapshots, .learnersRefuseVotes,
            .ignoresOldTerms, .leadsWithHungDisk, .refusesTornTail, .ignoresScrub, .repairsKeepLog, .probesOnce,
            .heartbeatsNameTheEnd, .refusesFormerLeaders, .grantsDefendLeaders, .ordersAskFirst, .demotedConfirmNoReads,
            .snapshotsStrandReads:
            [.liveness]
        case .lateGrantsCount, .gapsAreNoWord, .ordersBeforeLevel: [.stability]
        case .removedNodesCampaign, .electionsWithoutPreVote: [.liveness, .stability]
        case .countsRemovedLeader, .ignoresOldVoters:
            [.committedIsDurable, .electionSafety, .leaderCompleteness, .liveness]
        case .rejoinsWiped:
            [
                .electionSafety, .leaderCompleteness, .committedIsDurable, .committedNeverChanges, .stateMachineSafety,
                .logMatching, .liveness,
            ]
        case .damageTakenForEnd:
            // At the next start the metadata may know more than the log.
            [
                .electionSafety, .leaderCompleteness, .committedIsDurable, .committedNeverChanges, .stateMachineSafety,
                .logMatching, .liveness, .durability,
            ]
        case .readsWithoutRound, .readsAnywhere, .readsBeforeOwnTerm, .forgetsRequestIDs, .newLeaderIgnoresLease,
            .leaseSurvivesTransfer, .lateAnswersConfirmReads, .commitsWithoutHolders, .forgetsSilentHolders,
            .newLeaderForgetsHolders, .votesHideLeases, .leasesCountFromReceipt,
            .guardsNoNames, .forgetsEndsOfNames, .answersBeforeBase, .answersPending, .leaseKeptOverRestart,
            .looksAtLeaseLast, .readsOnceRestarted:
            [.linearizability]
        case .forgetsAnswers: [.exactlyOnce]
        // Either an answer that belongs to another request, or none for ever.
        case .reusesRequestNumbers: [.linearizability, .history, .liveness]
        case .answersBeforeCommit: [.linearizability, .history]
        case .tearsCompaction, .storesUnsynced, .installsUnsynced, .forgetsSnapshotNames, .forgetsSegmentNames,
            .trustsUnsyncedTail, .retriesFailedSync:
            [.durability]
        case .takesFailedSyncForFull: [.failStop]
        // At whoever restores it.
        case .servesDamage: [.durability, .stateHash]
        // At the next start, or when somebody is to be sent it; without files, when it is to be restored.
        case .compactsBeforeSnapshot: [.durability, .driverContract]
        case .snapshotsAheadOfIndex, .appliesByOwnClock: [.stateHash]
        case .deposedLeaderRenews, .deposedLeaderExpires, .newLeaderKeepsDeadlines, .graceShorterThanLease: [.session]
        case .resourceIgnoresTokens: [.fencing]
        case .watchesSkipCompacted, .watchesForgetRestore, .watchesBeginAtPresent: [.watch]
        // In the next batch, or at the next start.
        case .keepsLogUnderSnapshot: [.driverContract, .durability]
        }
    }
}

extension SeedRunner {
    /// The first seed that finds a mistake made on purpose.
    package static func hunt(_ mutant: Mutant, in seeds: Range<UInt64>) -> (seed: UInt64, failure: SimulationFailure)? {
        for seed in seeds {
            if let failure = run(plan(seed: seed, mutant.storm), mutant: mutant).failure { return (seed, failure) }
        }
        return nil
    }
}
