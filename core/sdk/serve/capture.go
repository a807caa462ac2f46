package serve

import (
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/capture"
)

// captureSettings are those that a driver of a byte stream has without writing them, see sdk.Manifest.Wire.
type captureSettings struct {
	Capture bool `setting:"capture" default:"false" help:"keep every byte that passes over the line, patients' data too, to look into a fault: see hostd capture"`
	MaxMB   int  `setting:"capture_max_mb" default:"16" unit:"MiB" min:"1" max:"256" help:"disk space of the capture; the oldest part is dropped"`
}

// describe are the settings of the plugin, with those of serve.
func describe(m *sdk.Manifest, settings any) ([]sdk.Setting, error) {
	list, err := sdk.Describe(settings)
	if err != nil || !m.Wire {
		return list, err
	}
	own, err := sdk.Describe(captureSettings{})
	if err != nil {
		return nil, err
	}
	for _, s := range own {
		if slices.ContainsFunc(list, func(other sdk.Setting) bool { return other.Name == s.Name }) {
			return nil, fmt.Errorf("setting %s: the manifest says Wire, which has it already", s.Name)
		}
	}
	return append(list, own...), nil
}

// takeCapture reads serve's settings, and gives the others to be read by the device.
func takeCapture(settings []byte) (own captureSettings, rest []byte, err error) {
	var values map[string]json.RawMessage
	if len(settings) == 0 || json.Unmarshal(settings, &values) != nil {
		return own, settings, nil // the device says what is wrong with it
	}
	mine := map[string]json.RawMessage{}
	for _, name := range []string{"capture", "capture_max_mb"} {
		if v, written := values[name]; written {
			mine[name] = v
			delete(values, name)
		}
	}
	text, err := json.Marshal(mine)
	if err == nil {
		rest, err = json.Marshal(values)
	}
	if err != nil {
		return own, nil, fmt.Errorf("read settings: %w", err)
	}
	return own, rest, sdk.NewSettings(text).Decode(&own)
}

// startCapture begins the session's capture where the settings ask for it. It takes serve's settings out of the device's.
func (s *deviceSession) startCapture(stateDir string, env *sdk.Env) error {
	env.Wire = func(_ string, conn io.ReadWriteCloser) io.ReadWriteCloser { return conn }
	if !s.h.wire {
		return nil
	}
	own, rest, err := takeCapture(env.Settings.JSON())
	if err != nil {
		return err
	}
	env.Settings = sdk.NewSettings(rest)
	if !own.Capture {
		return nil
	}
	s.recorder = capture.NewRecorder(filepath.Join(stateDir, capture.Dir), int64(own.MaxMB)<<20, env.Log)
	env.Wire = s.recorder.Wrap
	env.Log.Info("capture is on: what passes over the line is kept, patients' data too", "capture_max_mb", own.MaxMB)
	return nil
}

// endCapture closes the session's capture, when the device and its goroutines have ended.
func (s *deviceSession) endCapture() error {
	if s.recorder == nil {
		return nil
	}
	return s.recorder.Close()
}
