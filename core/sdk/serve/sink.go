package serve

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/hostd/hostd/core/internal/wire"
	"github.com/hostd/hostd/core/sdk"
)

// sinkHandler drives the author's Sink as the contract says.
type sinkHandler struct {
	sink sdk.Sink
	log  *logOutput

	mu   sync.Mutex // held over each call of the author's, which therefore never overlap
	open bool       // guarded by mu
}

// Open is the host's call.
func (h *sinkHandler) Open(ctx context.Context, o wire.OpenSink, store sdk.Store, cache sdk.Cache) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.closeLocked(ctx); err != nil {
		return fmt.Errorf("close before open: %w", err)
	}
	h.log.setLevel(o.LogLevel)
	h.open = true
	if err := h.sink.Open(ctx, h.env(o, store, cache)); err != nil {
		return errors.Join(err, h.closeLocked(ctx))
	}
	return nil
}

func (h *sinkHandler) env(o wire.OpenSink, store sdk.Store, cache sdk.Cache) sdk.SinkEnv {
	return sdk.SinkEnv{
		Name: o.Name, Settings: sdk.NewSettings(o.Settings), StateDir: o.StateDir, Log: h.log.logger,
		Store: store, Cache: cache, Blob: blobs(o.BlobDir),
	}
}

// Check is the host's call, in place of all others. A sink that is no Checker finds nothing.
func (h *sinkHandler) Check(ctx context.Context, o wire.OpenSink, store sdk.Store, cache sdk.Cache, tables sdk.Catalog) ([]sdk.Finding, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c, ok := h.sink.(sdk.Checker)
	if !ok {
		return nil, nil
	}
	if h.open {
		return nil, errors.New("a sink that is open is not checked")
	}
	h.log.setLevel(o.LogLevel)
	return c.Check(ctx, h.env(o, store, cache), tables)
}

// Write is one batch of the host's.
func (h *sinkHandler) Write(ctx context.Context, records []sdk.Record) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.open {
		return errors.New("sink is not open")
	}
	return h.sink.Write(ctx, records)
}

// Close is the host's call; closing what is closed is no error.
func (h *sinkHandler) Close(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closeLocked(ctx)
}

func (h *sinkHandler) closeLocked(ctx context.Context) error {
	if !h.open {
		return nil
	}
	h.open = false
	return h.sink.Close(ctx)
}

// blobs opens attachments in the host's blob folder by their hash.
func blobs(dir string) func(context.Context, string) (io.ReadCloser, error) {
	return func(_ context.Context, hash string) (io.ReadCloser, error) {
		if raw, err := hex.DecodeString(hash); err != nil || len(raw) != 32 {
			return nil, fmt.Errorf("open attachment: %w: not a SHA-256 hash", fs.ErrNotExist)
		}
		return os.Open(filepath.Join(dir, hash[:2], hash))
	}
}
