// Package faults breaks a running hostd from outside and accounts for every record afterwards: built binaries, real
// plugin processes, and an oracle that believes no counter of ours. Its instruments keep a journal of what they were told
// is safe; the sinks' rows and lines are held against it.
//
//	witness, generator, folder => [ hostd, killed, cut off, starved, restarted ] => SQLite rows, lines of files
//	   '---- journal of what was acknowledged ----> verdict <------------------------------'
//
// TestInstruments, and TestDiskFull for those of the network, have the shipped devices and their own simulated instruments in the
// witness's place: what these were answered for is held against the rows.
//
// Each proof has three forms: a taste in go test ./..., a short form in .ci/run, a long form as a task. They differ in
// flags of the test binary only. Every failure names the seed; -seed repeats it. -mutant takes a hostd with one line
// broken, and the proof must then fail: TestMutants holds that for each of them.
//
// What needs root, FUSE or strace has its taste in process, on disks in memory, where each run is exact: core/internal/spool
// holds that the n-th call of each kind fails for n from 1 to 50 (TestNthOperationFails), that the disk is full
// (TestFullDiskIsNamedAndPasses, TestReserveKeepsRoomForCursors) and that the power is cut (TestPowerCutLosesNothingAcknowledged);
// it flips a bit of every byte, too (TestFlippedBitCostsOneRecordAtMost). TestClock has no taste: its host and
// plugins are built anew, with a time.Now that can be put.
package faults
