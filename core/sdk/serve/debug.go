package serve

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	plugin "github.com/hashicorp/go-plugin"

	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/internal/wire"
)

// debugWord is the only argument of a plugin that a person runs, alone or under a debugger, to attach to it with
// `hostd plugins try --attach`. A host gives no arguments, so no configuration leads here.
const debugWord = "debug"

func debugging() bool { return len(os.Args) == 2 && os.Args[1] == debugWord }

// checkDebug ends the process where it must not be in debug mode: without TLS only a folder that nobody else can enter
// keeps others away.
func checkDebug(name string) {
	reason := ""
	switch {
	case os.Getenv(wire.Handshake().MagicCookieKey) != "":
		reason = "a host has started it"
	case runtime.GOOS == "windows":
		reason = "it needs a Unix socket; debug it in WSL, or attach the debugger to the process that hostd plugins try has started"
	}
	if reason != "" {
		fmt.Fprintf(os.Stderr, "%s: no debug mode: %s\n", name, reason)
		os.Exit(2)
	}
}

// serveDebug serves whoever attaches, one after the other and without TLS, until a signal ends it. It prints one line.
func serveDebug(name string, config *plugin.ServeConfig, closeAll func(context.Context) error) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	folder, err := os.MkdirTemp("", "hostd-debug-") // for this user alone
	if err == nil {
		defer func() { _ = os.RemoveAll(folder) }() // a folder that stays is the system's to empty
		err = os.Setenv(plugin.EnvUnixSocketDir, folder)
	}
	if err == nil {
		err = os.Unsetenv("PLUGIN_CLIENT_CERT")
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: debug mode: %v\n", name, err)
		return 1
	}
	ready := make(chan *plugin.ReattachConfig, 1)
	config.Test = &plugin.ServeTestConfig{Context: ctx, ReattachConfigCh: ready}
	group := life.NewGroup(ctx)
	group.Go("address", func(ctx context.Context) error {
		select {
		case at := <-ready:
			_, err := fmt.Fprintf(os.Stdout, "hostd plugins try --attach unix:%s\n", at.Addr)
			return err
		case <-ctx.Done():
		}
		return nil
	})
	plugin.Serve(config)
	group.Cancel()
	if err := group.Wait(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: debug mode: %v\n", name, err)
	}
	drain(ctx, closeAll)
	return 0
}
