package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running is a spool whose Run goes on until stop.
type running struct {
	*Spool
	stop func()
}

func start(t testing.TB, dir string, opt Options) *running {
	t.Helper()
	r, err := tryStart(dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.stop)
	return r
}

func tryStart(dir string, opt Options) (*running, error) {
	s, err := Open(dir, opt)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return &running{s, sync.OnceFunc(func() {
		cancel()
		<-done
		s.Close()
	})}, nil
}

// put appends a batch and waits for its answer.
func (r *running) put(b Batch) error {
	done := make(chan error, 1)
	if err := r.Append(context.Background(), b, func(err error) { done <- err }); err != nil {
		return err
	}
	return <-done
}

func (r *running) sink(t testing.TB, name string) SinkID {
	t.Helper()
	id, err := r.RegisterSink(name)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func batch(device string, set SinkSet, payloads ...string) Batch {
	b := Batch{Device: device}
	for _, p := range payloads {
		b.Records = append(b.Records, Entry{Payload: []byte(p), Sinks: set})
	}
	if n := len(payloads); n > 0 {
		b.Position, b.HasPosition = []byte(payloads[n-1]), true
	}
	return b
}

// drain reads what is there for the sink without settling it.
func drain(t testing.TB, s *Spool, id SinkID) []Ref {
	t.Helper()
	r, err := s.Reader(id)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return drainReader(t, r)
}

func drainReader(t testing.TB, r *Reader) []Ref {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // Next gives what is there and does not wait
	var out []Ref
	for {
		l, err := r.Next(ctx, 7, 1<<20)
		if errors.Is(err, context.Canceled) || errors.Is(err, ErrClosed) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, ref := range l.Records {
			ref.Payload = bytes.Clone(ref.Payload)
			out = append(out, ref)
		}
		l.Release()
	}
}

func payloads(refs []Ref) []string {
	out := []string{}
	for _, r := range refs {
		out = append(out, string(r.Payload))
	}
	return out
}

func same(t testing.TB, got, want []string) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("got %.300q, want %.300q", got, want)
	}
}

func TestAppendReadSettleRestart(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, Options{})
	a, b := s.sink(t, "emr"), s.sink(t, "archive")
	both := SinkSet(0).With(a).With(b)
	if err := s.put(batch("ark-1", both, "1", "2", "3")); err != nil {
		t.Fatal(err)
	}
	if err := s.put(batch("lab", SinkSet(0).With(b), "4")); err != nil {
		t.Fatal(err)
	}
	if err := s.put(batch("lab", 0, "reject")); err != nil {
		t.Fatal(err)
	}
	refs := drain(t, s.Spool, a)
	same(t, payloads(refs), []string{"1", "2", "3"})
	if refs[0].Device != "ark-1" || refs[0].Received == 0 {
		t.Fatalf("stamps %+v", refs[0])
	}
	if err := s.Settle(a, refs[1].Seq, 2, 0); err != nil {
		t.Fatal(err)
	}
	same(t, payloads(drain(t, s.Spool, a)), []string{"3"})
	s.stop()

	s = start(t, dir, Options{})
	if got := s.sink(t, "archive"); got != b {
		t.Fatalf("sink number %d, was %d", got, b)
	}
	same(t, payloads(drain(t, s.Spool, a)), []string{"3"})
	same(t, payloads(drain(t, s.Spool, b)), []string{"1", "2", "3", "4"})
	if p, ok := s.Position("ark-1"); !ok || string(p) != "3" {
		t.Fatalf("position %q %v", p, ok)
	}
	st := s.Stats()
	if st.Records != 5 || st.Unrouted != 1 || st.Sinks[a].Backlog != 1 || st.Sinks[a].Delivered != 2 || st.Sinks[b].Backlog != 4 || st.Quarantined != 0 || st.Torn != 0 {
		t.Fatalf("stats %+v", st)
	}
	if err := s.ForgetDevice(context.Background(), "ark-1"); err != nil {
		t.Fatal(err)
	}
	s.stop()
	s = start(t, dir, Options{})
	if _, ok := s.Position("ark-1"); ok {
		t.Fatal("position is still there")
	}
}

