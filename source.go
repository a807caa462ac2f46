// Package hostd carries the source of the SDK, so that hostd-kit can give it to a plugin that is built elsewhere.
package hostd

import "embed"

// Source has the packages that core/sdk needs, go.mod, go.sum and the licence. Tests are in it and are not handed on. A
// test of cmd/hostd-kit/internal/scaffold says which package is missing or too many.
//
//go:embed go.mod go.sum LICENSE
//go:embed config/*.go config/dpapi/*.go
//go:embed core/internal/life/*.go core/internal/logs/*.go core/internal/supervise/*.go core/internal/wire/*.go core/internal/wire/pb/*.go
//go:embed core/sdk/*.go core/sdk/capture/*.go core/sdk/exam/*.go core/sdk/exam/*.json core/sdk/line/*.go core/sdk/share/*.go core/sdk/sdktest/*.go core/sdk/serve/*.go core/sdk/sim/*.go
var Source embed.FS
