// Package faults breaks a running hostd from outside and accounts for every record afterwards: built binaries, real
// plugin processes, and an oracle that believes no counter of ours. Its instruments keep a journal of what they were told
// is safe; the sinks' rows and lines are held against it.
//
//	witness, generator, folder => [ hostd, killed, cut off, starved, restarted ] => SQLite rows, lines of files
//	   '---- journal of what was acknowledged ----> verdict <------------------------------'
//
// Each proof has three forms: a taste in go test ./..., a short form in .ci/run, a long form as a task. They differ in
// flags of the test binary only. Every failure names the seed; -seed repeats it. -mutant builds hostd with one line
// broken, and the proof must then fail: TestMutants holds that for each of them.
package faults
