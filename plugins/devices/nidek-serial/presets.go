package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hostd/hostd/core/protocols/nidekrs"
	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

// Timing of presets.
const (
	presetLook  = time.Second      // how often the folder is looked at, while the line is quiet
	presetAgain = 10 * time.Second // how long a refractor that was asked may say nothing before it is asked again
)

// maxPreset is the most bytes of an exam's file.
const maxPreset = 1 << 20

// presets are the exams of a folder that a refractor gets, one after the other. One that was sent is moved to done, and one
// that cannot be sent to failed; the refractor does not answer a preset.
type presets struct {
	dir   string
	mode  string
	form  nidekrs.Form
	log   *slog.Logger
	name  string // of the file that is to be sent; empty while there is none
	to    string // where it goes: done or failed; empty while it is to be sent
	frame []byte
	asked time.Time // when the refractor was asked
	fault string    // of the folder, as it was logged
}

func newPresets(d *nidek) *presets {
	p := &presets{dir: d.PresetDir, mode: d.PresetMode, log: d.env.Log}
	if d.PresetForm == "rt-3100" {
		p.form = nidekrs.RT3100
	}
	return p
}

// look does what is due while the line is quiet. An error is the end of the line.
func (p *presets) look(port io.Writer) error {
	if p.to != "" && !p.move(p.to) || p.name == "" && !p.next() {
		return nil
	}
	switch waited := time.Since(p.asked); {
	case p.mode == "direct", p.mode == "pause" && !p.asked.IsZero():
		return p.send(port)
	case p.asked.IsZero() || waited >= presetAgain:
		if !p.asked.IsZero() {
			p.log.Warn("the refractor does not say that it is ready for a preset; preset_mode pause or direct may help")
		}
		p.asked = time.Now()
		_, err := io.WriteString(port, nidekrs.Command("C**", "RS"))
		return err
	}
	return nil
}

// ready hears that the refractor waits for what it was asked about.
func (p *presets) ready(port io.Writer) error {
	if p.name == "" || p.to != "" || p.asked.IsZero() {
		return nil
	}
	return p.send(port)
}

func (p *presets) send(port io.Writer) error {
	if _, err := port.Write(p.frame); err != nil {
		return fmt.Errorf("send preset: %w", err)
	}
	p.log.Info("preset was sent", "bytes", len(p.frame))
	p.move("done")
	return nil
}

// next finds the first exam of the folder that can be sent.
func (p *presets) next() bool {
	list, err := os.ReadDir(p.dir)
	p.note("preset_dir cannot be read", err)
	for _, f := range list {
		if !f.Type().IsRegular() || !strings.HasSuffix(strings.ToLower(f.Name()), ".json") {
			continue
		}
		frame, err := p.read(f.Name())
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if p.name = f.Name(); err != nil {
			p.log.Warn("preset cannot be sent", "err", sdk.Cause(err))
			if !p.move("failed") {
				return false
			}
			continue
		}
		p.frame = frame
		return true
	}
	return false
}

func (p *presets) read(name string) ([]byte, error) {
	f, err := os.Open(filepath.Join(p.dir, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPreset+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxPreset {
		return nil, fmt.Errorf("it has more than %d bytes", maxPreset)
	}
	e, err := exam.Decode(text)
	if err != nil {
		return nil, err
	}
	return nidekrs.Preset(e, p.form)
}

// move puts the file away, and says whether it could. While it cannot, nothing is sent: it would be this one again.
func (p *presets) move(sub string) bool {
	p.to = sub
	err := os.MkdirAll(filepath.Join(p.dir, sub), 0o700)
	if err == nil {
		err = os.Rename(filepath.Join(p.dir, p.name), filepath.Join(p.dir, sub, p.name))
	}
	if _, gone := os.Lstat(filepath.Join(p.dir, p.name)); errors.Is(gone, fs.ErrNotExist) {
		err = nil // somebody else took it
	}
	p.note("a preset cannot be moved to "+sub+", and no other is sent until it is", err)
	if err != nil {
		return false
	}
	p.name, p.to, p.frame, p.asked = "", "", nil, time.Time{}
	return true
}

// note logs what is wrong with the folder, once; exams are read all the same.
func (p *presets) note(what string, err error) {
	fault := ""
	if err != nil {
		fault = what
	}
	if fault != p.fault && err != nil {
		p.log.Warn(what, "err", sdk.Cause(err))
	}
	p.fault = fault
}
