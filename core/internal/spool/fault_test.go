package spool

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
)

// ledger is what a test was told and told others: the truth that the spool is held against.
type ledger struct {
	sent    map[string]bool // payloads that were handed over, acknowledged or not
	acked   []string        // acknowledged, in order
	settled map[string]bool // delivered to the sink
	ackedTo int             // number after the last acknowledged record

	nameless bool   // the device's name is lost, and with it its position
	key      []byte // of a sealed spool
}

// options are those of a small spool on d.
func (l *ledger) options(d *memDisk) Options {
	return Options{disk: d.disk(), SegmentSize: 4 << 10, Seal: l.key != nil, Key: l.key}
}

func newLedger() *ledger { return &ledger{sent: map[string]bool{}, settled: map[string]bool{}} }

// record is a payload that can be checked by itself.
func record(n int, rnd *rand.Rand) string {
	body := strings.Repeat(fmt.Sprintf("%x", n), rnd.IntN(400))
	return fmt.Sprintf("%d|%x|%s", n, sha256.Sum256([]byte(body)), body)
}

func number(t testing.TB, payload string) int {
	t.Helper()
	var n int
	var body string
	parts := strings.SplitN(payload, "|", 3)
	if len(parts) == 3 {
		body = parts[2]
	}
	if _, err := fmt.Sscan(parts[0], &n); err != nil || fmt.Sprintf("%x", sha256.Sum256([]byte(body))) != parts[1] {
		t.Fatalf("wrong payload %.80q", payload)
	}
	return n
}

// work appends, reads and settles at random until steps are done or the spool cannot go on.
func (l *ledger) work(t testing.TB, s *Spool, rnd *rand.Rand, steps int) {
	t.Helper()
	id, err := s.RegisterSink("emr")
	if err != nil {
		t.Fatal(err)
	}
	for range steps {
		l.append(t, s, rnd)
		if rnd.IntN(4) == 0 {
			l.settle(s, id, rnd)
		}
	}
}

func (l *ledger) append(t testing.TB, s *Spool, rnd *rand.Rand) {
	t.Helper()
	b := Batch{Device: "ark-1", HasPosition: true}
	var texts []string
	n := l.ackedTo // what was refused is given once more
	for range 1 + rnd.IntN(4) {
		p := record(n, rnd)
		n++
		texts = append(texts, p)
		l.sent[p] = true
		b.Records = append(b.Records, Entry{Payload: []byte(p), Sinks: 1})
	}
	b.Position = fmt.Append(nil, n)
	answers := 0
	var answer error
	if err := s.Append(context.Background(), b, func(err error) { answers++; answer = err }); err != nil {
		t.Fatal(err)
	}
	_ = s.commit(false)
	if answers != 1 {
		t.Fatalf("%d answers for a batch", answers)
	}
	if answer == nil {
		l.acked = append(l.acked, texts...)
		l.ackedTo = n
	}
}

func (l *ledger) settle(s *Spool, id SinkID, rnd *rand.Rand) {
	r, err := s.Reader(id)
	if err != nil {
		return
	}
	defer r.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	lease, err := r.Next(ctx, 1+rnd.IntN(10), 1<<20)
	if err != nil {
		return
	}
	for _, ref := range lease.Records {
		l.settled[string(ref.Payload)] = true
	}
	_ = s.Settle(id, lease.Records[len(lease.Records)-1].Seq, len(lease.Records), 0)
	lease.Release()
}

// check opens what is left and holds it against the ledger.
func (l *ledger) check(t testing.TB, d *memDisk) error {
	t.Helper()
	s, err := Open("data/spool", l.options(d))
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer s.Close()
	id, err := s.RegisterSink("emr")
	if err != nil {
		return err
	}
	there := map[string]bool{}
	top := -1
	for _, ref := range drain(t, s, id) {
		p := string(ref.Payload)
		if number(t, p); !l.sent[p] {
			return fmt.Errorf("record %.20q was never sent", p)
		}
		there[p] = true
		top = max(top, number(t, p))
	}
	missing := 0
	for _, p := range l.acked {
		if !there[p] && !l.settled[p] {
			missing++
		}
	}
	if missing > 0 {
		return fmt.Errorf("%d of %d acknowledged records are lost", missing, len(l.acked))
	}
	if l.nameless {
		return nil
	}
	return l.checkPosition(t, s, there)
}

