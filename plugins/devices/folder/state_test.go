package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/hostd/hostd/core/protocols/examtest"
	"github.com/hostd/hostd/core/sdk"
)

func testEntry(n int) entry {
	return entry{path: pathKey(fmt.Sprint(n)), stamp: stamp{size: int64(n), mtime: -int64(n)}, key: key{byte(n)}, mask: uint64(n), ignored: n%2 == 0}
}

func same(c *catalogue, e entry) bool {
	got, ok := c.entries[e.path]
	return ok && got.stamp == e.stamp && got.ignored == e.ignored && (e.ignored || got.key == e.key && got.mask == e.mask)
}

func openAt(t *testing.T, dir string) *catalogue {
	t.Helper()
	c, err := openCatalogue(dir)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCatalogue(t *testing.T) {
	dir := t.TempDir()
	c := openAt(t, dir)
	for i := range 10 {
		c.put(testEntry(i))
	}
	c.setBaseline()
	if err := c.sync(); err != nil {
		t.Fatal(err)
	}
	c.drop(testEntry(3).path)
	c.put(testEntry(20))
	// No close: a crash after a sync and changes that were not.
	if err := c.sync(); err != nil {
		t.Fatal(err)
	}
	c.put(testEntry(21))
	if err := c.file.Close(); err != nil { // as the system does with what was killed
		t.Fatal(err)
	}
	again := openAt(t, dir)
	if len(again.entries) != 10 || !again.baseline || !same(again, testEntry(20)) || !same(again, testEntry(9)) || !same(again, testEntry(4)) {
		t.Errorf("%d entries", len(again.entries))
	}
	again.put(testEntry(22))
	if err := again.close(); err != nil {
		t.Fatal(err)
	}
	if last := openAt(t, dir); len(last.entries) != 11 || last.close() != nil {
		t.Error("close does not save")
	}
}

// TestCatalogueDamaged holds that damage costs only the lines that it hit.
func TestCatalogueDamaged(t *testing.T) {
	dir := t.TempDir()
	c := openAt(t, dir)
	for i := range 5 {
		c.put(testEntry(i))
	}
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(c.path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(text) {
		seventh := testEntry(7)
		spoilt := append(slices.Clone(text[:cut]), seventh.appendLine([]byte("\n"))...)
		again := &catalogue{entries: map[key]entry{}}
		if clean, err := again.load(bytes.NewReader(spoilt)); err != nil || clean && cut > 0 && text[cut-1] != '\n' && text[cut] != '\n' {
			t.Fatalf("cut at %d: clean %v, %v", cut, clean, err)
		}
		if n := bytes.Count(text[:cut], []byte("\n")); len(again.entries) < n || !same(again, testEntry(7)) {
			t.Fatalf("cut at %d: %d entries, want %d or more", cut, len(again.entries), n)
		}
	}
}

// TestCatalogueForgets is of files that vanish, and of a file that grows by changes alone.
func TestCatalogueForgets(t *testing.T) {
	dir := t.TempDir()
	c := openAt(t, dir)
	now := time.Now()
	scan := func(see bool) {
		c.begin()
		if see {
			c.get("7")
		}
		c.endScan(now)
	}
	c.begin()
	c.put(testEntry(7))
	c.endScan(now)
	scan(false)
	now = now.Add(goneFor)
	scan(false)
	scan(true)
	now = now.Add(time.Hour)
	scan(false)
	if len(c.entries) != 1 {
		t.Fatal("forgotten too soon")
	}
	now = now.Add(goneFor + time.Hour)
	scan(false)
	if len(c.entries) != 0 {
		t.Error("never forgotten")
	}
	for i := range 3 * deadBefore {
		e := testEntry(1)
		e.size = int64(i)
		c.put(e)
		if i%1000 == 0 {
			if err := c.sync(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(c.path); err != nil || info.Size() > 2*deadBefore*100 {
		t.Errorf("%d bytes for one file, %v", info.Size(), err)
	}
}

// TestCatalogueUnsaved holds that a disk that fails loses no line: it is written with the next change.
func TestCatalogueUnsaved(t *testing.T) {
	dir := t.TempDir()
	c := openAt(t, dir)
	if err := c.file.Close(); err != nil {
		t.Fatal(err)
	}
	c.put(testEntry(1))
	if err := c.sync(); !errors.Is(err, os.ErrClosed) {
		t.Fatalf("sync: %v", err)
	}
	c.file = nil
	c.put(testEntry(3))
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	if again := openAt(t, dir); !same(again, testEntry(1)) || !same(again, testEntry(3)) || again.close() != nil {
		t.Error("lost")
	}
}

// TestCatalogueLarge holds that the lines of a large folder are not gathered in memory, and that a file which is as it should be is
// not written anew at each start.
func TestCatalogueLarge(t *testing.T) {
	dir := t.TempDir()
	c := openAt(t, dir)
	const files = 20_000
	most := 0
	for i := range files {
		e := testEntry(i)
		e.key = pathKey(fmt.Sprint(i))
		c.put(e)
		most = max(most, len(c.unsaved))
	}
	c.setBaseline()
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	if most > 300<<10 {
		t.Errorf("%d bytes wait to be written", most)
	}
	before, err := os.Stat(c.path)
	if err != nil {
		t.Fatal(err)
	}
	again := openAt(t, dir)
	after, err := os.Stat(c.path)
	if err != nil || !os.SameFile(before, after) || len(again.entries) != files || !again.baseline {
		t.Errorf("%d entries, the same file: %v, %v", len(again.entries), os.SameFile(before, after), err)
	}
	again.drop(testEntry(3).path)
	if err := again.close(); err != nil {
		t.Fatal(err)
	}
	last := openAt(t, dir)
	if after, err = os.Stat(c.path); err != nil || os.SameFile(before, after) || len(last.entries) != files-1 {
		t.Errorf("%d entries, the same file: %v, %v", len(last.entries), os.SameFile(before, after), err)
	}
	if err := last.close(); err != nil {
		t.Fatal(err)
	}
}

func TestPosition(t *testing.T) {
	b := &batch{}
	for i := range batchFiles - 1 {
		b.works = append(b.works, &work{key: key{byte(i)}, mask: 1<<64 - 1})
	}
	b.amended = append(b.amended, &work{key: key{99}})
	p := b.position()
	list, ok := parsePosition(p)
	if !ok || len(list) != batchFiles || list[1] != (storedKey{key{1}, 1<<64 - 1}) || list[batchFiles-1] != (storedKey{key: key{99}}) {
		t.Errorf("%v, %v", list, ok)
	}
	if len(p) > sdk.MaxPosition {
		t.Errorf("%d bytes", len(p))
	}
	if list, ok := parsePosition((&batch{}).position()); !ok || len(list) > 0 {
		t.Errorf("in the middle of a file: %v, %v", list, ok)
	}
	for _, foreign := range []sdk.Position{"x", "f1", "f2 " + p[3:], p + ",", p + ":", p + ":zz", p[:len(p)-1]} {
		if _, ok := parsePosition(foreign); ok {
			t.Errorf("%q is a position", foreign)
		}
	}
}

func FuzzPosition(f *testing.F) {
	f.Add("f1 00112233445566778899aabbccddeeff:ff,00112233445566778899aabbccddeeff")
	f.Fuzz(func(t *testing.T, text string) {
		var list []storedKey
		limit := examtest.MaxAlloc(len(text))
		if n := examtest.Allocated(limit, func() { list, _ = parsePosition(sdk.Position(text)) }); n > limit {
			t.Fatalf("%d bytes allocated for %d bytes", n, len(text))
		}
		b := &batch{}
		for _, s := range list {
			b.works = append(b.works, &work{key: s.key, mask: s.mask})
		}
		if again, ok := parsePosition(b.position()); len(list) > 0 && (!ok || !slices.Equal(list, again)) {
			t.Fatalf("%v became %v", list, again)
		}
	})
}

func FuzzCatalogue(f *testing.F) {
	text := []byte(catalogueHead + "\nb\n")
	for i := range 4 {
		e := testEntry(i)
		text = e.appendLine(text)
	}
	f.Add(append(text, "- 00112233445566778899aabbccddeeff\n"...))
	f.Fuzz(func(t *testing.T, text []byte) {
		limit := examtest.MaxAlloc(len(text))
		var c *catalogue
		n := examtest.Allocated(limit, func() {
			c = &catalogue{entries: map[key]entry{}}
			if _, err := c.load(bytes.NewReader(text)); err != nil {
				t.Fatal(err)
			}
		})
		if n > limit {
			t.Fatalf("%d bytes allocated for %d bytes", n, len(text))
		}
		again := &catalogue{entries: map[key]entry{}}
		for _, e := range c.entries {
			if _, err := again.load(bytes.NewReader(e.appendLine(nil))); err != nil || !same(again, e) {
				t.Fatalf("%+v is not written as it was read", e)
			}
		}
	})
}

func FuzzLate(f *testing.F) {
	head, err := json.Marshal(&lateExam{Rel: "a/b.xml", Names: []string{"a.jpg", "김.jpg"}, Mask: 2, Since: time.Unix(1e9, 0).UTC()})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(head)
	f.Fuzz(func(t *testing.T, head []byte) {
		var item *lateExam
		limit := examtest.MaxAlloc(len(head))
		if n := examtest.Allocated(limit, func() { item = parseLate(head) }); n > limit {
			t.Fatalf("%d bytes allocated for %d bytes", n, len(head))
		}
		if item != nil && (len(item.Names) > maxNames || !filepath.IsLocal(item.Rel)) {
			t.Fatalf("%+v", item)
		}
	})
}

// TestGather holds that many events wake the device once, and that it is woken when ring asked for it.
func TestGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var woken []time.Duration
		start := time.Now()
		d := &folder{alarm: make(chan time.Duration, 1)}
		d.env.Wake = func() { woken = append(woken, time.Since(start)) }
		events, faults, done := make(chan fsnotify.Event), make(chan error), make(chan error)
		go func() { done <- d.gather(ctx, events, faults) }()
		for range 20 {
			events <- fsnotify.Event{Op: fsnotify.Write}
		}
		events <- fsnotify.Event{Op: fsnotify.Remove}
		time.Sleep(time.Minute)
		d.alarm <- time.Hour
		synctest.Wait()
		d.alarm <- time.Second // sooner wins
		time.Sleep(time.Minute)
		faults <- fsnotify.ErrEventOverflow
		close(events)
		close(faults)
		time.Sleep(2 * time.Hour)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		want := []time.Duration{quiet, time.Minute + time.Second, 2*time.Minute + quiet}
		if !slices.Equal(woken, want) {
			t.Errorf("woken at %v, want %v", woken, want)
		}
	})
}

// TestWatch is of the real file system, which wakes the device; a file that is found by the scan alone is read, too.
func TestWatch(t *testing.T) {
	r := newRig(t, nil).mustOpen()
	w, err := fsnotify.NewWatcher()
	if err != nil {
		t.Skipf("no events here: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	woken := make(chan struct{}, 1)
	r.d.env.Wake = func() {
		select {
		case woken <- struct{}{}:
		default:
		}
	}
	events, faults, stop := r.d.events()
	defer stop()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.d.gather(ctx, events, faults) }()
	r.write("a.xml", joiaXML("T-1"))
	<-woken
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestRing holds that Read asks to be woken when a file will have settled.
func TestRing(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.write("a.xml", joiaXML("T-1"))
		r.poll()
		if in := <-r.d.alarm; in != 2*time.Second {
			t.Errorf("in %v", in)
		}
		time.Sleep(2 * time.Second)
		r.poll()
		r.wantOnce(1)
		r.write("b.xml", "<cut")
		r.poll()
		time.Sleep(2 * time.Second)
		r.poll()
		if in := <-r.d.alarm; in != 28*time.Second {
			t.Errorf("an unfinished file: in %v", in)
		}
	})
}

// TestVanish is of files that somebody takes away between a scan and the reading.
func TestVanish(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		path := r.write("a.xml", joiaXML("T-1"))
		r.write("b.xml", strings.Repeat(" ", 10)+"<half")
		r.poll()
		time.Sleep(2 * time.Second)
		if err := r.d.scan(t.Context()); err != nil || len(r.d.queue) != 2 {
			t.Fatalf("%d queued, %v", len(r.d.queue), err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		r.poll()
		r.wantOnce(0)
		if len(r.d.seen) != 1 {
			t.Errorf("%d files are waited for", len(r.d.seen))
		}
	})
}
