// Package logs is the host's log: one level filter, one format, one rolling file, for the host's own lines and those
// of its plugins. The host sees log/slog; logrus formats and lumberjack rolls below it. Nothing durable goes through it.
//
//	host, plugins -> slog -> [ logs: level, mask, cut ] -> file, console
package logs
