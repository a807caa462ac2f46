package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostd/hostd/core/sdk"
)

var oldFiles = flag.Int("old", 3000, "of TestManyOldFiles: how many files the share holds")

// TestManyOldFiles is of a share with files from before hostd: without a word in the configuration nothing is read and
// the error says what to write; then only what comes from now on is read, also after a restart.
func TestManyOldFiles(t *testing.T) {
	files := *oldFiles
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, map[string]any{"settle": "0s"})
		r.noWord = true
		for i := range files {
			r.write(fmt.Sprintf("%d.xml", i), "")
		}
		r.mustOpen()
		b, err := r.d.Read(t.Context())
		if r.told(err) == nil || !strings.Contains(err.Error(), fmt.Sprintf("holds %d files", files)) || !strings.Contains(err.Error(), "existing: ignore") || len(b.Records) > 0 {
			t.Fatalf("%v, %d records", err, len(b.Records))
		}
		r.settings["existing"] = "ignore"
		r.mustOpen().poll()
		r.wantOnce(0)
		r.write("new.xml", joiaXML("T-1"))
		r.poll()
		r.mustOpen().poll()
		r.wantOnce(1)
	})
}

// TestFewOldFiles holds that some files are not worth a question, and that one which was answered is not put again.
func TestFewOldFiles(t *testing.T) {
	inBubble(t, map[string]any{}, func(t *testing.T, r *rig) {
		r.close()
		r.noWord = true
		for i := range fewOld {
			r.write(fmt.Sprintf("%d.xml", i), joiaXML(fmt.Sprint(i)))
		}
		r.mustOpen().run(3 * time.Second)
		r.wantOnce(fewOld)
	})
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.close()
		r.noWord = true
		r.mustOpen().poll() // an empty folder: hostd was here
		r.close()
		for i := range 2 * fewOld {
			r.write(fmt.Sprintf("%d.xml", i), joiaXML(fmt.Sprint(i)))
		}
		r.mustOpen().run(3 * time.Second)
		r.wantOnce(2 * fewOld)
	})
}

// TestShareClock holds that a share whose clock is off by an hour is read as any other: its times are compared with each other.
func TestShareClock(t *testing.T) {
	for _, off := range []time.Duration{-time.Hour, time.Hour} {
		inBubble(t, map[string]any{"attachment_wait": "5s"}, func(t *testing.T, r *rig) {
			write := func(name, content string) {
				path := r.write(name, content)
				at := time.Now().Add(off)
				if err := os.Chtimes(path, at, at); err != nil {
					t.Fatal(err)
				}
			}
			write("a.xml", joiaXML("T-1")[:200])
			r.run(3 * time.Second)
			write("a.xml", joiaXML("T-1"))
			write("b.xml", nidekXML("T-2", first))
			r.run(time.Second)
			r.wantOnce(0)
			write(first, "image")
			r.run(4 * time.Second)
			r.wantOnce(2)
			if rec := r.of("T-2"); len(rec) != 1 || rec[0].blobs[first] != "image" {
				t.Errorf("%+v", rec)
			}
			write("a.xml", joiaXML("T-3"))
			r.run(3 * time.Second)
			r.wantOnce(3)
		})
	}
}

// TestShareAway takes the share away for minutes, with reopening as the host does it: nothing is forgotten, nothing comes twice,
// and what came meanwhile is read when it is back.
func TestShareAway(t *testing.T) {
	for _, after := range []string{"move", "keep"} {
		inBubble(t, map[string]any{"after": after}, func(t *testing.T, r *rig) {
			r.write("a.xml", joiaXML("T-1"))
			r.write("b.xml", joiaXML("T-2"))
			r.run(3 * time.Second)
			r.write("c.xml", joiaXML("T-3")) // not settled when the share goes
			r.poll()
			away := r.dir + "-away"
			if err := os.Rename(r.dir, away); err != nil {
				t.Fatal(err)
			}
			for range 20 {
				time.Sleep(30 * time.Second)
				if _, err := r.d.Read(t.Context()); err == nil {
					t.Fatal("a share that is away is an empty one")
				}
				if err := r.open(); err == nil {
					t.Fatal("a share that is away can be opened")
				}
			}
			if err := os.WriteFile(filepath.Join(away, "d.xml"), []byte(joiaXML("T-4")), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(away, r.dir); err != nil {
				t.Fatal(err)
			}
			r.mustOpen().run(5 * time.Second)
			r.wantOnce(4)
		})
	}
}

// TestShareAwayInAck holds that a share which goes between reading and putting away costs no record and doubles none.
func TestShareAwayInAck(t *testing.T) {
	inBubble(t, map[string]any{"settle": "0s"}, func(t *testing.T, r *rig) {
		r.write("a.xml", joiaXML("T-1"))
		b := r.read()
		r.store(b)
		away := r.dir + "-away"
		if err := os.Rename(r.dir, away); err != nil {
			t.Fatal(err)
		}
		r.ack(b)
		if _, err := r.d.Read(t.Context()); err == nil || errors.Is(err, sdk.ErrSettings) {
			t.Errorf("%v", err)
		}
		if err := os.RemoveAll(r.dir); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(away, r.dir); err != nil {
			t.Fatal(err)
		}
		r.mustOpen().run(5 * time.Second)
		r.wantOnce(1)
		r.wantFiles("done/a.xml")
	})
}
