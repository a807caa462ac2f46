// Package pluginstore keeps the binaries of plugins as the host runs them. The plugin folder is an inbox: what lies there is copied, by
// its content, to <dir>/<sha256>/NAME and runs from there. So the bytes that were checked are the bytes that run, a binary in use can
// be replaced on every platform, and the version before stays for the way back.
//
// The store starts nothing: its user asks a copy what it is and says what becomes of it. What it knows is in <dir>/store.json, which a
// power cut does not halve.
package pluginstore
