// Package bench measures hostd as a clinic runs it: the built binaries, real plugin processes, a real disk. It counts in
// what the sink wrote and in what the kernel says of the processes, never in a counter of ours. docs/benchmarks.md says
// what each benchmark means, how to repeat it, and what came out.
//
//	[ bench ] starts hostd => device plugin => spool => sink plugin => files, which [ bench ] counts
package bench