// checkPosition holds that everything before the device's position is stored, and that no acknowledged one is behind.
func (l *ledger) checkPosition(t testing.TB, s *Spool, there map[string]bool) error {
	t.Helper()
	have := map[int]bool{}
	for p := range there {
		have[number(t, p)] = true
	}
	for p := range l.settled {
		have[number(t, p)] = true
	}
	pos, _ := s.Position("ark-1")
	var n int
	fmt.Sscan(string(pos), &n)
	if n < l.ackedTo {
		return fmt.Errorf("position %d, acknowledged %d", n, l.ackedTo)
	}
	for i := range n {
		if !have[i] {
			return fmt.Errorf("position %d is stored, record %d is not", n, i)
		}
	}
	l.ackedTo = n // the device goes on from here
	return nil
}

func TestNthOperationFails(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{syscall.EIO, syscall.ENOSPC} {
		for _, op := range []string{"write", "sync", "syncdir", "open", "remove", "truncate", "read", "list"} {
			for n := 1; n <= 50; n++ {
				for _, length := range []int{1, 3, 8} {
					if err := nthFails(t, op, n, length, cause); err != nil {
						t.Fatalf("%s %d (%d times) fails with %v: %v", op, n, length, cause, err)
					}
				}
			}
		}
	}
}

func nthFails(t *testing.T, op string, n, length int, cause error) error {
	rnd := rand.New(rand.NewPCG(6, uint64(n)))
	d := newMemDisk()
	met := 0
	d.fail = func(_ int, name string) error {
		if name == op {
			if met++; met >= n && met < n+length {
				return cause
			}
		}
		return nil
	}
	l := newLedger()
	for range 3 {
		s, err := Open("data/spool", l.options(d))
		if err != nil {
			continue // the environment failed: the next start finds it well
		}
		l.work(t, s, rnd, 20)
		before := l.ackedTo
		if l.append(t, s, rnd); l.ackedTo == before && met >= n+length {
			return errors.New("intake does not go on after the disk is well")
		}
		s.Close()
	}
	d.fail = nil
	return l.check(t, d.crash(rnd, n%2 == 0))
}

// A group that has space on the disk is stored, also where its zeros have none.
func TestFullDiskHasNoRoomForZeros(t *testing.T) {
	d := newMemDisk()
	s := onModel(t, d, Options{})
	put(t, s, batch("d", 1, "one"))
	s.cur = &fullFile{s.cur, s.newest().whole + 2000}
	taken := 0
	for {
		var answer error
		if err := s.Append(t.Context(), batch("d", 1, noise(700)), func(err error) { answer = err }); err != nil {
			t.Fatal(err)
		}
		if err := s.commit(false); !errors.Is(err, answer) {
			t.Fatal(err, answer)
		} else if errors.Is(err, ErrFull) {
			break
		}
		taken++
	}
	path, end := s.path(s.newest()), s.end(s.newest())
	if end <= roomStep || end != int64(len(d.names[path].data)) {
		t.Errorf("the disk is full after %d bytes, and the file has %d", end, len(d.names[path].data))
	}
	refs := drain(t, s, 0)
	if err := s.Settle(0, refs[0].Seq, 1, 0); err != nil || len(refs) != taken+1 {
		t.Fatalf("%d records of %d, %v", len(refs), taken+1, err)
	}
	if err := s.commit(false); err != nil {
		t.Errorf("a cursor of a few bytes: %v", err)
	}
}

// fullFile is a file that cannot grow beyond most.
type fullFile struct {
	file
	most int64
}

func (f *fullFile) WriteAt(p []byte, off int64) (int, error) {
	if fit := max(f.most-off, 0); int64(len(p)) > fit {
		n, err := f.file.WriteAt(p[:fit], off)
		return n, errors.Join(syscall.ENOSPC, err)
	}
	return f.file.WriteAt(p, off)
}

