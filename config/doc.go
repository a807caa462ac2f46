// Package config says what hostd is told to do: plain structs with their defaults, strict loading from files,
// environment and flags, and validation that reports every fault at once, each with its file, line and key.
//
//	hostd.yaml, conf.d, HOSTD_..., flags -> [ config ] -> host
//
// A Config does not change once it is published; a reload makes a new one.
package config
