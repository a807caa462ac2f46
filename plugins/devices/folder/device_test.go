package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostd/hostd/core/sdk"
)

func inBubble(t *testing.T, settings map[string]any, f func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newRig(t, settings).mustOpen()) })
}

func TestSlowWriter(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		text := joiaXML("T-1")
		for n := 0; n < len(text); n += 20 { // a pause of 25 s is shorter than incomplete_wait
			r.write(secret+".xml", text[:n])
			r.run(time.Second)
		}
		r.write(secret+".xml", text[:300])
		r.run(25 * time.Second)
		r.wantOnce(0)
		r.write(secret+".xml", text)
		r.run(time.Second)
		r.wantOnce(0)
		r.run(time.Second)
		r.wantOnce(1)
		if r.exams()["T-1"] == nil {
			t.Error("half of the file was taken")
		}
		r.wantFiles("done/" + secret + ".xml")
	})
}

// TestChangedBeforeAck holds that only what was read is put away: whatever comes under the name before the Ack is read.
func TestChangedBeforeAck(t *testing.T) {
	for title, change := range map[string]func(r *rig, path string){
		"renamed over": func(r *rig, path string) {
			next := r.write("new.tmp", joiaXML("T-2"))
			if err := os.Rename(next, path); err != nil {
				r.t.Fatal(err)
			}
		},
		"written anew": func(r *rig, _ string) { r.write("LM.xml", joiaXML("T-2")) },
		"appended": func(r *rig, path string) {
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteString("<!-- T-2 -->")
			}
			if err = errors.Join(err, f.Close()); err != nil {
				r.t.Fatal(err)
			}
		},
	} {
		t.Run(title, func(t *testing.T) {
			inBubble(t, nil, func(t *testing.T, r *rig) {
				path := r.write("LM.xml", joiaXML("T-1"))
				time.Sleep(2 * time.Second)
				r.poll()
				time.Sleep(2 * time.Second)
				b := r.read()
				if len(b.Records) != 1 {
					t.Fatalf("%d records", len(b.Records))
				}
				change(r, path)
				r.store(b)
				r.ack(b)
				r.wantFiles("LM.xml")
				r.run(5 * time.Second)
				r.wantOnce(2)
				if len(r.of("T-2")) != 1 || !strings.Contains(r.content("done/LM.xml"), "T-2") {
					t.Error("the new content was not read, or not put away")
				}
				r.wantFiles("done/LM.xml")
			})
		})
	}
}

// TestTouchedBeforeAck holds that a file which got another time, as some shares give it late, is not imported again.
func TestTouchedBeforeAck(t *testing.T) {
	inBubble(t, map[string]any{"settle": "0s"}, func(t *testing.T, r *rig) {
		path := r.write("a.xml", joiaXML("T-1"))
		b := r.read()
		later := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
		if err := os.Chtimes(path, later, later); err != nil {
			t.Fatal(err)
		}
		r.store(b)
		r.ack(b)
		r.poll()
		r.wantOnce(1)
		r.wantFiles("done/a.xml")
	})
}

func TestChangedWhileRead(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		path := r.write("a.xml", joiaXML("T-1"))
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		r.write("a.xml", joiaXML("T-1")+"\n")
		if _, err := r.d.load(found{rel: "a.xml", stamp: stampOf(info)}); !errors.Is(err, errChanged) {
			t.Errorf("load: %v", err)
		}
	})
}

func TestSameContentTwice(t *testing.T) {
	for _, after := range []string{"move", "keep"} {
		inBubble(t, map[string]any{"after": after}, func(t *testing.T, r *rig) {
			r.write("a.xml", joiaXML("T-1"))
			r.write("b.xml", joiaXML("T-1"))
			r.run(5 * time.Second)
			r.wantOnce(1)
			r.write("c.xml", joiaXML("T-1"))
			r.run(5 * time.Second)
			if len(r.stored) != 1 {
				t.Errorf("%d records of one content", len(r.stored))
			}
			if after == "keep" {
				r.wantOnce(1)
				r.wantFiles("a.xml", "b.xml", "c.xml")
			} else {
				r.wantFiles("done/a.xml", "done/b.xml", "done/c.xml")
			}
		})
	}
}

// TestSameName holds that a name says nothing: a counter of the instrument that starts again, or one name for all.
func TestSameName(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		const n = 5
		for i := range n {
			r.write("LM.xml", joiaXML(fmt.Sprint(i)))
			r.run(3 * time.Second)
		}
		r.wantOnce(n)
		if got := r.files(); len(got) != n || got[n-1] != "done/LM.xml" {
			t.Errorf("%q", got)
		}
	})
}