func TestFullDiskIsNamedAndPasses(t *testing.T) {
	d := newMemDisk()
	s, err := Open("data/spool", Options{disk: d.disk()})
	if err != nil {
		t.Fatal(err)
	}
	ask := func() (answer error) {
		if err := s.Append(t.Context(), batch("d", 0, "x"), func(err error) { answer = err }); err != nil {
			t.Fatal(err)
		}
		_ = s.commit(false)
		return answer
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ cause, want error }{{syscall.ENOSPC, ErrFull}, {syscall.EIO, ErrDisk}} {
		d.fail = func(_ int, op string) error {
			if op == "write" {
				return c.cause
			}
			return nil
		}
		for range 5 {
			if err := ask(); !errors.Is(err, c.want) || !errors.Is(err, c.cause) {
				t.Fatalf("err %v, want %v", err, c.want)
			}
		}
		d.fail = nil
		if err := ask(); err != nil {
			t.Fatal(err)
		}
	}
	if st := s.Stats(); st.Records != 3 {
		t.Fatalf("stats %+v", st)
	}
}

// small is a log on a memDisk whose last group of three records was acknowledged; it returns the newest file.
func small(t testing.TB, groups int) (*memDisk, *ledger, string) {
	t.Helper()
	d, l := newMemDisk(), newLedger()
	s, err := Open("data/spool", Options{disk: d.disk()})
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(1, 1))
	if _, err := s.RegisterSink("emr"); err != nil {
		t.Fatal(err)
	}
	for range groups {
		l.append(t, s, rnd)
	}
	path := s.path(s.newest())
	s.Close()
	return d, l, path
}

func TestCutAtEveryByteLosesOnlyTheLastGroup(t *testing.T) {
	t.Parallel()
	d, before, path := small(t, 4)
	from := len(d.names[path].data)
	s, err := Open("data/spool", Options{disk: d.disk()})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	grown, after, path2 := small(t, 5) // the same log with a group more
	whole := grown.names[path2].data
	for cut := from; cut < len(whole); cut++ {
		for _, zeros := range []int{0, len(whole) - cut, 3 * sector} {
			c := newMemDisk()
			f := &memFile{data: append(slices.Clone(whole[:cut]), make([]byte, zeros)...), cut: 1 << 62}
			f.synced = slices.Clone(f.data)
			c.names[path2], c.stable[path2] = f, f
			l := *before
			l.sent = map[string]bool{}
			for p := range after.sent {
				l.sent[p] = true
			}
			err := l.check(t, c)
			if n := recordsIn(t, c); err == nil && n != len(before.acked) && n != len(after.acked) {
				err = fmt.Errorf("part of a batch: %d records", n)
			}
			if err != nil {
				t.Fatalf("cut at %d of %d, %d zeros: %v", cut, len(whole), zeros, err)
			}
		}
	}
}

