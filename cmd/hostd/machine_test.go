package main_test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// TestCheckLooksAtTheMachine: what run would not find is exit code 3 with a sentence each, of check and of run, and a host that
// runs already is a note.
func TestCheckLooksAtTheMachine(t *testing.T) {
	t.Parallel()
	c := newClinic(t, fmt.Sprintf(operateConfig, ""))
	c.write("log", "a file in the place of the folder")
	l, err := net.Listen("tcp", c.addr)
	if err != nil {
		t.Fatal(err)
	}
	out, errs, code := c.hostd("check")
	if code != 3 || out != "" || !strings.Contains(errs, "hostd: log file cannot be written") || !strings.Contains(errs, "\nhostd: open admin page: ") {
		t.Errorf("check: exit %d\n%s%s", code, out, errs)
	}
	var answer struct {
		OK          bool     `json:"ok"`
		Environment []string `json:"environment"`
		Notes       []string `json:"notes"`
	}
	out, _, code = c.hostd("check", "--json")
	if err := json.Unmarshal([]byte(out), &answer); err != nil || code != 3 || answer.OK || len(answer.Environment) != 2 {
		t.Errorf("check --json: exit %d, %v\n%s", code, err, out)
	}
	if _, errs, code := c.hostd("run"); code != 3 || !strings.Contains(errs, "hostd: "+answer.Environment[0]) {
		t.Errorf("run: exit %d\n%s", code, errs)
	}
	if err := os.Remove(c.path("log")); err != nil {
		t.Fatal(err)
	}
	if _, errs, code := c.hostd("run"); code != 3 || !strings.Contains(errs, "hostd: "+answer.Environment[1]) {
		t.Errorf("run, its port in use: exit %d\n%s", code, errs)
	}
	l.Close()
	c.start()
	out, errs, code = c.hostd("check")
	if code != 0 || !strings.HasPrefix(out, "ok: ") || !strings.Contains(errs, "runs with data_dir") {
		t.Errorf("check beside a host: exit %d\n%s%s", code, out, errs)
	}
	c.stop()
}

// TestVerifyBesideARunningHost: nothing is wrong while it works; a byte of what it has published is named with its place and is
// exit code 1, also in the file that it writes to.
func TestVerifyBesideARunningHost(t *testing.T) {
	t.Parallel()
	c := newClinic(t, strings.Replace(fmt.Sprintf(operateConfig, ""), "count: 200", "count: 100000, rate: 50", 1))
	c.start()
	for range 10 {
		c.must("spool", "verify")
	}
	list := c.below("data/spool", "*.seg")
	newest := slices.Max(list)
	f, err := os.OpenFile(c.path("data/spool/"+newest), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	const at = 100 // in the second copy of its head
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	out, errs, code := c.hostd("spool", "verify")
	if code != 1 || !strings.Contains(out, "\ndamaged: "+newest+" at offset ") || !strings.Contains(errs, "damaged") {
		t.Errorf("verify: exit %d\n%s%s", code, out, errs)
	}
	if list = c.below("data/spool", "*.seg"); slices.Max(list) != newest {
		t.Error("another file was begun: this proves nothing of the newest")
	}
	c.stop()
}

// TestADeletedFileIsAnAlarm of a real host, and verify says it when the host is gone.
func TestADeletedFileIsAnAlarm(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("an open file cannot be deleted there")
	}
	t.Parallel()
	c := newClinic(t, strings.Replace(fmt.Sprintf(operateConfig, ""), "count: 200", "count: 4000", 1))
	c.start()
	c.until("some files", func(s status) bool { return sink(s, "emr").Delivered == 4000 })
	list := c.below("data/spool", "*.seg")
	slices.Sort(list)
	if len(list) < 3 {
		t.Fatalf("only %q", list)
	}
	if err := os.Remove(c.path("data/spool/" + list[1])); err != nil {
		t.Fatal(err)
	}
	s := c.until("the alarm", func(s status) bool { return strings.Contains(fmt.Sprint(s.Alarms), "spool_file_missing") })
	if !strings.Contains(fmt.Sprint(s.Alarms), list[1]) {
		t.Errorf("the alarm does not name %s: %+v", list[1], s.Alarms)
	}
	c.stop()
	number, _, _ := strings.Cut(filepath.Base(list[1]), "-")
	if out, _, code := c.hostd("spool", "verify"); code != 1 || !strings.Contains(out, "missing: "+number) {
		t.Errorf("verify: exit %d\n%s", code, out)
	}
}

// TestSpoolKey makes a key that can be used; a file that Windows protects is refused elsewhere, in words.
func TestSpoolKey(t *testing.T) {
	t.Parallel()
	c := newClinic(t, "")
	key := strings.TrimSpace(c.must("spool", "key"))
	if other := strings.TrimSpace(c.must("spool", "key")); len(key) != 44 || key == other {
		t.Errorf("%q, %q", key, other)
	}
	for _, wrong := range [][]string{{"--from", "x"}, {"--user"}} {
		if _, errs, code := c.hostd(append([]string{"spool", "key"}, wrong...)...); code != 2 || !strings.Contains(errs, "--dpapi") {
			t.Errorf("%q: exit %d\n%s", wrong, code, errs)
		}
	}
	if runtime.GOOS != "windows" {
		if out, errs, code := c.hostd("spool", "key", "--dpapi", "spool.key"); code != 3 || out != "" || !strings.Contains(errs, "works only on Windows") {
			t.Errorf("--dpapi: exit %d\n%s%s", code, out, errs)
		}
		if _, err := os.Stat(c.path("spool.key")); err == nil {
			t.Error("a file was made")
		}
		return
	}
	out := c.must("spool", "key", "--dpapi", "spool.key")
	made := c.read("spool.key")
	copied := strings.TrimSpace(out[strings.LastIndex(strings.TrimSpace(out), "\n")+1:])
	if strings.Contains(made, copied) || len(copied) != 44 {
		t.Errorf("the file or the copy is wrong:\n%s", out)
	}
	if _, errs, code := c.hostd("spool", "key", "--dpapi", "spool.key"); code != 3 || c.read("spool.key") != made {
		t.Errorf("over a file that is there: exit %d\n%s", code, errs)
	}
	c.write("copy.txt", copied+"\r\n")
	c.must("spool", "key", "--dpapi", "again.key", "--from", "copy.txt", "--user")
	c.write("empty.txt", "")
	if _, errs, code := c.hostd("spool", "key", "--dpapi", "none.key", "--from", "empty.txt"); code != 1 || !strings.Contains(errs, "32 bytes") {
		t.Errorf("from a file without a key: exit %d\n%s", code, errs)
	}
}
