package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Limits of the catalogue.
const (
	goneFor    = 30 * 24 * time.Hour // a vanished file is remembered so long: the share may be away, not the file
	deadBefore = 10_000              // dead lines before the file is written anew, besides as many as there are entries
)

// catalogue remembers files that stay in the folder though nothing more is to be done for them. Its file is lines of text;
// names of files appear in it as hashes only. A line that is not whole is skipped: the file is then read once more, which
// gives the same record again.
//
//	hostd folder catalogue 1
//	b                                        the very first scan came to its end
//	i PATH SIZE MTIME                        ignored
//	s PATH SIZE MTIME KEY MASK               stored
//	- PATH                                   forgotten
type catalogue struct {
	path     string
	file     *os.File
	entries  map[key]*entry
	baseline bool
	scan     uint64 // number of the current scan
	there    int    // entries whose file the current scan has seen
	name     []byte // memory of pathKey
	lines    int
	unsaved  []byte
}

// entry is one file of the catalogue.
type entry struct {
	path key // see pathKey
	stamp
	key     key
	mask    uint64
	ignored bool
	scan    uint64    // the last one that saw the file
	gone    time.Time // since when it was not seen, zero while it is
}

const catalogueHead = "hostd folder catalogue 1"

// pathKey stands for a path below the watched folder.
func pathKey(rel string) key { return keyOf([]byte(filepath.ToSlash(rel))) }

func keyOf(path []byte) key {
	sum := sha256.Sum256(path)
	return key(sum[:len(key{})])
}

func openCatalogue(dir string) (*catalogue, error) {
	c := &catalogue{path: filepath.Join(dir, "catalogue"), entries: map[key]*entry{}}
	text, err := os.ReadFile(c.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open catalogue: %w", err)
	}
	c.load(text)
	if err := c.rewrite(); err != nil {
		return nil, fmt.Errorf("open catalogue: %w", err)
	}
	return c, nil
}

// load takes in the lines of a catalogue. What is no line of one is passed over.
func (c *catalogue) load(text []byte) {
	const longest = 160
	for line := range bytes.Lines(text) {
		if len(line) <= longest {
			c.replay(strings.Fields(string(line)))
		}
	}
}

func (c *catalogue) replay(f []string) {
	e := &entry{}
	switch {
	case len(f) == 1 && f[0] == "b":
		c.baseline = true
	case len(f) < 2 || !parseKey(f[1], &e.path):
	case f[0] == "-" && len(f) == 2:
		delete(c.entries, e.path)
	case len(f) < 4 || !parseInt(f[2], &e.size) || !parseInt(f[3], &e.mtime):
	case f[0] == "i" && len(f) == 4:
		e.ignored = true
		c.entries[e.path] = e
	case f[0] == "s" && len(f) == 6 && parseKey(f[4], &e.key):
		mask, err := strconv.ParseUint(f[5], 16, 64)
		if err == nil {
			e.mask = mask
			c.entries[e.path] = e
		}
	}
}

func parseInt(text string, v *int64) bool {
	n, err := strconv.ParseInt(text, 10, 64)
	*v = n
	return err == nil
}

func (e *entry) appendLine(b []byte) []byte {
	if e.ignored {
		b = append(b, "i "...)
	} else {
		b = append(b, "s "...)
	}
	b = hex.AppendEncode(b, e.path[:])
	b = strconv.AppendInt(append(b, ' '), e.size, 10)
	b = strconv.AppendInt(append(b, ' '), e.mtime, 10)
	if !e.ignored {
		b = hex.AppendEncode(append(b, ' '), e.key[:])
		b = strconv.AppendUint(append(b, ' '), e.mask, 16)
	}
	return append(b, '\n')
}

// rewrite replaces the file by one without dead lines, and opens it.
func (c *catalogue) rewrite() error {
	text := []byte(catalogueHead + "\n")
	if c.baseline {
		text = append(text, "b\n"...)
	}
	for _, e := range c.entries {
		text = e.appendLine(text)
	}
	if c.file != nil {
		_ = c.file.Close() // what is in it is written again
		c.file = nil
	}
	if err := writeSynced(c.path, text); err != nil {
		return err
	}
	var err error
	c.file, err = os.OpenFile(c.path, os.O_APPEND|os.O_WRONLY, 0o600)
	c.lines, c.unsaved = len(c.entries), nil
	return err
}

// begin starts a scan, endScan ends one that saw the whole folder.
func (c *catalogue) begin() { c.scan, c.there = c.scan+1, 0 }

func (c *catalogue) endScan(now time.Time) {
	if c.there == len(c.entries) {
		return
	}
	for path, e := range c.entries {
		switch {
		case e.scan == c.scan:
		case e.gone.IsZero():
			e.gone = now
		case now.Sub(e.gone) > goneFor:
			c.drop(path)
		}
	}
}

// see notes that the current scan sees the file of an entry.
func (c *catalogue) see(e *entry) {
	if e.scan != c.scan {
		e.scan, e.gone = c.scan, time.Time{}
		c.there++
	}
}

// get is the entry of a file that the current scan sees, or nil.
func (c *catalogue) get(rel string) *entry {
	if len(c.entries) == 0 {
		return nil // spares a hash for each file, where nothing stays in the folder
	}
	c.name = append(c.name[:0], filepath.ToSlash(rel)...)
	e := c.entries[keyOf(c.name)]
	if e != nil {
		c.see(e)
	}
	return e
}

func (c *catalogue) put(e *entry) {
	if old := c.entries[e.path]; old != nil && old.stamp == e.stamp && old.key == e.key && old.mask == e.mask && old.ignored == e.ignored {
		c.see(old)
		return
	} else if old != nil && old.scan == c.scan {
		c.there--
	}
	c.see(e)
	c.entries[e.path] = e
	c.unsaved = e.appendLine(c.unsaved)
	c.lines++
}

func (c *catalogue) drop(path key) {
	e := c.entries[path]
	if e == nil {
		return
	}
	if e.scan == c.scan {
		c.there--
	}
	delete(c.entries, path)
	c.unsaved = append(hex.AppendEncode(append(c.unsaved, "- "...), path[:]), '\n')
	c.lines++
}

func (c *catalogue) setBaseline() {
	c.baseline = true
	c.unsaved = append(c.unsaved, "b\n"...)
}

func (c *catalogue) each(f func(e *entry)) {
	for _, e := range c.entries {
		f(e)
	}
}

// sync saves what changed. After an error it is saved with the next change.
func (c *catalogue) sync() error {
	if len(c.unsaved) == 0 {
		return nil
	}
	if c.file == nil || c.lines > 2*len(c.entries)+deadBefore {
		if err := c.rewrite(); err != nil {
			return fmt.Errorf("save catalogue: %w", err)
		}
		return nil
	}
	if _, err := c.file.Write(c.unsaved); err != nil {
		c.unsaved = append([]byte("\n"), c.unsaved...) // ends the line that may have been cut
		return fmt.Errorf("save catalogue: %w", err)
	}
	if err := c.file.Sync(); err != nil {
		_ = c.file.Close() // a file that failed to sync is not trusted again
		c.file = nil
		return fmt.Errorf("save catalogue: %w", err)
	}
	c.unsaved = nil
	return nil
}

func (c *catalogue) close() error {
	err := c.sync()
	if c.file != nil {
		err = errors.Join(err, c.file.Close())
		c.file = nil
	}
	return err
}
