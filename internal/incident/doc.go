// Package incident replays the incident that hostd exists for: a connection that is never given back, until the database
// serves nobody and somebody restarts the PC. The same records go once through a small program that has the origin's
// fault, and once through hostd beside a sink that misbehaves on purpose. Both print their pool over time, and what
// arrived is counted in the database. It also counts how often the origin's visits reach the database, and looks for
// patients' data where none may be. docs/incident.md says what it shows.
//
//	records => [ naive ] => SQLite
//	records => hostd => sql sink, [ rogue ] => guarded pool => SQLite
package incident
