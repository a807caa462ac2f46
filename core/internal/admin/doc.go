// Package admin shows the host over HTTP: health, metrics, the status as JSON and as a page.
//
//	supervise, schedule, spool, dispatch, dbpool, cache -> host -> [ admin ] -> browser, Prometheus, hostd status
//
// Everything it shows comes from one Status, which the host makes when it is asked. It holds no patient data: names of
// devices and sinks, counts, sizes, times, states and the reasons of errors. It listens on loopback only.
package admin
