package faults

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"flag"
	"fmt"
	"io/fs"
	mrand "math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var flips = flag.Int("flips", 4, "of TestBitFlips: how often a bit is flipped, every other time in a sealed spool")

const (
	flipDelivered = 1500 // records that are delivered before the sink goes away
	flipWaiting   = 1500 // records that wait for it while the bit flips
	flipMore      = 300  // records that come in afterwards
)

// bitten has a file sink that begins with the newest record where the spool has forgotten its name.
const bitten = `
spool: {segment_size_mb: 1, keep: 1h, reserve_mb: 1%s}
devices:
  - {name: wit, plugin: witness, settings: {journal: %q, rate: 0, last: %d, size: 600, large: 500}}
sinks:
  - {name: archive, plugin: file, settings: {dir: archive}}
`

// TestBitFlips stops the host while records wait, flips one bit in its spool or in an attachment, and starts it again. The
// service must start and go on, every record must arrive as it was but for one at most, and where one does not the status
// must say so. Each flip begins with the same folder.
func TestBitFlips(t *testing.T) {
	random := seeded(t)
	for n, seal := range []bool{false, true} {
		name, count := "plain", (*flips+1-n)/2
		if seal {
			name = "sealed"
		}
		t.Run(name, func(t *testing.T) {
			c := newClinic(t)
			conf := c.waiting(seal)
			told := 0
			for range count {
				if c.flipOnce(conf, random) {
					told++
				}
			}
			t.Logf("%d flips: %d were told of, %d of them cost a record; the others were harmless", count, told, c.lost)
		})
	}
}

// waiting makes the folder that each flip begins with: records that are delivered, and records that wait.
func (c *clinic) waiting(seal bool) (conf func(last int64) string) {
	c.t.Helper()
	more := ""
	if seal {
		key := make([]byte, 32)
		rand.Read(key)
		c.write("key", hex.EncodeToString(key)+"\n")
		more = fmt.Sprintf(", seal: true, key: %q", "${file:"+c.path("key")+"}")
	}
	conf = func(last int64) string { return fmt.Sprintf(bitten, more, c.path("wit.journal"), last) }
	c.configure(conf(flipDelivered))
	c.start()
	c.rest(flipDelivered)
	c.stop()
	c.rename("archive", "archive.there")
	c.write("archive", "in the way of the sink's folder")
	c.configure(conf(flipDelivered + flipWaiting))
	c.start()
	c.until("records wait", func(s *status) bool {
		return s.sink("archive").Backlog == flipWaiting && c.told(c.t) == flipDelivered+flipWaiting
	})
	c.kill()
	if err := os.Remove(c.path("archive")); err != nil {
		c.t.Fatal(err)
	}
	c.rename("archive.there", "archive")
	for _, name := range []string{"data", "archive"} {
		if err := os.CopyFS(c.path("pristine/"+name), os.DirFS(c.path(name))); err != nil {
			c.t.Fatal(err)
		}
	}
	c.rename("wit.journal", "pristine/wit.journal")
	return conf
}

// flipOnce flips one bit, gives the verdict, and says whether the host told of damage.
func (c *clinic) flipOnce(conf func(last int64) string, random *mrand.Rand) (told bool) {
	c.t.Helper()
	for _, name := range []string{"data", "archive", "wit.journal"} {
		if err := os.RemoveAll(c.path(name)); err != nil {
			c.t.Fatal(err)
		}
	}
	if err := os.CopyFS(c.dir, os.DirFS(c.path("pristine"))); err != nil {
		c.t.Fatal(err)
	}
	where := c.flipBit(random)
	const last = flipDelivered + flipWaiting + flipMore
	c.configure(conf(last))
	c.start()
	s, err := c.within(*patience, func(s *status) bool { return c.settled(s) && c.acknowledged() == last })
	if err != nil {
		c.t.Fatalf("%s: the flow does not go on: %v", where, err)
	}
	c.kill()
	o := newOracle()
	o.damaged = true
	if err := o.lines(c.archive); err != nil {
		c.t.Fatal(err)
	}
	lost := o.line["wit"].missing(last)
	told = s.Spool.Quarantined > 0 || s.sink("archive").Dead > 0
	c.lost += lost
	switch {
	case len(o.faults) > 0:
		c.t.Fatalf("%s: %s", where, strings.Join(o.faults, "\n"))
	case lost > 1:
		c.t.Fatalf("%s: %d records are lost\n%s", where, lost, c.setAside())
	case lost == 1 && !told:
		c.t.Fatalf("%s: a record is lost, and nothing tells of it: %+v", where, s)
	}
	return told
}

// acknowledged is told for a device whose position may be an older one after damage: it would give some records again, which
// is harmless.
func (c *clinic) acknowledged() int64 {
	c.t.Helper()
	n, err := newOracle().journal(c.path("wit.journal"))
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

// flipBit flips a bit, of four times three anywhere in the segments, else in any file, and says where.
func (c *clinic) flipBit(random *mrand.Rand) string {
	c.t.Helper()
	paths := c.spoolFiles(random.IntN(4) > 0)
	path := paths[random.IntN(len(paths))]
	b, err := os.ReadFile(path)
	if err != nil {
		c.t.Fatal(err)
	}
	log := len(bytes.TrimRight(b, "\x00")) // and of the room behind it a bit, too
	at, bit := random.IntN(min(log+512, len(b))), random.IntN(8)
	b[at] ^= 1 << bit
	if err := os.WriteFile(path, b, 0o600); err != nil {
		c.t.Fatal(err)
	}
	name, _ := filepath.Rel(c.data, path)
	return fmt.Sprintf("bit %d of byte %d of %d in %s", bit, at, len(b), name)
}

// spoolFiles are the segments, or everything that the spool has.
func (c *clinic) spoolFiles(segments bool) (list []string) {
	c.t.Helper()
	for _, dir := range []string{"spool", "blobs"} {
		err := filepath.WalkDir(filepath.Join(c.data, dir), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return err
			}
			info, err := e.Info()
			if err == nil && info.Size() > 0 && (!segments || filepath.Ext(path) == ".seg") {
				list = append(list, path)
			}
			return err
		})
		if err != nil {
			c.t.Fatal(err)
		}
	}
	if len(list) == 0 {
		c.t.Fatal("the spool has no files")
	}
	return list
}

func (c *clinic) rename(from, to string) {
	c.t.Helper()
	if err := os.Rename(c.path(from), c.path(to)); err != nil {
		c.t.Fatal(err)
	}
}
