package main

import (
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"strings"

	"github.com/hostd/hostd/core/protocols/eyexml"
	"github.com/hostd/hostd/core/protocols/textenc"
	"github.com/hostd/hostd/core/sdk/share"
)

// Formats besides those of package eyexml.
const (
	formatGDT      = "gdt"
	formatCSV      = "csv"
	formatJSON     = "json"
	formatDocument = "document"
)

// noCodePage says that text which is not what its file says is not guessed.
const noCodePage = "none"

// check says what is wrong with the settings, fills in the lists that were left out, and makes the paths full ones.
func (d *folder) check() error {
	var faults []error
	if d.Dir == "" {
		faults = append(faults, errors.New("dir is empty"))
	}
	faults = append(faults, d.checkMap())
	if (d.User != "" || d.Password != "") && (share.Root(d.Dir) == "" || d.User == "") {
		faults = append(faults, errors.New(`user and password are for a dir that is a Windows share, such as \\server\share\folder, and both must be written`))
	}
	if d.CodePage != noCodePage && !textenc.Known(d.CodePage) {
		faults = append(faults, fmt.Errorf("code_page %q: cp949, cp932, windows-1252 ..., or none", d.CodePage))
	}
	if len(d.Patterns) == 0 {
		d.Patterns = d.usual()
	}
	for i, p := range d.Patterns {
		d.Patterns[i] = strings.ToLower(p)
		if _, err := path.Match(p, ""); err != nil || p == "" {
			faults = append(faults, fmt.Errorf("patterns: %q is not a pattern", p))
		}
	}
	if len(d.AttachDirs) == 0 {
		d.AttachDirs = []string{"../JPG", "."}
	}
	if d.Settle < 0 || d.IncompleteFor < 0 || d.AttachWait < 0 || d.AttachLate < 0 {
		faults = append(faults, errors.New("a time is negative"))
	}
	if d.MaxSizeMB < 1 || d.MaxSizeMB > 1024 || d.MaxAttachMB < 1 || d.MaxAttachMB > 4095 {
		faults = append(faults, errors.New("max_size_mb is 1 to 1024, max_attachment_mb 1 to 4095"))
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("check settings: %w", err)
	}
	return d.places()
}

// checkMap says what is wrong with the mapping, where there is one or must be one.
func (d *folder) checkMap() error {
	if d.Format == formatCSV || d.Format == formatJSON || d.isMapped() {
		return d.Map.Check()
	}
	return nil
}

func (d *folder) isMapped() bool { return len(d.Map.Observations) > 0 }

// usual are the names that files of the format have. Images are read where they are asked for: beside an exam they belong to it.
func (d *folder) usual() []string {
	switch d.Format {
	case formatGDT, formatCSV, formatJSON:
		return []string{"*." + d.Format}
	case formatDocument:
		return []string{"*.pdf", "*.jpg", "*.jpeg", "*.png", "*.tif", "*.tiff", "*.bmp", "*.gif"}
	case eyexml.FormatAuto:
		names := []string{"*.xml", "*.gdt"}
		if d.isMapped() {
			names = append(names, "*.csv", "*.json")
		}
		return names
	}
	return []string{"*.xml"}
}

func (d *folder) places() error {
	dir, err := filepath.Abs(d.Dir)
	if err != nil {
		return fmt.Errorf("check settings: dir: %w", err)
	}
	d.Dir, d.done, d.failed = dir, below(dir, d.DoneDir, "done"), below(dir, d.FailedDir, "failed")
	if d.done == dir || d.failed == dir {
		return errors.New("check settings: done_dir and failed_dir must not be dir itself")
	}
	return nil
}

func below(dir, place, otherwise string) string {
	if place == "" {
		place = otherwise
	}
	if filepath.IsAbs(place) {
		return filepath.Clean(place)
	}
	return filepath.Join(dir, place)
}

func (d *folder) keeps() bool { return d.After == "keep" }

func (d *folder) matches(name string) bool {
	for _, p := range d.Patterns {
		if end := p[1:]; p[0] == '*' && !strings.ContainsAny(end, `*?[\`) { // spares a copy of each name in lower case
			if at := len(name) - len(end); at >= 0 && strings.EqualFold(name[at:], end) {
				return true
			}
		} else if ok, _ := path.Match(p, strings.ToLower(name)); ok {
			return true
		}
	}
	return false
}
