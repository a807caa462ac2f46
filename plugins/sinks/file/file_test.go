package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostd/hostd/core/sdk"
)

// rig is a sink with its folder.
type rig struct {
	t     testing.TB
	dir   string
	blobs map[string][]byte
	log   bytes.Buffer
	sink  *sink
}

func newRig(t testing.TB) *rig {
	return &rig{t: t, dir: filepath.Join(t.TempDir(), "year", "archive"), blobs: map[string][]byte{}}
}

// open starts a new sink; what the settings do not say has its default.
func (r *rig) open(settings map[string]any) *sink {
	r.t.Helper()
	s := &sink{}
	if err := r.tryOpen(s, settings); err != nil {
		r.t.Fatal(err)
	}
	return s
}

func (r *rig) tryOpen(s *sink, settings map[string]any) error {
	if settings == nil {
		settings = map[string]any{}
	}
	settings["dir"] = r.dir
	text, err := json.Marshal(settings)
	if err != nil {
		r.t.Fatal(err)
	}
	r.sink = s
	r.t.Cleanup(func() { _ = s.Close(context.Background()) })
	return s.Open(context.Background(), sdk.SinkEnv{
		Name: "archive", Settings: sdk.NewSettings(text), Log: slog.New(slog.NewTextHandler(&r.log, nil)),
		Blob: func(_ context.Context, hash string) (io.ReadCloser, error) {
			b, ok := r.blobs[hash]
			if !ok {
				return nil, fs.ErrNotExist
			}
			return io.NopCloser(bytes.NewReader(b)), nil
		},
	})
}

// blob puts content into the host's store.
func (r *rig) blob(content string) sdk.Attachment {
	sum := sha256.Sum256([]byte(content))
	hash := hex.EncodeToString(sum[:])
	r.blobs[hash] = []byte(content)
	return sdk.Attachment{Name: "scan.jpg", ContentType: "image/jpeg", Size: int64(len(content)), Hash: hash}
}

func (r *rig) files() []string {
	r.t.Helper()
	list, err := filepath.Glob(filepath.Join(r.dir, "*"+nameSuffix))
	if err != nil {
		r.t.Fatal(err)
	}
	slices.Sort(list)
	return list
}

func (r *rig) text(path string) string {
	r.t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(b)
}

// ids are those of all lines of all files, in order.
func (r *rig) ids() []string {
	r.t.Helper()
	var ids []string
	for _, path := range r.files() {
		for l := range strings.Lines(r.text(path)) {
			ids = append(ids, parseLine(r.t, []byte(l)).ID)
		}
	}
	return ids
}

func (r *rig) wantIDs(want ...string) {
	r.t.Helper()
	if got := r.ids(); !slices.Equal(got, want) {
		r.t.Errorf("records in the files are %v, want %v", got, want)
	}
}

func batch(ids ...string) []sdk.Record {
	var list []sdk.Record
	for i, id := range ids {
		list = append(list, sdk.Record{ID: id, Source: "d", Kind: "document", ContentType: "text/plain", Data: []byte("line\n" + id), Seq: uint64(i)})
	}
	return list
}

func (r *rig) write(ids ...string) {
	r.t.Helper()
	if err := r.sink.Write(context.Background(), batch(ids...)); err != nil {
		r.t.Fatal(err)
	}
}

