package pluginstore

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hostd/hostd/core/sdk"
)

// bench is a store with its folders.
type bench struct {
	t   *testing.T
	opt Options
	*Store
}

func newBench(t *testing.T, trust Trust) *bench {
	t.Helper()
	dir := t.TempDir()
	b := &bench{t: t, opt: Options{Inbox: filepath.Join(dir, "in"), Dir: filepath.Join(dir, "store"), Trust: trust}}
	if err := os.Mkdir(b.opt.Inbox, 0o700); err != nil {
		t.Fatal(err)
	}
	b.open()
	return b
}

func (b *bench) open() {
	b.t.Helper()
	s, err := Open(b.opt)
	if err != nil {
		b.t.Fatal(err)
	}
	b.Store = s
}

// drop puts a file into the plugin folder; each content has a time of its own.
func (b *bench) drop(name, text string) {
	b.t.Helper()
	file := filepath.Join(b.opt.Inbox, name+extension())
	at := time.Unix(1_700_000_000+int64(len(text)), 0)
	if err := errors.Join(os.WriteFile(file, []byte(text), 0o700), os.Chtimes(file, at, at)); err != nil {
		b.t.Fatal(err)
	}
}

func manifest(version string) sdk.Manifest {
	return sdk.Manifest{Name: "nidek", Version: version, Role: sdk.RoleDevice}
}

// take takes the plugin nidek and makes it the one that runs.
func (b *bench) take(version string) Look {
	b.t.Helper()
	path, look, err := b.Take("nidek")
	if err == nil {
		err = b.Accept("nidek", look.SHA256, manifest(version))
	}
	if err != nil {
		b.t.Fatal(err)
	}
	if got, err := b.Program("nidek"); err != nil || got != path {
		b.t.Fatalf("program %s, %v, want %s", got, err, path)
	}
	return look
}

func (b *bench) runs() string {
	b.t.Helper()
	path, err := b.Program("nidek")
	if err != nil {
		return err.Error()
	}
	text, err := os.ReadFile(path)
	if err != nil {
		b.t.Fatal(err)
	}
	return string(text)
}

func TestFileIsTakenWhenTwoLooksHaveSeenTheSame(t *testing.T) {
	b := newBench(t, Trust{Mode: Folder})
	scan := func(settled bool) string {
		names, err := b.Scan(settled)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(names, " ")
	}
	b.drop("nidek", "ha")
	for _, name := range []string{"hostd", "hostd-kit", "Read Me", "nidek.yaml", "nidek.sig"} {
		if err := os.WriteFile(filepath.Join(b.opt.Inbox, name+extension()), []byte("x"), 0o600); err != nil && name != "nidek.yaml" {
			t.Fatal(err)
		}
	}
	if got := scan(false); got != "" {
		t.Errorf("after one look: %q", got)
	}
	b.drop("nidek", "half")
	if got := scan(false); got != "" {
		t.Errorf("while it grows: %q", got)
	}
	if got := scan(false); got != "nidek" {
		t.Errorf("when it rests: %q", got)
	}
	b.take("1.0.0")
	if got := scan(false) + scan(true); got != "" {
		t.Errorf("when it was taken: %q", got)
	}
	b.open()
	if got := scan(true); got != "" {
		t.Errorf("after a restart: %q", got)
	}
	b.drop("nidek", "another one")
	if got := scan(true); got != "nidek" {
		t.Errorf("another file, at the start: %q", got)
	}
}

