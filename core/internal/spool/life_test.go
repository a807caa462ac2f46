package spool

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestSettleMarksAreDurableWithoutIntake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newMemDisk()
		s := start(t, "data/spool", Options{disk: d.disk()})
		id := s.sink(t, "emr")
		if err := s.put(batch("d", 1, "1", "2", "3")); err != nil {
			t.Fatal(err)
		}
		if err := s.Settle(id, 2, 2, 0); err != nil {
			t.Fatal(err)
		}
		before := d.crash(nil, true)
		time.Sleep(50*time.Millisecond + 1) // of the bubble's clock: Options.Flush
		synctest.Wait()
		for _, c := range []struct {
			d    *memDisk
			want []string
		}{{before, []string{"1", "2", "3"}}, {d.crash(nil, true), []string{"3"}}} {
			after, err := Open("data/spool", Options{disk: c.d.disk()})
			if err != nil {
				t.Fatal(err)
			}
			same(t, payloads(drain(t, after, id)), c.want)
		}
		ops := d.ops
		time.Sleep(time.Hour)
		synctest.Wait()
		if d.ops != ops {
			t.Fatalf("%d operations of an idle spool", d.ops-ops)
		}
		s.stop()
	})
}

func TestRestartsLeaveNothingBehind(t *testing.T) {
	dir := t.TempDir()
	const restarts = 60
	want := []string{}
	goroutines, files := 0, 0
	for i := range restarts {
		s, err := tryStart(dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		id := s.sink(t, "emr")
		want = append(want, fmt.Sprint(i))
		if err := s.put(batch("d", 1, want[len(want)-1])); err != nil {
			t.Fatal(err)
		}
		refs := drain(t, s.Spool, id)
		same(t, payloads(refs), want)
		if i%3 == 2 {
			if err := s.Settle(id, refs[1].Seq, 2, 0); err != nil {
				t.Fatal(err)
			}
			want = want[2:]
		}
		s.stop()
		if i == 5 {
			goroutines, files = runtime.NumGoroutine(), openFiles()
		}
	}
	// A goroutine that was joined may still be on its way out; one that leaked stays.
	for end := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		g, f := runtime.NumGoroutine(), openFiles()
		if g <= goroutines && f <= files {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, were %d; %d files, were %d", g, goroutines, f, files)
		}
	}
}

// openFiles counts this process's descriptors where the system tells them.
func openFiles() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	n := 0
	for _, e := range entries {
		if to, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(to, "/") {
			n++
		}
	}
	return n
}

func TestBacklogIsRightAfterDamage(t *testing.T) {
	d, l, path := small(t, 5)
	f := d.names[path]
	c := scanner{src: memHandle{d, f}, end: int64(len(f.data))}
	_, c.salt, _ = parseSegmentName(path[len("data/spool/"):])
	for { // damage the payload of the first record
		fr, ok, err := c.next()
		if err != nil || !ok {
			t.Fatal("no record")
		}
		if fr.kind == kindRecord {
			f.data[fr.off+headerSize] ^= 1
			break
		}
	}
	s, err := Open("data/spool", Options{disk: d.disk()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	refs := drain(t, s, 0)
	if len(refs) != len(l.acked)-1 {
		t.Fatalf("%d records of %d", len(refs), len(l.acked))
	}
	if err := s.Settle(0, refs[len(refs)-1].Seq, len(refs), 0); err != nil {
		t.Fatal(err)
	}
	if st := s.Stats(); st.Sinks[0].Backlog != 0 || st.Quarantined != 1 {
		t.Fatalf("stats %+v", st)
	}
}