func TestWriteGoesOnAfterRestart(t *testing.T) {
	r := newRig(t)
	s := r.open(nil)
	r.write("1", "2")
	r.write("3")
	if err := s.Write(context.Background(), nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(context.Background()); err != nil {
		t.Errorf("second close: %v", err)
	}
	r.open(nil)
	r.write("4")
	r.wantIDs("1", "2", "3", "4")
	if n := len(r.files()); n != 1 {
		t.Errorf("%d files, want 1", n)
	}
	if _, ok := parseName(filepath.Base(r.files()[0])); !ok {
		t.Errorf("file is named %s", r.files()[0])
	}
}

// crash lets the sink's files go without its Close, as the end of its process does.
func (r *rig) crash() {
	a := r.sink.archive
	r.t.Cleanup(func() { _ = a.let() })
	if err := a.lock.Close(); err != nil {
		r.t.Fatal(err)
	}
	a.lock = nil
}

// unsynced is a file whose bytes may wait, for a test that opens hundreds.
type unsynced struct{ handle }

// Sync does nothing.
func (unsynced) Sync() error { return nil }

func createUnsynced(path string, flag int) (handle, error) {
	h, err := openHandle(path, flag)
	return unsynced{h}, err
}

func TestTornTail(t *testing.T) {
	master := newRig(t)
	master.open(nil)
	master.write("1", "2")
	kept := int64(len(master.text(master.files()[0])))
	master.write("3", "4")
	master.crash()
	name, whole := filepath.Base(master.files()[0]), master.text(master.files()[0])
	for size := kept; size <= int64(len(whole)); size++ {
		for _, tail := range []string{"", "\x00\x00\x00"}[:1+int(size%16)/15] {
			r := &rig{t: t, dir: t.TempDir()}
			if err := os.WriteFile(filepath.Join(r.dir, name), []byte(whole[:size]+tail), 0o600); err != nil {
				t.Fatal(err)
			}
			s := &sink{create: createUnsynced}
			if err := r.tryOpen(s, nil); err != nil {
				t.Fatal(err)
			}
			r.write("3", "4")
			if err := s.Close(context.Background()); err != nil {
				t.Fatal(err)
			}
			want := []string{"1", "2", "3", "4"}
			for i := strings.Count(whole[kept:size], "\n"); i > 0; i-- {
				want = slices.Insert(want, 2, []string{"", "3", "4"}[i]) // whole lines of a batch that comes again
			}
			r.wantIDs(want...)
			if n := len(r.files()); n != 1 {
				t.Errorf("cut at %d: %d files, want 1", size, n)
			}
		}
	}
}

func TestTornFirstLineAndLongTail(t *testing.T) {
	for _, head := range []string{"", `{"id":"1","device":"","kind":"","seq":0,"time":null,"received_at":null,"data":""}` + "\n"} {
		r := &rig{t: t, dir: t.TempDir()}
		path := filepath.Join(r.dir, "hostd-20260301T081500Z-000002.ndjson")
		if err := os.WriteFile(path, []byte(head+strings.Repeat("x", 200<<10)), 0o600); err != nil {
			t.Fatal(err)
		}
		r.open(map[string]any{"max_age": "0s"})
		r.write("2")
		want := []string{"1", "2"}
		if head == "" {
			want = want[1:]
		}
		r.wantIDs(want...)
		if !strings.Contains(r.log.String(), "bytes=204800") {
			t.Errorf("the cut is not in the log: %s", r.log.String())
		}
	}
}

func TestKilledInTheMiddle(t *testing.T) {
	if dir := os.Getenv(killDir); dir != "" {
		r := &rig{t: t, dir: dir}
		r.open(nil)
		for i := 0; ; i++ {
			id := os.Getenv(killRun) + "-" + strconv.Itoa(i)
			r.write(id+"-a", id+"-b")
			fmt.Println(i) // answered
		}
	}
	r := newRig(t)
	const runs = 3
	var last [runs]int
	for run := range runs {
		last[run] = runUntilKilled(t, r.dir, run)
	}
	r.open(nil)
	ids := r.ids()
	for run := range runs {
		for i := range last[run] + 1 {
			for _, part := range []string{"a", "b"} {
				if id := fmt.Sprintf("%d-%d-%s", run, i, part); !slices.Contains(ids, id) {
					t.Errorf("record %s was answered, and is not in a file", id)
				}
			}
		}
	}
}

func TestRotationBySize(t *testing.T) {
	r := newRig(t)
	s := r.open(map[string]any{"max_size_mb": 1})
	big := batch("1")
	big[0].Data = bytes.Repeat([]byte("x"), 700<<10)
	for range 3 {
		if err := s.Write(context.Background(), big); err != nil {
			t.Fatal(err)
		}
	}
	big[0].Data = bytes.Repeat([]byte("x"), 3<<20) // larger than a file may be
	if err := s.Write(context.Background(), big); err != nil {
		t.Fatal(err)
	}
	r.write("2")
	r.wantIDs("1", "1", "1", "1", "2")
	if n := len(r.files()); n != 5 {
		t.Errorf("%d files, want 5", n)
	}
}

func TestRotationByAge(t *testing.T) {
	r := newRig(t)
	synctest.Test(t, func(*testing.T) {
		s := r.open(map[string]any{"max_age": "1h"})
		r.write("1")
		time.Sleep(59*time.Minute + 59*time.Second)
		r.write("2")
		if n := len(r.files()); n != 1 {
			t.Errorf("%d files before an hour, want 1", n)
		}
		time.Sleep(time.Second)
		r.write("3")
		if n := len(r.files()); n != 2 {
			t.Errorf("%d files after an hour, want 2", n)
		}
		time.Sleep(30 * time.Minute)
		if err := s.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		r.open(map[string]any{"max_age": "1h"})
		time.Sleep(30 * time.Minute) // the age goes on over a restart
		r.write("4")
		if n := len(r.files()); n != 3 {
			t.Errorf("%d files, want 3", n)
		}
		if err := r.sink.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		r.open(map[string]any{"max_age": "0s"})
		time.Sleep(1000 * time.Hour)
		r.write("5")
		if n := len(r.files()); n != 3 {
			t.Errorf("%d files without a limit, want 3", n)
		}
	})
	r.wantIDs("1", "2", "3", "4", "5")
}

func TestNamesSortWhenTheClockIsPutBack(t *testing.T) {
	now := time.Date(2026, 3, 1, 8, 15, 0, 5, time.UTC)
	n := name{}
	var list []string
	for _, step := range []time.Duration{0, 0, time.Second, -time.Hour, 0, 2 * time.Hour} {
		now = now.Add(step)
		n = n.next(now)
		list = append(list, n.String())
	}
	want := []string{
		"hostd-20260301T081500Z-000001.ndjson", "hostd-20260301T081500Z-000002.ndjson", "hostd-20260301T081501Z-000001.ndjson",
		"hostd-20260301T081501Z-000002.ndjson", "hostd-20260301T081501Z-000003.ndjson", "hostd-20260301T091501Z-000001.ndjson",
	}
	if !slices.Equal(list, want) {
		t.Errorf("names are %v, want %v", list, want)
	}
	for _, s := range []string{"hostd-20260301T081500Z-1.ndjson", "hostd-20260301T081500Z-000000.ndjson", "hostd-20260301T081500Z.ndjson", "x.ndjson", "hostd-20260301T081500Z-000001.ndjson.gz", "hostd-20261301T081500Z-000001.ndjson"} {
		if _, ok := parseName(s); ok {
			t.Errorf("%s is taken for a file of ours", s)
		}
	}
}

// flaky is a disk whose calls fail as told.
type flaky struct {
	write, sync, truncate, open error
	half                        bool // a failing write leaves half of the bytes
}

type flakyFile struct {
	handle
	disk *flaky
}

func (f *flaky) create(path string, flag int) (handle, error) {
	if f.open != nil {
		return nil, f.open
	}
	h, err := openHandle(path, flag)
	if err != nil {
		return nil, err
	}
	return flakyFile{h, f}, nil
}

func (f flakyFile) Write(p []byte) (int, error) {
	if f.disk.write == nil {
		return f.handle.Write(p)
	}
	if !f.disk.half {
		return 0, f.disk.write
	}
	n, err := f.handle.Write(p[:len(p)/2])
	return n, errors.Join(f.disk.write, err)
}

func (f flakyFile) Sync() error { return errors.Join(f.disk.sync, f.handle.Sync()) }
func (f flakyFile) Truncate(size int64) error {
	if f.disk.truncate != nil {
		return f.disk.truncate
	}
	return f.handle.Truncate(size)
}

func TestFailedBatchLeavesNothing(t *testing.T) {
	errDisk := errors.New("disk is broken")
	full := &fs.PathError{Op: "write", Path: "x", Err: diskFullError}
	tests := []struct {
		name string
		disk flaky
		want error
	}{
		{"write", flaky{write: errDisk}, errDisk},
		{"half a write", flaky{write: errDisk, half: true}, errDisk},
		{"full", flaky{write: full, half: true}, diskFullError},
		{"sync", flaky{sync: errDisk}, errDisk},
		{"write and truncate", flaky{write: errDisk, half: true, truncate: errDisk}, errDisk},
		{"sync, truncate and open", flaky{sync: errDisk, truncate: errDisk, open: errDisk}, errDisk},
	}
	for _, tt := range tests {
		for _, first := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, first %v", tt.name, first), func(t *testing.T) {
				r, disk := newRig(t), &flaky{}
				if err := r.tryOpen(&sink{create: disk.create}, nil); err != nil {
					t.Fatal(err)
				}
				want := []string{"2", "3", "4"}
				if !first {
					r.write("1")
					want = slices.Insert(want, 0, "1")
				}
				*disk = tt.disk
				for range 3 {
					err := r.sink.Write(context.Background(), batch("2", "3"))
					if !errors.Is(err, tt.want) || sdk.ClassOf(err) != sdk.ClassUnavailable {
						t.Errorf("write says %v of class %v, want %v, unavailable", err, sdk.ClassOf(err), tt.want)
					}
					if full := errors.Is(err, diskFullError); full != strings.Contains(err.Error(), "the disk is full") {
						t.Errorf("full %v is said as %v", full, err)
					}
				}
				*disk = flaky{}
				r.write("2", "3")
				r.write("4")
				r.wantIDs(want...)
				if n := len(r.files()); n > 2 {
					t.Errorf("%d files, want no leftovers", n)
				}
			})
		}
	}
}