func TestNameTaken(t *testing.T) {
	r := newRig(t, nil)
	now := time.Date(2025, 3, 24, 10, 2, 15, 0, time.Local)
	for _, want := range []string{"a.xml", "a.20250324-100215.xml", "a.20250324-100215.2.xml", "a.20250324-100215.3.xml"} {
		got, err := freeName(r.dir, "a.xml", now)
		if err != nil || filepath.Base(got) != want {
			t.Fatalf("%s, %v; want %s", filepath.Base(got), err, want)
		}
		r.write(want, "x")
	}
}

func TestRefuse(t *testing.T) {
	inBubble(t, map[string]any{"settle": "0s", "attachment_wait": "0s"}, func(t *testing.T, r *rig) {
		r.write("a.xml", nidekXML("T-1", "a.jpg"))
		r.write("a.jpg", "image")
		time.Sleep(time.Second)
		first := r.read()
		if len(first.Records) != 1 || len(first.Records[0].Attachments) != 1 {
			t.Fatalf("%+v", first)
		}
		if err := r.d.Refuse(t.Context(), first.Next, sdk.ReasonFull); err != nil {
			t.Fatal(err)
		}
		if left, err := os.ReadDir(r.d.env.StagingDir); err != nil || len(left) > 0 {
			t.Errorf("%d staged files are left, %v", len(left), err)
		}
		r.poll()
		r.wantOnce(0)
		r.wantFiles("a.jpg", "a.xml")
		r.run(refusePause)
		r.wantOnce(1)
		if r.order[0] != first.Records[0].ID || r.stored[r.order[0]].blobs["a.jpg"] != "image" {
			t.Error("another record, or without its image")
		}
		r.wantFiles("done/a.jpg", "done/a.xml")
	})
}

// TestRestart kills the device at each step of a batch. Each exam must be stored once, and put away in the end.
func TestRestart(t *testing.T) {
	for _, after := range []string{"move", "keep"} {
		for _, crash := range []string{"before the host stores", "before the Ack", "in the Ack", "after the Ack", "twice"} {
			t.Run(after+" "+crash, func(t *testing.T) {
				inBubble(t, map[string]any{"after": after}, func(t *testing.T, r *rig) { restart(t, r, after, crash) })
			})
		}
	}
}

func restart(t *testing.T, r *rig, after, crash string) {
	const files = 2*batchFiles + 5
	for i := range files {
		r.write(fmt.Sprintf("%03d.xml", i), joiaXML(fmt.Sprintf("T-%d", i)))
	}
	r.write("bad.xml", "<cut")
	time.Sleep(time.Minute)
	r.read() // sees them for the first time
	time.Sleep(2 * time.Second)
	for batches := 0; ; batches++ {
		b := r.read()
		if len(b.Records) == 0 {
			break
		}
		switch crash {
		case "before the host stores":
			if batches == 1 {
				r.mustOpen()
				r.read()
				time.Sleep(2 * time.Second)
				continue
			}
			r.store(b)
			r.ack(b)
			continue
		case "in the Ack": // as far as it comes with a context that ended
			r.store(b)
			dead, cancel := context.WithCancel(t.Context())
			cancel()
			if err := r.d.Ack(dead, b.Next); err != nil {
				t.Fatal(err)
			}
		case "after the Ack":
			r.store(b)
			r.ack(b)
		default:
			r.store(b)
		}
		if r.mustOpen(); crash == "twice" {
			r.mustOpen()
		}
		r.read()
		time.Sleep(2 * time.Second)
	}
	r.run(time.Minute)
	r.wantOnce(files + 1)
	left := r.files()
	for _, name := range left {
		if put := strings.HasPrefix(name, "done/") || strings.HasPrefix(name, "failed/"); put != (after == "move") {
			t.Errorf("%s is left", name)
		}
	}
	if after == "move" && len(left) != files+2 {
		t.Errorf("%d files", len(left))
	}
}

