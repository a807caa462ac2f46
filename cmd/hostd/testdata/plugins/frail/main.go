// Frail is a device that says what it is, and ends when it is opened.
package main

import (
	"context"
	"os"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/serve"
)

type frail struct{}

func (frail) Open(context.Context, sdk.Env, sdk.Position) error {
	os.Exit(7)
	return nil
}

func (frail) Read(context.Context) (b sdk.Batch, err error) { return b, nil }
func (frail) Ack(context.Context, sdk.Position) error       { return nil }
func (frail) Close(context.Context) error                   { return nil }

func main() { serve.Device(frail{}, sdk.Manifest{Name: "frail", Version: "1.0.0"}) }
