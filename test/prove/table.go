package main

import "time"

// proofs is the table, in the order of docs/reliability.md.
var proofs = []proof{
	{
		promise: "Nothing that was acknowledged is lost, doubled or changed, whenever the process is killed",
		folder:  "test/history", tests: "^TestPostern$", none: "lost, duplicated",
		short: []string{"POSTERN_HISTORY_CYCLES=200", "POSTERN_HISTORY_TIME=300"},
		long:  []string{"POSTERN_HISTORY_CYCLES=10000", "POSTERN_HISTORY_TIME=7200", "POSTERN_HISTORY_SERVERS=2"}, longLimit: 3 * time.Hour,
		parts: parts{clock: "POSTERN_HISTORY_TIME", figure: "cycles survived", goal: 10_000},
	},
	{
		promise: "The clock is set back or forward",
		folder:  "test/history", tests: "^TestClock$", none: "lost, duplicated",
		short: []string{"POSTERN_CLOCK_CYCLES=30", "POSTERN_CLOCK_TIME=120"},
		long:  []string{"POSTERN_CLOCK_CYCLES=2000", "POSTERN_CLOCK_TIME=3600"}, longLimit: 2 * time.Hour,
		parts: parts{clock: "POSTERN_CLOCK_TIME", figure: "cycles survived", goal: 2_000},
	},
	{
		promise: "One account's data never reaches another",
		folder:  "test/isolation", tests: "^(TestEverything|TestCanary|TestShared|TestNewAccountOfAnOldName)$", none: "crossed over",
		short: []string{"POSTERN_ISOLATION_TIME=20"},
		long:  []string{"POSTERN_ISOLATION_TIME=3600"}, longLimit: 2 * time.Hour,
		parts: parts{clock: "POSTERN_ISOLATION_TIME", figure: "seconds that two people do everything", goal: 3_600},
	},
	{
		promise: "Every session is told what happens, when it may be, and no later",
		folder:  "test/history", tests: "^TestPeace$", none: "lost, duplicated",
		short: []string{"POSTERN_HISTORY_LIVES=10"},
		long:  []string{"POSTERN_HISTORY_LIVES=300"}, longLimit: time.Hour,
	},
	{
		promise: "No sequence of commands, in whatever state, leads to what the checker cannot explain",
		folder:  "test/stateful", tests: "^(TestHistory|FuzzHistory)$", none: "lost, duplicated, crossed over, panics",
		short: []string{"POSTERN_FUZZ_TIME=30s"},
		long:  []string{"POSTERN_FUZZ_TIME=1h"}, longLimit: 2 * time.Hour,
	},
	{
		promise: "No bytes, whoever sends them, lead to a panic, a hang or a login",
		folder:  "test/fuzz", tests: "^TestExposed$", none: "panics",
		short: []string{"POSTERN_FUZZ_TIME=5s"}, shortLimit: 30 * time.Minute,
		long: []string{"POSTERN_FUZZ_TIME=1h"}, longLimit: 18 * time.Hour,
	},
	{
		promise: "The power is cut: what was acknowledged is there, whatever came to the disk of the rest",
		folder:  "store/embedded", tests: "^(TestPowerLoss|TestCrash|TestCrashAgain|TestReclaimCrash)$", none: "lost, duplicated",
		short: []string{"POSTERN_CRASH_STATES=5000"},
		long:  []string{"POSTERN_CRASH_STATES=1000000"}, longLimit: 12 * time.Hour,
		parts: parts{clock: "POSTERN_CRASH_TIME", figure: "states after a power cut", goal: 1_000_000},
	},
	{
		promise: "The power of a real file system is cut",
		folder:  "store/embedded", tests: "^TestExt4Cuts$", none: "lost",
		short: []string{"POSTERN_CUTS=40"},
		long:  []string{"POSTERN_CUTS=2000", "POSTERN_CUT_DISKS=2"}, longLimit: 2 * time.Hour,
		parts: parts{clock: "POSTERN_CUT_TIME", figure: "power cuts of ext4", goal: 2_000},
	},
	{
		promise: "A file operation that fails is told, and nothing that was acknowledged is lost by it",
		folder:  "store/embedded", tests: "^(TestFaults|TestJournalFaults|TestFailedStaysFailed|TestFolderFull|TestFolderFailed)$", none: "lost",
		long: []string{"POSTERN_EVERY_FAULT=1"}, longLimit: 3 * time.Hour,
	},
	{
		promise: "The n-th system call fails",
		folder:  "test/durability", tests: "^TestSystemCalls$", none: "lost, panics",
		long: []string{"POSTERN_SYSTEM_CALLS=100", "POSTERN_SYSTEM_CALL_SERVERS=2"}, longLimit: 4 * time.Hour,
		parts: parts{clock: "POSTERN_SYSTEM_CALL_TIME", from: "POSTERN_SYSTEM_CALL_FROM", figure: "ways to fail tried with every number", goal: 28},
	},
	{
		promise: "The disk is full, or no more files can be opened: mail is read, and taken again when there is room",
		folder:  "test/durability", tests: "^(TestFullDisk|TestManyFiles)$",
	},
	{
		promise: "A store of any version before is opened and read whole",
		folder:  "store/embedded", tests: "^(TestFormat|TestPebblesLog|TestUnmaskedLog)$",
	},
	{
		promise: "Damage of any file is found, and nothing is read but what was written",
		folder:  "store/embedded", tests: "^(TestDamage|TestProof|TestDamagedLog|TestDamageBeforeTables|TestDamagedBlob|TestMissingFile)$", none: "crossed over, panics",
		short: []string{"POSTERN_DAMAGES=24"},
		long:  []string{"POSTERN_DAMAGES=1000"}, longLimit: 6 * time.Hour,
		parts: parts{clock: "POSTERN_DAMAGE_TIME", figure: "rounds of damage to every file", goal: 1_000},
	},
	{
		promise: "What is damaged is named and mended, or set aside",
		folder:  "store", tests: "^(TestVerifyWhole|TestRepair|TestRepairCounts|TestClockSetBack)$",
	},
	{
		promise: "What a client deletes can be brought back for the retention time",
		folder:  "store", tests: "^(TestRestore|TestWaysToDelete|TestRetention|TestRecoverableQuota|TestRestoreAtOnce|TestRecoverableFailing|TestRepairRecoverable|TestClockOfRecoverable)$",
	},
	{
		promise: "It comes back once, however many administrators restore it at the same time",
		folder:  "store/embedded", tests: "^TestRecoverableCrash$",
		short: []string{"POSTERN_RECOVERABLE_STATES=400"},
		long:  []string{"POSTERN_RECOVERABLE_STATES=20000"}, longLimit: 2 * time.Hour,
		parts: parts{clock: "POSTERN_RECOVERABLE_TIME", figure: "states after a power cut while messages are brought back", goal: 20_000},
	},
	{
		promise: "No id of one account leads to another's mail",
		folder:  "test/recovery", tests: "^(TestRecovery|TestKilled|TestInterrupted)$",
		short: []string{"POSTERN_RECOVERY_CYCLES=10"},
		long:  []string{"POSTERN_RECOVERY_CYCLES=1000"}, longLimit: 2 * time.Hour,
		parts: parts{clock: "POSTERN_RECOVERY_TIME", figure: "cycles survived while messages are brought back", goal: 1_000},
	},
	{
		promise: "A backup is made while the server serves, and is what there was at one moment",
		folder:  "store/embedded", tests: "^(TestCheckpoint|TestCheckpointFails)$",
	},
	{
		promise: "Damage is found, and the file named: of each file of a backup",
		folder:  "backup", tests: "^Test",
	},
	{
		promise: "What is restored is what was there, message by message",
		folder:  "test/backup", tests: "^Test",
		long: []string{"POSTERN_BACKUPS=20", "POSTERN_BACKUP_KILLS=40"}, longLimit: time.Hour,
	},
	{
		promise: "Nothing that is put into a connection before, between or behind the beginning of TLS is obeyed",
		folder:  "test/hostile", tests: "^(TestInjection|TestInjected)$",
		long: []string{"POSTERN_HOSTILE=long"}, longLimit: time.Hour,
	},
	{
		promise: "TLS is for the service that was asked for, and as strong as the server has it",
		folder:  "test/hostile", tests: "^TestTLS$",
		long: []string{"POSTERN_HOSTILE=long"}, longLimit: time.Hour,
	},
	{
		promise: "Who has not logged in holds little memory, whatever they send",
		folder:  "test/hostile", tests: "^(TestMemoryBeforeLogin|TestCompressionBombs|TestCompressedMemory)$",
		long: []string{"POSTERN_HOSTILE=long"}, longLimit: time.Hour,
	},
	{
		promise: "Those who sit there, flood, are slow or do not read, keep nobody else waiting",
		folder:  "test/hostile", tests: "^(TestManyIdle|TestNetworks|TestDeadlines|TestSlowMessage|TestSilence|TestDeafThousand|TestDeafReader)$",
		long: []string{"POSTERN_HOSTILE=long"}, longLimit: time.Hour,
	},
	{
		promise: "Mail and commands that are made to cost much cost what their bounds allow, and others are served meanwhile",
		folder:  "test/hostile", tests: "^(TestMessageBombs|TestCommandBombs|TestMailBombs|TestFloods)$",
		long: []string{"POSTERN_HOSTILE=long"}, longLimit: 2 * time.Hour,
	},
	{
		promise: "The time of a refused login tells nothing of the user",
		folder:  "test/policy", tests: "^(TestLoginWork|TestTiming)$",
		long: []string{"POSTERN_TIMING=1000"}, longLimit: 2 * time.Hour,
	},
	{
		promise: "Nobody writes a line in the server's name, and no log has a secret",
		folder:  "test/security", tests: "^(TestNoLineIsForged|TestSecretsAreNotKept|TestLogIsPrintable|TestNothingIsInjected)$",
	},
	{
		promise: "What others had wrong is noticed by a test",
		folder:  "test/security", tests: "^TestEveryRow$",
		long: []string{"POSTERN_ROWS=1"}, longLimit: time.Hour,
	},
	{
		promise: "The checker is fair: Dovecot passes it",
		folder:  "test/history", tests: "^TestDovecot$",
		short: []string{"POSTERN_HISTORY_LIVES=4"},
		long:  []string{"POSTERN_HISTORY_LIVES=60"}, longLimit: time.Hour,
	},
	{
		promise: "The checker is sharp: mistakes that are made on purpose are noticed",
		folder:  "test/history", tests: "^(TestMistakes|TestStories)$",
		shortLimit: 30 * time.Minute, longLimit: 30 * time.Minute,
	},
	{
		promise: "A fault in the server does not become one of the machine",
		folder:  "sandbox", tests: "^(TestConfine|TestConfinePrograms|TestBecome)$",
	},
	{
		promise: "The whole server works confined, as a user without rights",
		folder:  "test/confinement", tests: "^(TestUser|TestFolderOfRoot|TestSandbox)$",
	},
	{
		promise: "A release can be built again, byte for byte",
		folder:  "test/release",
		short:   []string{"POSTERN_RELEASE=shared"}, shortLimit: 30 * time.Minute,
		long: []string{"POSTERN_RELEASE=fresh"}, longLimit: 30 * time.Minute,
	},
	{
		promise: "What is in the program is known, and may be",
		folder:  "scripts/sbom",
	},
}