// TestRestartOldPosition is a power cut that takes back moves the disk had not written: the files are there again, and
// give the records they gave.
func TestRestartOldPosition(t *testing.T) {
	inBubble(t, map[string]any{"settle": "0s"}, func(t *testing.T, r *rig) {
		r.write("a.xml", joiaXML("T-1"))
		r.poll()
		r.write("a.xml", joiaXML("T-1"))
		r.pos = ""
		r.mustOpen().poll()
		if len(r.stored) != 1 || r.stored[r.order[0]].times != 2 {
			t.Errorf("%d records, sent %v", len(r.stored), r.order)
		}
	})
}

func TestForeignPosition(t *testing.T) {
	inBubble(t, map[string]any{"settle": "0s"}, func(t *testing.T, r *rig) {
		r.pos = "4711"
		r.write("a.xml", joiaXML("T-1"))
		r.mustOpen().poll()
		r.wantOnce(1)
		if !strings.Contains(r.log.String(), "position is not of this plugin") {
			t.Error("not said")
		}
	})
}

func TestUnreachable(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.write(secret+".xml", joiaXML("T-1"))
		r.poll()
		away := r.dir + "-away"
		if err := os.Rename(r.dir, away); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		if _, err := r.d.Read(t.Context()); err == nil || !strings.Contains(err.Error(), "check `dir`, the share and the network") {
			t.Errorf("read: %v", err)
		}
		if err := r.open(); err == nil || !strings.Contains(err.Error(), r.dir) {
			t.Errorf("open: %v", err)
		}
		if err := os.Rename(away, r.dir); err != nil {
			t.Fatal(err)
		}
		r.mustOpen().run(3 * time.Second)
		r.wantOnce(1)
		r.wantFiles("done/" + secret + ".xml")
	})
}

// TestLocked needs a file that its reader may not read.
func TestLocked(t *testing.T) {
	if runtime.GOOS == "windows" || os.Getuid() == 0 {
		t.Skip("root reads every file, and Windows has no such mode: run as another user")
	}
	inBubble(t, nil, func(t *testing.T, r *rig) {
		path := r.write(secret+".xml", joiaXML("T-1"))
		r.write("next.xml", joiaXML("T-2"))
		if err := os.Chmod(path, 0); err != nil {
			t.Fatal(err)
		}
		r.run(time.Minute)
		r.wantOnce(1)
		if n := strings.Count(r.log.String(), "files cannot be opened"); n != 1 {
			t.Errorf("said %d times", n)
		}
		r.wantFiles("done/next.xml", secret+".xml")
		if err := os.Chmod(path, 0o644); err != nil {
			t.Fatal(err)
		}
		r.run(3 * time.Second)
		r.wantOnce(2)
		r.wantFiles("done/next.xml", "done/"+secret+".xml")
	})
}

func TestKeep(t *testing.T) {
	inBubble(t, map[string]any{"after": "keep", "recursive": true}, func(t *testing.T, r *rig) {
		r.write("a.xml", joiaXML("T-1"))
		r.write("sub/b.xml", joiaXML("T-2"))
		r.write("bad.xml", "no xml")
		r.run(time.Minute)
		r.wantOnce(3)
		r.mustOpen().run(time.Minute)
		r.wantOnce(3)
		r.write("a.xml", joiaXML("T-3"))
		r.run(5 * time.Second)
		r.wantOnce(4)
		if err := os.Rename(filepath.Join(r.dir, "a.xml"), filepath.Join(r.dir, "c.xml")); err != nil {
			t.Fatal(err)
		}
		r.mustOpen().run(5 * time.Second)
		r.wantOnce(4)
		r.wantFiles("bad.xml", "c.xml", "sub/b.xml")
	})
}

func TestIgnoreExisting(t *testing.T) {
	inBubble(t, map[string]any{"existing": "ignore"}, func(t *testing.T, r *rig) {
		r.poll() // the very first scan sees an empty folder
		r.write("new.xml", joiaXML("T-0"))
		r.run(3 * time.Second)
		r.wantOnce(1)
	})
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, map[string]any{"existing": "ignore"})
		r.write("old.xml", joiaXML("T-1"))
		r.write("older.xml", joiaXML("T-2"))
		r.mustOpen()
		r.mustOpen().run(5 * time.Second)
		r.wantOnce(0)
		r.close()
		r.write("meanwhile.xml", joiaXML("T-4"))
		r.mustOpen().run(5 * time.Second)
		r.wantOnce(1)
		r.write("new.xml", joiaXML("T-3"))
		r.write("older.xml", joiaXML("T-2")+" ")
		r.run(5 * time.Second)
		r.mustOpen().run(5 * time.Second)
		r.wantOnce(3)
		r.wantFiles("done/meanwhile.xml", "done/new.xml", "done/older.xml", "old.xml")
	})
}

