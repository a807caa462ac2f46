package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostd/hostd/core/protocols/nidekrs"
	"github.com/hostd/hostd/core/sdk/exam"
)

// prescription writes an exam's file into dir, and gives the frame that it should become.
func prescription(t *testing.T, dir, name, patient string) string {
	t.Helper()
	e := &exam.Exam{Patient: exam.Patient{ID: patient}, Observations: []exam.Observation{
		{Code: exam.CodeSphere, Eye: exam.Right, Value: exam.Number(-1.5), Unit: exam.UnitDioptre, Method: exam.MethodAutoref},
	}}
	text, err := exam.Encode(e)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name), text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	frame, _ := nidekrs.Preset(e, nidekrs.Manual)
	return string(frame)
}

// TestPresets sends each exam of the folder once: when the refractor says that it is ready, after a pause, or at once.
func TestPresets(t *testing.T) {
	const ready = "\x01CRL\x02SD\x17\x04"
	for _, c := range []struct {
		mode     string
		answers  bool
		asks     int
		complete time.Duration
	}{
		{"wait", true, 1, 3 * time.Second},
		{"wait", false, 4, 0},
		{"pause", false, 1, 3 * time.Second},
		{"pause", true, 1, 3 * time.Second},
		{"direct", false, 0, time.Second},
	} {
		dir := t.TempDir()
		inBubble(t, map[string]any{"profile": "rt-type1", "preset_dir": dir, "preset_mode": c.mode}, func(t *testing.T, r *rig) {
			frame := prescription(t, dir, "a.json", "S-000001")
			heard, began, took := "", time.Now(), time.Duration(0) // took is told at the end of a read
			for time.Since(began) < 35*time.Second {
				if r.read(1500*time.Millisecond) != nil {
					t.Fatal("a record")
				}
				synctest.Wait()
				said := r.said()
				if heard += said; strings.HasSuffix(heard, frame) && took == 0 {
					took = time.Since(began).Truncate(time.Second)
				}
				if c.answers && said == request {
					r.say(ready)
				}
			}
			want := strings.Repeat(request, c.asks)
			if c.complete > 0 {
				want += frame
			}
			if heard != want || took != c.complete {
				t.Errorf("%s: the refractor hears %q after %v, want %q after %v", c.mode, heard, took, want, c.complete)
			}
			_, err := os.Stat(filepath.Join(dir, "done", "a.json"))
			if sent := err == nil; sent != (c.complete > 0) {
				t.Errorf("%s: in done: %v", c.mode, sent)
			}
			if strings.Contains(r.log.String(), "a.json") || strings.Contains(r.log.String(), "S-000001") {
				t.Error("the log names a file, which may be named after a patient")
			}
		})
	}
}

// TestPresetsBesideExams: a refractor's exam comes while it is asked, and a file that is no exam is put away.
func TestPresetsBesideExams(t *testing.T) {
	dir := t.TempDir()
	inBubble(t, map[string]any{"profile": "rt-type1", "preset_dir": dir, "preset_mode": "direct"}, func(t *testing.T, r *rig) {
		if err := os.WriteFile(filepath.Join(dir, "0.json"), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		a, b := prescription(t, dir, "1.json", "S-000001"), prescription(t, dir, "2.JSON", "S-000002")
		prescription(t, dir, "3.json", "S-is-much-too-long")
		r.say(frames("rt-type1", 1)[0])
		r.take(1, time.Second)
		r.take(2, 10*time.Second)
		if synctest.Wait(); r.said() != a+b || r.words() != "exam K-000001" {
			t.Errorf("%s", r.words())
		}
		if strings.Contains(strings.ToLower(r.log.String()), ".json") || !strings.Contains(r.log.String(), "12 ASCII characters") {
			t.Errorf("the log names a file, or not what is wrong:\n%s", r.log.String())
		}
		for _, name := range []string{"failed/0.json", "done/1.json", "done/2.JSON", "failed/3.json"} {
			if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestPresetsFromAFolderThatIsGone reads exams all the same, says so once, and goes on when it is back.
func TestPresetsFromAFolderThatIsGone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "share")
	inBubble(t, map[string]any{"profile": "rt-type1", "preset_dir": dir, "preset_mode": "direct"}, func(t *testing.T, r *rig) {
		r.take(1, 5*time.Second)
		r.say(frames("rt-type1", 1)[0])
		r.take(1, time.Second)
		if err := os.MkdirAll(filepath.Join(dir, "done"), 0o700); err != nil {
			t.Fatal(err)
		}
		a := prescription(t, dir, "a.json", "S-000001")
		r.take(2, 5*time.Second)
		if synctest.Wait(); r.said() != a || r.words() != "exam K-000001" || strings.Count(r.log.String(), "preset_dir cannot be read") != 1 {
			t.Errorf("%s\n%s", r.words(), r.log.String())
		}
		if err := os.WriteFile(filepath.Join(dir, "failed"), nil, 0o600); err != nil { // so that there can be no such folder
			t.Fatal(err)
		}
		prescription(t, dir, "b.json", "S-is-much-too-long")
		c := prescription(t, dir, "c.json", "S-000003")
		r.take(2, 5*time.Second)
		if synctest.Wait(); r.said() != "" || strings.Count(r.log.String(), "cannot be moved to failed") != 1 {
			t.Errorf("one is sent behind one that cannot be moved, or the log says it again:\n%s", r.log.String())
		}
		if err := os.Remove(filepath.Join(dir, "failed")); err != nil {
			t.Fatal(err)
		}
		r.take(2, 5*time.Second)
		if synctest.Wait(); r.said() != c {
			t.Error("nothing is sent when it can be moved again")
		}
		if err := os.Remove(filepath.Join(dir, "failed", "b.json")); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Remove(filepath.Join(dir, "failed")), os.WriteFile(filepath.Join(dir, "failed"), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		prescription(t, dir, "d.json", "S-is-much-too-long")
		e := prescription(t, dir, "e.json", "S-000005")
		r.take(2, 5*time.Second)
		if synctest.Wait(); r.said() != "" {
			t.Error("one is sent behind one that cannot be moved")
		}
		if err := os.Remove(filepath.Join(dir, "d.json")); err != nil {
			t.Fatal(err)
		}
		r.take(2, 5*time.Second)
		if synctest.Wait(); r.said() != e {
			t.Error("nothing is sent when somebody has taken the file that could not be moved")
		}
	})
}
