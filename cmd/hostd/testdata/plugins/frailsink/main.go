// Frailsink is a sink that says what it is, and ends when it is opened.
package main

import (
	"context"
	"os"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/serve"
)

type frail struct{}

func (frail) Open(context.Context, sdk.SinkEnv) error {
	os.Exit(7)
	return nil
}

func (frail) Write(context.Context, []sdk.Record) error { return nil }
func (frail) Close(context.Context) error               { return nil }

func main() { serve.Sink(frail{}, sdk.Manifest{Name: "frailsink", Version: "1.0.0"}) }