func TestFileThatIsGone(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("an open file cannot be removed")
	}
	r := newRig(t)
	r.open(nil)
	r.write("1")
	if err := os.Remove(r.files()[0]); err != nil {
		t.Fatal(err)
	}
	r.write("2")
	r.wantIDs("2")
}

func TestFolderThatCannotBeUsed(t *testing.T) {
	r := newRig(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.dir = filepath.Join(file, "archive")
	err := r.tryOpen(&sink{}, nil)
	var path *fs.PathError
	if !errors.As(err, &path) || !strings.Contains(err.Error(), "check that the drive is there and that the account of hostd may write to it") {
		t.Errorf("open says %v", err)
	}
	r.dir = ""
	if err := r.tryOpen(&sink{}, map[string]any{"attachments": "link"}); !errors.Is(err, sdk.ErrSettings) {
		t.Errorf("settings that are wrong: %v", err)
	}
}

func TestFolderBelongsToOneSink(t *testing.T) {
	r := newRig(t)
	first := r.open(nil)
	if err := r.tryOpen(&sink{}, nil); !errors.Is(err, errInUse) {
		t.Errorf("second sink: %v, want %v", err, errInUse)
	}
	if err := r.sink.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	r.open(nil)
}

func TestAttachments(t *testing.T) {
	r := newRig(t)
	r.open(nil)
	a, b := r.blob("first"), r.blob(strings.Repeat("second", 1<<16))
	records := batch("1", "2")
	records[0].Attachments = []sdk.Attachment{a, b}
	records[1].Attachments = []sdk.Attachment{a}
	torn := filepath.Join(r.dir, attachmentDir, a.Hash[:2])
	if err := os.MkdirAll(torn, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{a.Hash: "fir", a.Hash + partSuffix: "first and more"} { // of a damaged disk and of a crash
		if err := os.WriteFile(filepath.Join(torn, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.sink.Write(context.Background(), records); err != nil {
		t.Fatal(err)
	}
	r.blobs = nil // what is there is not read again, in this process or the next
	for range 2 {
		if err := r.sink.Write(context.Background(), records); err != nil {
			t.Fatal(err)
		}
		if err := r.sink.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		r.open(nil)
	}
	r.wantIDs("1", "2", "1", "2", "1", "2")
	for _, want := range []sdk.Attachment{a, b} {
		sum := sha256.Sum256([]byte(r.text(filepath.Join(r.dir, attachmentDir, want.Hash[:2], want.Hash))))
		if got := hex.EncodeToString(sum[:]); got != want.Hash {
			t.Errorf("attachment %s has the content of %s", want.Hash, got)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(r.dir, attachmentDir, "*", "*"+partSuffix)); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestAttachmentsThatAreRefused(t *testing.T) {
	r := newRig(t)
	s := r.open(nil)
	good, lost, other := r.blob("good"), r.blob("lost"), r.blob("other")
	delete(r.blobs, lost.Hash)
	r.blobs[other.Hash] = []byte("OTHER")
	long := r.blob("long")
	long.Size--
	records := batch("1", "2", "3", "4", "5")
	path := sdk.Attachment{Hash: "../../" + strings.Repeat("a", 58), Size: 1}
	for i, a := range []sdk.Attachment{lost, other, good, path, long} {
		records[i].Attachments = []sdk.Attachment{a}
	}
	err := s.Write(context.Background(), records)
	var refused sdk.RecordErrors
	if !errors.As(err, &refused) || !slices.Equal(refused.Indexes(), []int{0, 1, 3, 4}) {
		t.Fatalf("write says %v, want the records 0, 1, 3 and 4 refused", err)
	}
	if !errors.Is(refused[0], errMissing) || !errors.Is(refused[1], errContent) || !errors.Is(refused[4], errContent) {
		t.Errorf("refused: %v", refused)
	}
	for i, err := range refused {
		if sdk.ClassOf(err) != sdk.ClassPermanent {
			t.Errorf("record %d: class %v", i, sdk.ClassOf(err))
		}
	}
	r.wantIDs("3")

	s.shelf.blob = func(context.Context, string) (io.ReadCloser, error) { return nil, syscall.EIO }
	if err := s.Write(context.Background(), records); !errors.Is(err, syscall.EIO) || sdk.ClassOf(err) != sdk.ClassUnavailable {
		t.Errorf("a store that cannot be read: %v, want to be tried again", err)
	}
	r.wantIDs("3")
}

func TestAttachmentsByReference(t *testing.T) {
	r := newRig(t)
	s := r.open(map[string]any{"attachments": "reference", "raw": false})
	records := batch("1")
	records[0].Raw = []byte("raw")
	records[0].Attachments = []sdk.Attachment{{Hash: strings.Repeat("a", 64), Name: "scan.jpg", Size: 3}}
	if err := s.Write(context.Background(), records); err != nil {
		t.Fatal(err)
	}
	l := parseLine(t, []byte(r.text(r.files()[0])))
	if len(l.Attachments) != 1 || l.Attachments[0].Hash != records[0].Attachments[0].Hash || l.Raw != nil {
		t.Errorf("line is %+v", l)
	}
	if _, err := os.Stat(filepath.Join(r.dir, attachmentDir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("folder for attachments: %v, want none", err)
	}
}

func TestWriteEndsWithItsContext(t *testing.T) {
	r := newRig(t)
	s := r.open(nil)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	records := batch("1", "2")
	if err := s.Write(ctx, records); !errors.Is(err, context.Canceled) || sdk.ClassOf(err) != sdk.ClassUnavailable {
		t.Errorf("write says %v", err)
	}
	records[1].Attachments = []sdk.Attachment{r.blob("content")}
	if err := s.Write(ctx, records); !errors.Is(err, context.Canceled) || sdk.ClassOf(err) != sdk.ClassUnavailable {
		t.Errorf("write with an attachment says %v", err)
	}
	r.wantIDs()
}

func BenchmarkWrite(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r := newRig(b)
			s := r.open(nil)
			records := benchRecords(b, n)
			b.SetBytes(int64(n * len(records[0].Data)))
			b.ReportAllocs()
			for b.Loop() {
				if err := s.Write(context.Background(), records); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// TestFolderThatIsExchanged: somebody puts an empty folder, or none, in the archive's place. What is remembered of the
// old one must not count, and what comes is whole.
func TestFolderThatIsExchanged(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a folder with an open file cannot be removed")
	}
	for name, empty := range map[string]bool{"an empty folder": true, "no folder": false} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.open(nil)
			a := r.blob("image")
			records := batch("1")
			records[0].Attachments = []sdk.Attachment{a}
			if err := r.sink.Write(context.Background(), records); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(r.dir); err != nil {
				t.Fatal(err)
			}
			if empty {
				if err := os.Mkdir(r.dir, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			records[0].ID = "2"
			if err := r.sink.Write(context.Background(), records); err != nil {
				t.Fatal(err)
			}
			r.wantIDs("2")
			if got := r.text(filepath.Join(r.dir, attachmentDir, a.Hash[:2], a.Hash)); got != "image" {
				t.Errorf("the attachment has %q", got)
			}
		})
	}
}
