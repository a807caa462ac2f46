package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/hostd/hostd/core/protocols/lineprofile"
	"github.com/hostd/hostd/core/sdk/line"
)

// captures is the name of the profile that keeps what comes, and reads nothing in it.
const captures = "capture"

// burstEnd is how long the line is silent behind a burst of a capture, where the settings do not say.
const burstEnd = 200 * time.Millisecond

// Choice is how the settings choose a profile; the simulated instrument takes it, too.
type Choice struct {
	Profile     string `setting:"profile" help:"the instrument: clm-7000, ct-80, ct-80-std2, rc-5000, tap-2000 or tl-3000c; or one of your own in profile_file; or capture, which keeps what an unknown instrument says"`
	ProfileFile string `setting:"profile_file" help:"a profile of your own: its YAML file, or a folder that has one of the name PROFILE.yaml"`
	Ack         string `setting:"ack" help:"what the instrument hears when its exam is stored, such as <ACK> or <ACK><CR>; none is nothing; the profile's where it is left out"`
	Nak         string `setting:"nak" help:"what it hears of a frame that arrived damaged or could not be stored, such as <NAK>; none is nothing; the profile's where it is left out"`
	Encoding    string `setting:"encoding" help:"character set, such as cp949; the profile's where it is left out"`
	EyeOrder    string `setting:"eye_order" enum:"left,right" help:"which eye comes first, for an instrument whose lines do not say it; ends the warning that this is not confirmed"`
}

// load finds the profile, with the clinic's own settings; nil is a capture.
func (s *Choice) load() (*lineprofile.Profile, error) {
	if s.Profile == captures {
		if s.ProfileFile+s.Ack+s.Nak+s.Encoding+s.EyeOrder != "" {
			return nil, errors.New("check settings: a capture keeps what comes, and says nothing: leave out profile_file, ack, nak, encoding and eye_order")
		}
		return nil, nil
	}
	p, err := s.find()
	if err != nil {
		return nil, err
	}
	if p, err = p.With(s.Ack, s.Nak, s.Encoding, s.EyeOrder); err != nil {
		return nil, fmt.Errorf("check settings: %w", err)
	}
	return p, nil
}

func (s *Choice) find() (*lineprofile.Profile, error) {
	if s.ProfileFile == "" {
		if s.Profile == "" {
			return nil, fmt.Errorf("check settings: profile is missing: which instrument is it? There are %v and capture; profile_file names one of your own", lineprofile.Shipped())
		}
		p, err := lineprofile.Named(s.Profile)
		if err != nil {
			return nil, fmt.Errorf("check settings: %w; capture keeps what an unknown instrument says", err)
		}
		return p, nil
	}
	path := s.ProfileFile
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		if s.Profile == "" {
			return nil, errors.New("check settings: profile_file is a folder: name the profile in it in profile")
		}
		path = filepath.Join(path, s.Profile+".yaml")
	}
	text, err := readSome(path)
	if err != nil {
		return nil, fmt.Errorf("check settings: profile_file: %w", err)
	}
	p, err := lineprofile.Load(text)
	switch {
	case err != nil:
		return nil, fmt.Errorf("check settings: profile_file %s: %w", path, err)
	case s.Profile != "" && s.Profile != p.Name:
		return nil, fmt.Errorf("check settings: profile is %s, and the one in %s is %s", s.Profile, path, p.Name)
	}
	return p, nil
}

// readSome reads a file as far as a profile may be long, and one byte more.
func readSome(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, lineprofile.MaxProfile+1))
}

// mode is the line as the instrument's manual has it.
func mode(p *lineprofile.Profile) line.Mode {
	if p == nil {
		return line.Mode{}
	}
	return line.Mode{Baud: p.Line.Baud, DataBits: p.Line.DataBits, Parity: p.Line.Parity, StopBits: p.Line.StopBits}
}
