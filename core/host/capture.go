package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/sdk/capture"
	"github.com/hostd/hostd/core/sdk/sim"
)

// Captured is one connection of a device's capture.
type Captured struct {
	Device string    `json:"device"`
	Number int       `json:"number"` // of the connection
	Wire   string    `json:"wire"`   // the driver's name of the line
	Began  time.Time `json:"began"`
	Ended  time.Time `json:"ended"` // of the last event
	Heard  int       `json:"heard"` // bytes from the instrument
	Said   int       `json:"said"`  // bytes to the instrument
}

// Captures lists the connections that were captured, of one device or (empty) of all, oldest first.
func Captures(c *config.Config, device string) ([]Captured, error) {
	p, err := newPlaces(c)
	if err != nil {
		return nil, err
	}
	devices := []string{device}
	if device == "" {
		entries, err := os.ReadDir(filepath.Dir(p.stateOf("devices", "x")))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, Environment(err)
		}
		devices = nil
		for _, e := range entries {
			devices = append(devices, e.Name())
		}
	}
	list := []Captured{}
	for _, name := range devices {
		l, err := loadCapture(c, name)
		if errors.Is(err, ErrNoCapture) && device == "" {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, n := range l.Conns() {
			list = append(list, captured(name, l.Of(n)))
		}
	}
	slices.SortStableFunc(list, func(a, b Captured) int { return a.Began.Compare(b.Began) })
	return list, nil
}

func captured(device string, l capture.Log) Captured {
	first, last := l.Events[0], l.Events[len(l.Events)-1]
	row := Captured{Device: device, Number: first.Conn, Wire: first.Wire, Began: first.At, Ended: last.At}
	for i := range l.Events {
		switch e := &l.Events[i]; e.Kind {
		case capture.In:
			row.Heard += len(e.Data)
		case capture.Out:
			row.Said += len(e.Data)
		case capture.Unsent:
			row.Said -= e.N
		case capture.Open, capture.End, capture.Close:
		}
	}
	return row
}

// ErrNoCapture is a device, or a connection of one, of which nothing was captured.
var ErrNoCapture = errors.New("nothing was captured: set capture: true in the device's settings, where its driver has a byte stream")

// loadCapture reads a device's capture, also beside a running host.
func loadCapture(c *config.Config, device string) (capture.Log, error) {
	p, err := newPlaces(c)
	if err != nil {
		return capture.Log{}, err
	}
	if device == "" || !filepath.IsLocal(device) || filepath.Base(device) != device {
		return capture.Log{}, fmt.Errorf("%q is no name of a device", device)
	}
	l, err := capture.Load(filepath.Join(p.stateOf("devices", device), capture.Dir))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return l, fmt.Errorf("%s: %w", device, ErrNoCapture)
	case err != nil:
		return l, Environment(err)
	}
	return l, nil
}

// CaptureArgs choose what of a capture is shown or exported.
type CaptureArgs struct {
	By         string `json:"by"`
	Device     string `json:"device"`
	Connection int    `json:"connection,omitempty"` // number; 0 is all
	Raw        bool   `json:"raw,omitempty"`        // the real bytes, with the patients' data
}

// Capture gives what was captured: masked, or as it is, which the audit keeps before it is given.
func Capture(ctx context.Context, c *config.Config, a CaptureArgs) (capture.Log, error) {
	l, err := loadCapture(c, a.Device)
	if err != nil {
		return l, err
	}
	if a.Connection != 0 {
		l = l.Of(a.Connection)
	}
	if len(l.Events) == 0 {
		return l, fmt.Errorf("%s: %w", a.Device, ErrNoCapture)
	}
	if !a.Raw {
		return l.Mask(), nil
	}
	return l, note(ctx, c, NoteArgs{By: a.By, What: "capture.export", Args: a})
}

// ReplayCapture plays the instrument of an exported capture on a line: each of its connections, or the one with that
// number, on a line of its own that open gives.
func ReplayCapture(ctx context.Context, file string, connection int, o sim.ReplayOptions, open func(context.Context) (sim.Conn, error)) (n int, err error) {
	l, err := capture.Load(file)
	if err != nil {
		return 0, Environment(err)
	}
	for _, number := range l.Conns() {
		if connection != 0 && number != connection {
			continue
		}
		conn, err := open(ctx)
		if err != nil {
			return n, err
		}
		err = sim.Play(ctx, conn, sim.Options{}, sim.Replay(l.Of(number), o))
		if err = errors.Join(err, conn.Close()); err != nil {
			return n, fmt.Errorf("replay connection %d: %w", number, err)
		}
		n++
	}
	if n == 0 {
		return 0, fmt.Errorf("%s: there is no such connection in it", file)
	}
	return n, nil
}

// PluginDir is the folder of the plugins as a full path.
func PluginDir(c *config.Config) (string, error) {
	p, err := newPlaces(c)
	return p.plugins, err
}
