package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLostSectors takes sectors away that a power cut may keep from the disk: whole lines before the first that lacks one stay, all
// behind it go, and what was answered is never touched.
func TestLostSectors(t *testing.T) {
	master := newRig(t)
	master.open(nil)
	long := strings.Repeat("-", 350)
	master.write("1"+long, "2"+long)
	kept := len(master.text(master.files()[0]))
	batch := []string{"3" + long, "4" + long, "5", "6", "7" + long}
	master.write(batch...)
	master.crash()
	name, whole := filepath.Base(master.files()[0]), master.text(master.files()[0])
	first, sectors := kept/sector, (len(whole)+sector-1)/sector
	for lost := range 1 << (sectors - first) {
		left := []byte(whole)
		firstLost := len(left)
		for i := first; i < sectors; i++ {
			if lost>>(i-first)&1 == 1 {
				from := max(kept, i*sector)
				clear(left[from:min((i+1)*sector, len(left))])
				firstLost = min(firstLost, from)
			}
		}
		r := &rig{t: t, dir: t.TempDir()}
		if err := os.WriteFile(filepath.Join(r.dir, name), left, 0o600); err != nil {
			t.Fatal(err)
		}
		r.open(nil)
		r.write(batch...)
		want := []string{"1" + long, "2" + long}
		want = append(want, batch[:strings.Count(whole[kept:firstLost], "\n")]...)
		r.wantIDs(append(want, batch...)...)
	}
}