// TestMoveFails holds that a stored file which cannot be moved is neither read again nor forgotten, also by a restart.
func TestMoveFails(t *testing.T) {
	inBubble(t, map[string]any{"done_dir": "put"}, func(t *testing.T, r *rig) {
		wall := r.write("put", "a file where the folder should be")
		for i := range 2*retries + 5 {
			r.write(fmt.Sprintf("%s%d.xml", secret, i), joiaXML(fmt.Sprint(i)))
		}
		r.run(10 * time.Second)
		r.wantOnce(2*retries + 5)
		if n := strings.Count(r.log.String(), "cannot be moved"); n != 1 {
			t.Errorf("said %d times", n)
		}
		r.mustOpen().run(10 * time.Second)
		r.write(secret+"0.xml", joiaXML("new under an old name"))
		r.run(10 * time.Second)
		r.wantOnce(2*retries + 6)
		if err := os.Remove(wall); err != nil {
			t.Fatal(err)
		}
		r.run(10 * time.Second)
		r.mustOpen().run(10 * time.Second)
		r.wantOnce(2*retries + 6)
		for _, name := range r.files() {
			if !strings.HasPrefix(name, "put/") {
				t.Errorf("%s is left", name)
			}
		}
		if len(r.d.cat.entries)+len(r.d.moves)+len(r.d.seen) > 0 {
			t.Errorf("remembered: %d, %d, %d", len(r.d.cat.entries), len(r.d.moves), len(r.d.seen))
		}
	})
}

// TestManyFiles imports a folder of many files, and looks that nothing of them stays in memory.
func TestManyFiles(t *testing.T) {
	files := 5000
	if testing.Short() {
		files = 500
	}
	inBubble(t, map[string]any{"settle": "1s"}, func(t *testing.T, r *rig) {
		for i := range files {
			r.write(fmt.Sprintf("%05d.xml", i), joiaXML(fmt.Sprint(i)))
		}
		r.run(2 * time.Second)
		r.wantOnce(files)
		if len(r.d.seen)+len(r.d.stored)+len(r.d.queue)+len(r.d.cat.entries) > 0 {
			t.Errorf("remembered: %d %d %d %d", len(r.d.seen), len(r.d.stored), len(r.d.queue), len(r.d.cat.entries))
		}
		for i := 1; i < len(r.order); i++ {
			if a, b := r.stored[r.order[i-1]], r.stored[r.order[i]]; a.ID == b.ID {
				t.Fatal("twice")
			}
		}
	})
}

// TestCause holds that no name of a file comes out with an error of the system.
func TestCause(t *testing.T) {
	r := newRig(t, nil)
	there := r.write(secret, "")
	_, open := os.Open(there + "x")
	for _, err := range []error{open, os.Rename(there+"x", there+"y"), fmt.Errorf("wrapped: %w", open), errors.Join(open, open)} {
		if got := sdk.Cause(err); !errors.Is(got, fs.ErrNotExist) || strings.Contains(got.Error(), secret) {
			t.Errorf("%v", got)
		}
	}
	for _, err := range []error{unreachable("D", open), unreachable("D", fs.ErrPermission), unreachable("D", &fs.PathError{Op: "x", Path: secret, Err: fs.ErrInvalid})} {
		if !strings.Contains(err.Error(), "check") || strings.Contains(err.Error(), secret) {
			t.Errorf("%v", err)
		}
	}
}

func TestOtherVolume(t *testing.T) {
	r := newRig(t, nil)
	from, to := r.write("a.xml", "one"), filepath.Join(r.root, "state", "a.xml")
	info, err := os.Lstat(from)
	if err != nil {
		t.Fatal(err)
	}
	st := stampOf(info)
	if err := copyAway(from, to, st); err != nil {
		t.Fatal(err)
	}
	r.wantFiles()
	if text, err := os.ReadFile(to); err != nil || string(text) != "one" {
		t.Errorf("%q, %v", text, err)
	}
	r.write("a.xml", "another")
	if err := copyAway(from, to+"2", st); !errors.Is(err, errChanged) {
		t.Errorf("a file that changed: %v", err)
	}
	r.wantFiles("a.xml")
	if err := undoIfChanged(from+".away", from, st); !errors.Is(err, errChanged) {
		t.Errorf("undo: %v", err)
	}
	r.wantFiles("a.xml.away")
}
