package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
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
	entries  map[key]entry // without pointers, so that 100,000 of them cost the garbage collector nothing
	baseline bool
	scan     uint64 // number of the current scan
	there    int    // entries whose file the current scan has seen
	name     []byte // memory of pathKey
	lines    int
	unsaved  []byte
	dirty    bool // something was written and not synced
}

// entry is one file of the catalogue.
type entry struct {
	path key // see pathKey
	stamp
	key     key
	mask    uint64
	ignored bool
	scan    uint64 // the last one that saw the file
	gone    int64  // since when it was not seen, in seconds of Unix; 0 while it is
}

const catalogueHead = "hostd folder catalogue 1"

// pathKey stands for a path below the watched folder.
func pathKey(rel string) key { return keyOf([]byte(filepath.ToSlash(rel))) }

func keyOf(path []byte) key {
	sum := sha256.Sum256(path)
	return key(sum[:len(key{})])
}

func openCatalogue(dir string) (*catalogue, error) {
	c := &catalogue{path: filepath.Join(dir, "catalogue"), entries: map[key]entry{}}
	clean, err := c.read()
	if err == nil && clean {
		c.file, err = os.OpenFile(c.path, os.O_APPEND|os.O_WRONLY, 0o600)
	} else if err == nil {
		err = c.rewrite()
	}
	if err != nil {
		return nil, fmt.Errorf("open catalogue: %w", err)
	}
	return c, nil
}

// read takes in the file; clean says that there is no line in it which is not needed.
func (c *catalogue) read() (clean bool, err error) {
	f, err := os.Open(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	defer f.Close()
	return c.load(f)
}

// load takes in the lines of a catalogue. What is no line of one is passed over.
func (c *catalogue) load(text io.Reader) (clean bool, err error) {
	const longest = 160
	in, lines, whole, headed := bufio.NewReaderSize(text, 64<<10), 0, true, false
	for {
		line, err := in.ReadSlice('\n')
		headed = headed || lines == 0 && string(line) == catalogueHead+"\n"
		if len(line) > 0 && len(line) <= longest && whole {
			c.replay(strings.Fields(string(line)))
		}
		if whole = err == nil; whole {
			lines++
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			needed := len(c.entries) + 1
			if c.baseline {
				needed++
			}
			c.lines = len(c.entries)
			clean = headed && len(line) == 0 && lines == needed
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return clean, err
		}
	}
}

func (c *catalogue) replay(f []string) {
	e := entry{}
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
	const line = 80 // most are shorter
	text := append(make([]byte, 0, line*(len(c.entries)+1)), catalogueHead+"\n"...)
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
	c.lines, c.unsaved, c.dirty = len(c.entries), nil, false
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
		case e.gone == 0:
			e.gone = now.Unix()
			c.entries[path] = e
		case now.Unix()-e.gone > int64(goneFor/time.Second):
			c.drop(path)
		}
	}
}

// see notes that the current scan sees the file of an entry.
func (c *catalogue) see(e *entry) {
	if e.scan != c.scan {
		e.scan, e.gone = c.scan, 0
		c.there++
	}
	c.entries[e.path] = *e
}

// get is the entry of a file that the current scan sees; false where there is none.
func (c *catalogue) get(rel string) (entry, bool) {
	if len(c.entries) == 0 {
		return entry{}, false // spares a hash for each file, where nothing stays in the folder
	}
	c.name = append(c.name[:0], filepath.ToSlash(rel)...)
	e, ok := c.entries[keyOf(c.name)]
	if ok {
		c.see(&e)
	}
	return e, ok
}

func (c *catalogue) put(e entry) {
	old, ok := c.entries[e.path]
	if ok && old.stamp == e.stamp && old.key == e.key && old.mask == e.mask && old.ignored == e.ignored {
		c.see(&old)
		return
	}
	e.scan, e.gone = old.scan, old.gone
	c.see(&e)
	c.unsaved = e.appendLine(c.unsaved)
	c.lines++
	c.spill()
}

func (c *catalogue) drop(path key) {
	e, ok := c.entries[path]
	if !ok {
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
		f(&e)
	}
}

// sync saves what changed. After an error it is saved with the next change.
func (c *catalogue) sync() error {
	if len(c.unsaved) == 0 && !c.dirty {
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
	c.unsaved, c.dirty = nil, false
	return nil
}

// spill writes a part of what is not saved, where it is much: the first scan of a large folder. A file that fails is written anew.
func (c *catalogue) spill() {
	const much = 256 << 10
	if len(c.unsaved) < much || c.file == nil {
		return
	}
	if _, err := c.file.Write(c.unsaved); err != nil {
		_ = c.file.Close() // sync tells of it, if it still fails then
		c.file = nil
		return
	}
	c.unsaved, c.dirty = c.unsaved[:0], true
}

func (c *catalogue) close() error {
	err := c.sync()
	if c.file != nil {
		err = errors.Join(err, c.file.Close())
		c.file = nil
	}
	return err
}
