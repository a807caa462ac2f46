package serve

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/internal/wire"
	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/capture"
)

// TestCapture holds that a driver of a byte stream has the capture without knowing of it, and no cost while it is off.
func TestCapture(t *testing.T) {
	for _, c := range []struct {
		settings string
		wire, on bool
		fault    string // of the settings; empty: none
		rest     string // what the device sees of them
	}{
		{`{"port":"x"}`, true, false, "", `{"port":"x"}`},
		{`{"port":"x","capture":false,"capture_max_mb":2}`, true, false, "", `{"port":"x"}`},
		{`{"port":"x","capture":true}`, true, true, "", `{"port":"x"}`},
		{`{"capture":"yes"}`, true, false, "capture: must be true or false", ""},
		{`{"capture_max_mb":0}`, true, false, "capture_max_mb: must be 1 to 256", ""},
		{`{"capture":true}`, false, false, "", `{"capture":true}`}, // not a setting of this driver: it says so itself
		{`[]`, true, false, "", `[]`},
		{``, true, false, "", ``},
	} {
		t.Run(c.settings, func(t *testing.T) {
			dir, d := t.TempDir(), newScript()
			h := &deviceHandler{device: d, window: 1, wire: c.wire, log: newLogOutput(io.Discard)}
			err := h.Open(t.Context(), wire.OpenDevice{Name: "d", Settings: []byte(c.settings), StateDir: dir})
			if c.fault != "" {
				if !errors.Is(err, sdk.ErrSettings) || !strings.Contains(err.Error(), c.fault) {
					t.Errorf("%v, want %s", err, c.fault)
				}
				d.want(t)
				return
			}
			if err != nil || string(d.env.Settings.JSON()) != c.rest {
				t.Fatalf("%v, the device sees %s", err, d.env.Settings.JSON())
			}
			own, instrument := net.Pipe()
			defer instrument.Close()
			conn := d.env.Wire("port", own)
			if (conn == own) == c.on {
				t.Errorf("the driver has %T", conn)
			}
			conn.Close()
			if err := h.Close(t.Context()); err != nil {
				t.Error(err)
			}
			folder := filepath.Join(dir, "capture")
			if _, err := os.Stat(folder); (err == nil) != c.on {
				t.Errorf("folder: %v", err)
			}
			if l, err := capture.Load(folder); c.on && (err != nil || len(l.Events) != 2) {
				t.Errorf("%+v, %v", l, err)
			}
		})
	}
}

func TestCaptureIsInTheManifest(t *testing.T) {
	type driver struct {
		Port string `setting:"port,required" help:"serial port"`
	}
	for _, c := range []struct {
		wire     bool
		settings any
		want     string
	}{{false, driver{}, "port"}, {true, driver{}, "port capture capture_max_mb"}, {true, nil, "capture capture_max_mb"}} {
		list, err := describe(&sdk.Manifest{Wire: c.wire}, c.settings)
		names := make([]string, len(list))
		for i, s := range list {
			if names[i] = s.Name; s.Help == "" {
				t.Errorf("%s has no help", s.Name)
			}
		}
		if strings.Join(names, " ") != c.want || err != nil {
			t.Errorf("%v, %v, want %s", names, err, c.want)
		}
	}
	type taken struct {
		Capture string `setting:"capture" help:"its own"`
	}
	if _, err := describe(&sdk.Manifest{Wire: true}, taken{}); err == nil {
		t.Error("a setting has two meanings")
	}
}
