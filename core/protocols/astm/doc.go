// Package astm speaks ASTM E1381 (CLSI LIS01-A2), the link of laboratory analysers, and reads the records of E1394 (LIS02-A2)
// that travel over it.
//
//	bytes -> Decoder: frames -> Link: ENQ, ACK, NAK, EOT, timers -> message -> Message: records, fields -> Exams
//
// Nothing here does I/O or looks at a clock: a Link is told what came and what time it is, and says what is to be done.
package astm
