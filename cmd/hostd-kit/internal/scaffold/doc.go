// Package scaffold writes a plugin's first version: a Go module that builds outside this repository, with its test.
//
//	templates, the SDK's source -> [ Write ] -> NAME/: main.go, main_test.go, go.mod, hostd-sdk/ ...
package scaffold
