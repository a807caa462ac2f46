// Package sdktest is the definition of a plugin: conformance suites that run on a plugin's real binary.
//
//	[ sdktest, as the host ] ==gRPC==> device or sink plugin
//
// A plugin's own test makes one call, RunDevice or RunSink. The suite builds the plugin, starts it as the host does, and
// holds one rule of docs/contract.md in each subtest, whose name says the rule. The suite itself is proved by plugins
// that break a rule each.
package sdktest