func TestCopyRunsWhateverBecomesOfTheFile(t *testing.T) {
	b := newBench(t, Trust{Mode: Folder})
	b.drop("nidek", "one")
	b.take("1.0.0")
	file := filepath.Join(b.opt.Inbox, "nidek"+extension())
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString("two")
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	if got := b.runs(); got != "one" {
		t.Errorf("after the file was written over it runs %q", got)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if names, err := b.Scan(true); err != nil || len(names) > 0 {
		t.Errorf("a file that is gone: %v, %v", names, err)
	}
	b.open()
	if got := b.runs(); got != "one" {
		t.Errorf("after the file was deleted it runs %q", got)
	}
}

func TestWayBack(t *testing.T) {
	b := newBench(t, Trust{Mode: Folder})
	var sums []string
	for n := range 4 {
		b.drop("nidek", strings.Repeat("x", n+1))
		sums = append(sums, b.take(fmt.Sprintf("1.0.%d", n)).SHA256)
	}
	b.Sweep()
	for n, sum := range sums {
		_, err := os.Stat(b.binary("nidek", sum))
		if there := err == nil; there != (n >= 2) {
			t.Errorf("version %d is kept: %t", n, there)
		}
	}
	if _, done, err := b.Back("nidek", sums[0], "old news"); done || err != nil {
		t.Errorf("back from a version that does not run: %t, %v", done, err)
	}
	back, done, err := b.Back("nidek", sums[3], "3 crashes")
	if err != nil || !done || back.Manifest.Version != "1.0.2" || b.runs() != "xxx" {
		t.Fatalf("%+v, %t, %v; runs %s", back, done, err, b.runs())
	}
	b.open()
	if p := b.Known("nidek"); b.runs() != "xxx" || p.Refused[sums[3]] != "3 crashes" || p.Previous != nil {
		t.Errorf("after a restart: %+v", p)
	}
	if names, err := b.Scan(true); err != nil || len(names) > 0 {
		t.Errorf("the refused file is taken again: %v, %v", names, err)
	}
	if _, done, _ := b.Back("nidek", sums[2], "again"); done {
		t.Error("back without a version before")
	}
	if err := b.Approve("nidek", sums[3]); err != nil {
		t.Fatal(err)
	}
	if names, err := b.Scan(true); err != nil || !slices.Equal(names, []string{"nidek"}) || b.Known("nidek").Refused[sums[3]] != "" {
		t.Errorf("after an approval: %v, %v", names, err)
	}
}

func TestRemoved(t *testing.T) {
	b := newBench(t, Trust{Mode: Folder})
	if err := b.Remove("nidek"); !errors.Is(err, ErrNone) {
		t.Errorf("remove what is not there: %v", err)
	}
	b.drop("nidek", "one")
	look := b.take("1.0.0")
	if err := b.Remove("nidek"); err != nil {
		t.Fatal(err)
	}
	b.open()
	if _, err := b.Program("nidek"); !errors.Is(err, ErrNone) || !strings.Contains(err.Error(), "removed") {
		t.Errorf("a removed one runs: %v", err)
	}
	if err := b.Approve("nidek", look.SHA256); err != nil || b.runs() != "one" {
		t.Errorf("approved: %v, runs %s", err, b.runs())
	}
}

// One changed bit of a pinned binary, and it does not run.
func TestPinned(t *testing.T) {
	b := newBench(t, Trust{Mode: Folder})
	b.drop("nidek", "one")
	look := b.take("1.0.0")
	b = newBench(t, Trust{Mode: Pinned, Pins: []string{look.SHA256}})
	b.drop("nidek", "one")
	b.take("1.0.0")
	for bit := range 8 * len("one") {
		text := []byte("one")
		text[bit/8] ^= 1 << (bit % 8)
		b.drop("nidek", string(text)+"")
		_, l, err := b.Take("nidek")
		if !errors.Is(err, ErrUntrusted) || !strings.Contains(err.Error(), l.SHA256) {
			t.Fatalf("bit %d: %v", bit, err)
		}
		if b.runs() != "one" {
			t.Fatalf("bit %d: %s runs", bit, b.runs())
		}
	}
	b.opt.Trust.Pins = []string{strings.Repeat("0", 64)}
	b.open()
	if got := b.runs(); !strings.Contains(got, "no plugin") {
		t.Errorf("a copy that is in the list no more: %s", got)
	}
	b.drop("nidek", "two")
	_, l, err := b.Take("nidek")
	if !errors.Is(err, ErrUntrusted) {
		t.Fatal(err)
	}
	if err := b.Approve("nidek", l.SHA256); err != nil {
		t.Fatal(err)
	}
	b.take("2.0.0")
	b.open()
	if got := b.runs(); got != "two" {
		t.Errorf("an approved one after a restart: %s", got)
	}
}

func TestSigned(t *testing.T) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t, Trust{Mode: Signed, Keys: []ed25519.PublicKey{public}})
	sign := func(text string) {
		if err := os.WriteFile(filepath.Join(b.opt.Inbox, "nidek.sig"), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.drop("nidek", "one")
	_, l, err := b.Take("nidek")
	if !errors.Is(err, ErrUntrusted) || !strings.Contains(err.Error(), "no signature") {
		t.Fatal(err)
	}
	good := base64.StdEncoding.EncodeToString(ed25519.Sign(private, SignedText("nidek", l.SHA256)))
	other := base64.StdEncoding.EncodeToString(ed25519.Sign(private, SignedText("other", l.SHA256)))
	for text, want := range map[string]string{"AAAA": "must be 64 bytes", other: "has signed", strings.Repeat("A", maxSignature*2): "must be 64 bytes"} {
		sign(text)
		if names, err := b.Scan(true); err != nil || len(names) != 1 {
			t.Fatalf("another signature is not seen: %v, %v", names, err)
		}
		if _, _, err := b.Take("nidek"); !errors.Is(err, ErrUntrusted) || !strings.Contains(err.Error(), want) {
			t.Fatalf("%.20s: %v", text, err)
		}
	}
	sign(good)
	b.take("1.0.0")
	if err := os.Remove(filepath.Join(b.opt.Inbox, "nidek.sig")); err != nil {
		t.Fatal(err)
	}
	b.open()
	if got := b.runs(); got != "one" {
		t.Errorf("after a restart: %s", got)
	}
	b.opt.Trust.Keys = []ed25519.PublicKey{make([]byte, ed25519.PublicKeySize)}
	b.open()
	if got := b.runs(); !strings.Contains(got, "no plugin") {
		t.Errorf("with another key: %s", got)
	}
}

func TestFolderThatOthersCanWrite(t *testing.T) {
	b := newBench(t, Trust{Mode: Folder})
	loose := ""
	b.opt.Writers = func(path string) ([]string, error) {
		if filepath.Base(path) == loose {
			return []string{"everybody"}, nil
		}
		return nil, nil
	}
	b.open()
	b.drop("nidek", "one")
	for _, loose = range []string{"in", "nidek" + extension()} {
		_, l, err := b.Take("nidek")
		if !errors.Is(err, ErrUntrusted) || !strings.Contains(b.Known("nidek").Seen.Untrusted, "everybody") {
			t.Errorf("%s, which others can write: %v", loose, err)
		}
		if l.SHA256 == "" {
			t.Error("the refused bytes have no name")
		}
	}
	loose = ""
	b.take("1.0.0")
}

func TestDamagedCopyIsNotRun(t *testing.T) {
	b := newBench(t, Trust{Mode: Folder})
	b.drop("nidek", "one")
	b.take("1.0.0")
	b.drop("nidek", "second")
	look := b.take("2.0.0")
	path := b.binary("nidek", look.SHA256)
	if err := errors.Join(os.Chmod(path, 0o700), os.WriteFile(path, []byte("secont"), 0o700)); err != nil {
		t.Fatal(err)
	}
	b.open()
	if got := b.runs(); got != "one" {
		t.Errorf("%s runs", got)
	}
	if names, err := b.Scan(true); err != nil || !slices.Equal(names, []string{"nidek"}) {
		t.Errorf("it is taken again: %v, %v", names, err)
	}
	b.take("2.0.0")
	if got := b.runs(); got != "second" {
		t.Errorf("%s runs", got)
	}
}

func TestDamagedWayBackIsNotTaken(t *testing.T) {
	b := newBench(t, Trust{Mode: Folder})
	b.drop("nidek", "one")
	old := b.take("1.0.0")
	b.drop("nidek", "second")
	look := b.take("2.0.0")
	path := b.binary("nidek", old.SHA256)
	if err := errors.Join(os.Chmod(path, 0o700), os.WriteFile(path, []byte("onf"), 0o700)); err != nil {
		t.Fatal(err)
	}
	b.open()
	if _, done, err := b.Back("nidek", look.SHA256, "3 crashes"); done || err != nil || b.runs() != "second" {
		t.Errorf("back to bytes that nobody checked: %t, %v, %s runs", done, err, b.runs())
	}
	if _, err := os.Stat(b.path(old.SHA256 + ".damaged")); err != nil {
		t.Error("the evidence is gone:", err)
	}
}

func TestDamagedStateBeginsAnew(t *testing.T) {
	b := newBench(t, Trust{Mode: Folder})
	b.drop("nidek", "one")
	b.take("1.0.0")
	if err := os.WriteFile(b.path(stateName), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.open()
	if _, err := os.Stat(b.path(stateName) + ".damaged"); err != nil {
		t.Error("the evidence is gone:", err)
	}
	if names, err := b.Scan(true); err != nil || !slices.Equal(names, []string{"nidek"}) {
		t.Errorf("%v, %v", names, err)
	}
	b.take("1.0.0")
}

func TestUnreadableIsWaitedFor(t *testing.T) {
	b := newBench(t, Trust{Mode: Folder})
	b.drop("nidek", "")
	if _, _, err := b.Take("nidek"); !errors.Is(err, ErrLater) || b.Waiting("nidek") == "" {
		t.Errorf("an empty file: %v, waiting %q", err, b.Waiting("nidek"))
	}
	if _, _, err := b.Take("gone"); !errors.Is(err, ErrLater) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is gone: %v", err)
	}
	left, err := os.ReadDir(b.path(incomingName))
	if err != nil || len(left) > 0 {
		t.Errorf("%d parts are left, %v", len(left), err)
	}
	b.drop("nidek", "one")
	b.take("1.0.0")
	if names, err := b.Scan(false); err != nil || len(names) > 0 || b.Waiting("nidek") != "" {
		t.Errorf("taken, and %q, %v, %v", b.Waiting("nidek"), names, err)
	}
}

func TestPeek(t *testing.T) {
	b := newBench(t, Trust{Mode: Folder})
	b.drop("nidek", "one")
	b.take("1.0.0")
	want, _ := b.Program("nidek")
	if got := PeekProgram(b.opt.Dir, "nidek"); got != want || !slices.Equal(Peek(b.opt.Dir), []string{"nidek"}) {
		t.Errorf("%s, %v", got, Peek(b.opt.Dir))
	}
	peek := func() string {
		m, known := PeekManifest(b.opt.Dir, b.opt.Inbox, "nidek")
		return fmt.Sprint(m.Version, known)
	}
	if got := peek(); got != "1.0.0true" {
		t.Errorf("what it says of itself: %s", got)
	}
	b.drop("nidek", "another one")
	if got := peek(); got != "false" {
		t.Errorf("another file is there: %s", got)
	}
	if err := os.Remove(filepath.Join(b.opt.Inbox, "nidek"+extension())); err != nil {
		t.Fatal(err)
	}
	if got := peek(); got != "1.0.0true" {
		t.Errorf("no file is there: %s", got)
	}
	if got := PeekProgram(b.opt.Dir, "other") + strings.Join(Peek(t.TempDir()), " ") + PeekProgram(t.TempDir(), "nidek"); got != "" {
		t.Errorf("where nothing was taken: %s", got)
	}
}