func TestReaderWaitsAndRewinds(t *testing.T) {
	s := start(t, t.TempDir(), Options{SegmentSize: 4 << 10})
	a, b := s.sink(t, "a"), s.sink(t, "b")
	r, err := s.Reader(a)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got := make(chan string)
	go func() {
		defer close(got)
		for {
			l, err := r.Next(t.Context(), 10, 1<<20)
			if err != nil {
				return
			}
			for _, ref := range l.Records {
				got <- string(ref.Payload)
			}
			last := l.Records[len(l.Records)-1].Seq
			n := len(l.Records)
			l.Release()
			if err := s.Settle(a, last, n, 0); err != nil {
				t.Error(err)
			}
		}
	}()
	for i := range 50 {
		if err := s.put(batch("d", SinkSet(0).With(b), fmt.Sprint("other", i), string(make([]byte, 500)))); err != nil {
			t.Fatal(err)
		}
		if err := s.put(batch("d", SinkSet(0).With(a), fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
		if p := <-got; p != fmt.Sprint(i) {
			t.Fatalf("got %s, want %d", p, i)
		}
	}
	s.stop()
	if _, open := <-got; open {
		t.Fatal("a record more than was put")
	}
}

func TestRewindGivesUnsettledOnceMore(t *testing.T) {
	s := start(t, t.TempDir(), Options{SegmentSize: 2 << 10})
	a := s.sink(t, "a")
	var want []string
	for i := range 100 {
		want = append(want, fmt.Sprintf("%03d-%s", i, bytes.Repeat([]byte("x"), 50)))
		if err := s.put(batch("d", 1, want[i])); err != nil {
			t.Fatal(err)
		}
	}
	r, err := s.Reader(a)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	all := drainReader(t, r)
	same(t, payloads(all), want)
	for _, n := range []int{0, 1, 7, 8, 50, 99} {
		if n > 0 {
			if err := s.Settle(a, all[n-1].Seq, 1, 0); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Rewind(); err != nil {
			t.Fatal(err)
		}
		same(t, payloads(drainReader(t, r)), want[n:])
	}
}

func TestSegmentsAreDeletedOnlyWhenSettledEverywhere(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, Options{SegmentSize: 4 << 10})
	a, b := s.sink(t, "a"), s.sink(t, "b")
	s.sink(t, "idle")
	for i := range 40 {
		if err := s.put(batch("d", 3, fmt.Sprint(i), string(make([]byte, 900)))); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.Stats().Segments; n < 8 {
		t.Fatalf("%d segments", n)
	}
	last := s.Stats().Records
	_ = s.Settle(a, last, int(last), 0)
	if err := s.put(batch("d", 0, "mark")); err != nil {
		t.Fatal(err)
	}
	if n := len(drain(t, s.Spool, b)); n != 80 {
		t.Fatalf("%d records for b", n)
	}
	_ = s.Settle(b, last, int(last), 0)
	if err := s.put(batch("d", 0, "mark")); err != nil {
		t.Fatal(err)
	}
	s.stop()
	s = start(t, dir, Options{SegmentSize: 4 << 10})
	st := s.Stats()
	if st.Segments > 2 || st.Sinks[a].Backlog+st.Sinks[b].Backlog != 0 || st.Sinks[b].Delivered != 80 {
		t.Fatalf("stats %+v", st)
	}
	if p, ok := s.Position("d"); !ok || string(p) != "mark" {
		t.Fatalf("position %q %v", p, ok)
	}
}

func TestManyWritersKeepOrderAndAtomicity(t *testing.T) {
	const writers, batches = 16, 60
	dir := t.TempDir()
	s := start(t, dir, Options{SegmentSize: 64 << 10, GroupSize: 8 << 10})
	a := s.sink(t, "a")
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(w)))
			n := 0
			for range batches {
				b := Batch{Device: fmt.Sprint("d", w), HasPosition: true}
				for range rnd.IntN(20) {
					p := fmt.Appendf(nil, "%d-", n)
					b.Records = append(b.Records, Entry{Payload: append(p, make([]byte, rnd.IntN(300))...), Sinks: 1})
					n++
				}
				b.Position = fmt.Append(nil, n)
				if err := s.put(b); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	s.stop()
	s = start(t, dir, Options{})
	seen := map[string]int{}
	for _, ref := range drain(t, s.Spool, a) {
		var n int
		fmt.Sscanf(string(ref.Payload), "%d-", &n)
		if n != seen[ref.Device] {
			t.Fatalf("%s: record %d, want %d", ref.Device, n, seen[ref.Device])
		}
		seen[ref.Device]++
	}
	for w := range writers {
		d := fmt.Sprint("d", w)
		if p, _ := s.Position(d); string(p) != fmt.Sprint(seen[d]) {
			t.Fatalf("%s: position %s, records %d", d, p, seen[d])
		}
	}
}

func TestNextKeepsItsLimits(t *testing.T) {
	s := start(t, t.TempDir(), Options{})
	a := s.sink(t, "a")
	big := string(make([]byte, 700<<10))
	b := batch("d", 1, "1", "2", "3", big, "5", big)
	b.HasPosition, b.Position = false, nil
	if err := s.put(b); err != nil {
		t.Fatal(err)
	}
	r, _ := s.Reader(a)
	defer r.Close()
	for _, want := range []int{2, 1, 1, 1, 1} {
		l, err := r.Next(t.Context(), 2, 1<<10)
		if err != nil || len(l.Records) != want {
			t.Fatalf("%d records (%v), want %d", len(l.Records), err, want)
		}
	}
}

func TestAppendWaitsForRoomAndHearsTheEnd(t *testing.T) {
	s, err := Open(t.TempDir(), Options{GroupSize: 1 << 10})
	if err != nil {
		t.Fatal(err)
	}
	var ended []error
	if err := s.Append(t.Context(), batch("d", 0, string(make([]byte, 1<<10))), func(err error) { ended = append(ended, err) }); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := s.Append(ctx, batch("d", 0, "more"), nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("err %v", err)
	}
	s.Close()
	if len(ended) != 1 || !errors.Is(ended[0], ErrClosed) {
		t.Fatalf("done %v", ended)
	}
	if err := s.Append(t.Context(), batch("d", 0, "late"), nil); !errors.Is(err, ErrClosed) {
		t.Fatalf("err %v", err)
	}
}

func TestRefusals(t *testing.T) {
	s := start(t, t.TempDir(), Options{})
	for name, c := range map[string]struct {
		b    Batch
		want error
	}{
		"no device":    {batch("", 0, "x"), ErrTooLarge},
		"huge":         {batch("d", 0, string(make([]byte, maxPayload))), ErrTooLarge},
		"unknown sink": {batch("d", 1<<5, "x"), ErrUnknownSink},
		"position":     {Batch{Device: "d", HasPosition: true, Position: make([]byte, maxPosition+1)}, ErrTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			if err := s.put(c.b); !errors.Is(err, c.want) {
				t.Fatalf("err %v, want %v", err, c.want)
			}
		})
	}
	for i := range maxSinks {
		s.sink(t, fmt.Sprint("s", i))
	}
	if _, err := s.RegisterSink("one more"); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("err %v", err)
	}
	if err := s.put(batch("d", ^SinkSet(0), "all")); err != nil {
		t.Fatal(err)
	}
	same(t, payloads(drain(t, s.Spool, 63)), []string{"all"})
}
