// Package peers has other people's programs send to hostd and its plugins, as they are: what they understand of the standard is
// what a clinic's systems do. It is skipped where they are not installed.
package peers