func recordsIn(t *testing.T, d *memDisk) int {
	t.Helper()
	s, err := Open("data/spool", Options{disk: d.disk()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	return int(s.Stats().Records)
}

// A head that is damaged anywhere costs nothing: neither names nor cursors nor what waits.
func TestDamagedHeadCostsNothing(t *testing.T) {
	t.Parallel()
	d, l := newMemDisk(), newLedger()
	s, err := Open("data/spool", Options{disk: d.disk(), SegmentSize: 2 << 10})
	if err != nil {
		t.Fatal(err)
	}
	l.work(t, s, rand.New(rand.NewPCG(9, 9)), 40)
	want, path := s.Stats(), s.path(s.newest())
	s.commit(false)
	s.Close()
	whole := d.names[path].data
	c := scanner{src: memHandle{d, d.names[path]}, salt: s.newest().salt, end: int64(len(whole))}
	for f, ok, _ := c.next(); ok && f.kind != kindTrailer; f, ok, _ = c.next() {
	}
	for at := range int(c.off) {
		for _, n := range []int{1, 400} {
			f := &memFile{data: slices.Clone(whole), cut: 1 << 62}
			for i := at; i < min(at+n, int(c.off)); i++ {
				f.data[i] ^= 0x55
			}
			d.names[path] = f
			if err := l.check(t, d); err != nil {
				t.Fatalf("byte %d: %v", at, err)
			}
			s, err := Open("data/spool", Options{disk: d.disk()})
			if err != nil {
				t.Fatal(err)
			}
			if got := s.Stats(); got.Sinks[0].Name != "emr" || n == 1 && got.Sinks[0].Cursor != want.Sinks[0].Cursor {
				t.Fatalf("byte %d: %+v, want %+v", at, got.Sinks, want.Sinks)
			}
			s.Close()
		}
	}
}

// With every head gone, so are names and cursors: what is there is delivered once more, to a sink of the same name too.
func TestAllHeadsLostDeliversEverything(t *testing.T) {
	d, l := newMemDisk(), newLedger()
	s, err := Open("data/spool", Options{disk: d.disk(), SegmentSize: 2 << 10})
	if err != nil {
		t.Fatal(err)
	}
	l.work(t, s, rand.New(rand.NewPCG(10, 10)), 60)
	s.commit(false)
	if s.segments[0].num == 1 {
		t.Fatal("the first segment, which has the names, is still there")
	}
	for _, seg := range s.segments {
		f := d.names[s.path(seg)]
		c := scanner{src: memHandle{d, f}, salt: seg.salt, end: int64(len(f.data))}
		for range 2 {
			c.next()
		}
		clear(f.data[:c.off])
	}
	s.Close()
	l.nameless = true
	if err := l.check(t, d); err != nil {
		t.Fatal(err)
	}
	s, err = Open("data/spool", Options{disk: d.disk(), SegmentSize: 2 << 10})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	l.append(t, s, rand.New(rand.NewPCG(11, 11)))
	if err := l.check(t, d); err != nil {
		t.Fatal(err)
	}
}

func TestFlippedBitCostsOneRecordAtMost(t *testing.T) {
	t.Parallel()
	d, l, path := small(t, 6)
	whole := d.names[path].data
	for at := range whole {
		c := newMemDisk()
		f := &memFile{data: slices.Clone(whole), cut: 1 << 62}
		f.data[at] ^= 1 << (at % 8)
		f.synced = slices.Clone(f.data)
		c.names[path], c.stable[path] = f, f
		s, err := Open("data/spool", Options{disk: c.disk()})
		if err != nil {
			t.Fatalf("byte %d: %v", at, err)
		}
		id, err := s.RegisterSink("emr")
		if err != nil {
			t.Fatal(err)
		}
		refs := drain(t, s, id)
		for _, ref := range refs {
			if p := string(ref.Payload); !l.sent[p] || ref.Device != "ark-1" {
				t.Fatalf("byte %d: wrong record %.40q of %s", at, p, ref.Device)
			}
		}
		if lost := len(l.acked) - len(refs); lost > 1 || lost < 0 || s.Stats().Quarantined == 0 {
			t.Fatalf("byte %d of %d: %d records lost, stats %+v", at, len(whole), lost, s.Stats())
		}
		s.Close()
	}
}

// TestDamagedLastRecordLeavesNoBacklog damages what a sink would get last: once the rest is settled, before or after its reader
// waits at the end of the log, nothing waits for it.
func TestDamagedLastRecordLeavesNoBacklog(t *testing.T) {
	for _, settleFirst := range []bool{true, false} {
		t.Run(fmt.Sprint("settled first ", settleFirst), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newMemDisk()
				s := start(t, "data/spool", Options{disk: d.disk()})
				id := s.sink(t, "emr")
				for n := range 3 {
					if err := s.put(batch("ark-1", SinkSet(0).With(id), fmt.Sprint("record ", n))); err != nil {
						t.Fatal(err)
					}
				}
				for _, f := range d.names {
					if at := bytes.Index(f.data, []byte("record 2")); at > 0 {
						f.data[at] ^= 1
					}
				}
				r, err := s.Reader(id)
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				l, err := r.TryNext(10, 1<<20)
				if err != nil || len(l.Records) != 2 {
					t.Fatalf("got %d records, %v", len(l.Records), err)
				}
				settle := func() {
					if err := s.Settle(id, l.Records[1].Seq, 2, 0); err != nil {
						t.Fatal(err)
					}
				}
				if settleFirst {
					settle()
				}
				ctx, cancel := context.WithCancel(t.Context())
				waited := make(chan error)
				go func() { waited <- r.Wait(ctx) }()
				synctest.Wait()
				if !settleFirst {
					if got := s.Stats().Sinks[0]; got.Backlog == 0 {
						t.Fatalf("nothing waits, and two records are not settled: %+v", got)
					}
					settle()
				}
				if got := s.Stats().Sinks[0]; got.Backlog != 0 || got.Delivered != 2 {
					t.Fatalf("two records are settled, the third is lost, and the sink has %+v", got)
				}
				cancel()
				<-waited
			})
		})
	}
}

// TestShortReadLosesNothing has a system that for a moment does not know the end of a file that was synced.
func TestShortReadLosesNothing(t *testing.T) {
	for _, times := range []int{1, maxFails - 1, maxFails} {
		t.Run(fmt.Sprint(times, " times"), func(t *testing.T) {
			d := newMemDisk()
			s := start(t, "data/spool", Options{disk: d.disk()})
			id := s.sink(t, "emr")
			for n := range 2 {
				if err := s.put(batch("ark-1", SinkSet(0).With(id), fmt.Sprint("record ", n))); err != nil {
					t.Fatal(err)
				}
			}
			r, err := s.Reader(id)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			var file *memFile
			for _, f := range d.names {
				if bytes.Contains(f.data, []byte("record 1")) {
					file = f
				}
			}
			whole := file.data
			file.data = whole[:bytes.Index(whole, []byte("record 0"))-headerSize]
			for range times {
				if l, err := r.TryNext(10, 1<<20); l != nil || !errors.Is(err, ErrDisk) {
					t.Fatalf("a file without its end gives %v, %v", l, err)
				}
			}
			if times < maxFails {
				file.data = whole
			}
			l, err := r.TryNext(10, 1<<20)
			switch gone := s.Stats().Quarantined; {
			case err != nil:
				t.Fatal(err)
			case times < maxFails && (l == nil || len(l.Records) != 2 || gone != 0):
				t.Fatalf("when its end is there again, it gives %v, and %d ranges were set aside", l, gone)
			case times == maxFails && (l != nil || gone != 1):
				t.Fatalf("a file whose end stays away gives %v, and %d ranges were set aside", l, gone)
			}
		})
	}
}

// TestWrongReadLosesNothing lets a reading give other bytes than the disk has, each one in turn; what is wrong twice is damage.
func TestWrongReadLosesNothing(t *testing.T) {
	for _, key := range [][]byte{nil, bytes.Repeat([]byte{7}, 32)} {
		t.Run(fmt.Sprint("sealed ", key != nil), func(t *testing.T) {
			d := newMemDisk()
			s := start(t, "data/spool", Options{disk: d.disk(), Seal: key != nil, Key: key})
			id := s.sink(t, "emr")
			for n := range 3 {
				if err := s.put(batch("ark-1", SinkSet(0).With(id), fmt.Sprint("record ", n))); err != nil {
					t.Fatal(err)
				}
			}
			read := func() int {
				r, err := s.Reader(id)
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				l, err := r.TryNext(10, 1<<20)
				if err != nil {
					t.Fatal(err)
				}
				if l == nil {
					return 0
				}
				return len(l.Records)
			}
			for at := range s.Stats().Bytes {
				wrong := true
				d.read = func(p []byte) {
					if wrong && at < int64(len(p)) {
						p[at] ^= 1
						wrong = false
					}
				}
				if n, gone := read(), s.Stats().Quarantined; n != 3 || gone != 0 {
					t.Fatalf("byte %d was wrong once: %d of 3 records, %d ranges set aside", at, n, gone)
				}
			}
			d.read = func(p []byte) { clear(p) }
			if n, gone := read(), s.Stats().Quarantined; n != 0 || gone != 1 {
				t.Fatalf("zeros each time: %d records, %d ranges set aside", n, gone)
			}
		})
	}
}
