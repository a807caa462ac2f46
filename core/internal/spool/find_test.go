package spool

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var errGarbled = errors.New("garbled")

// describeText reads payloads of tests: id;kind;patient;hash,hash;anything.
func describeText(p []byte) (Description, error) {
	parts := bytes.SplitN(p, []byte(";"), 5)
	if len(parts) < 5 {
		return Description{}, errGarbled
	}
	d := Description{ID: parts[0], Kind: parts[1], Patient: parts[2]}
	if len(parts[3]) > 0 {
		d.Attachments = strings.Split(string(parts[3]), ",")
	}
	return d, nil
}

func hashText(content string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(content))) }

// put is what Run does for one group, without its goroutine.
func put(t testing.TB, s *Spool, b Batch) {
	t.Helper()
	var answer error
	if err := s.Append(t.Context(), b, func(err error) { answer = err }); err != nil {
		t.Fatal(err)
	}
	if err := s.commit(false); err != nil || answer != nil {
		t.Fatal(err, answer)
	}
}

// finds collects what Find gives, as text without the payload.
func finds(t testing.TB, s finding, q Lookup) (list []string) {
	t.Helper()
	for f, err := range s.Find(t.Context(), q) {
		if err != nil {
			t.Fatalf("%+v: %v", q, err)
		}
		list = append(list, foundText(f))
	}
	return list
}

func foundText(f Found) string {
	return fmt.Sprintf("%d %s %s %v", f.Ref.Seq, f.Ref.Device, f.Ref.Payload[:min(40, len(f.Ref.Payload))], f.Copy)
}

// scanned is what a plain reading of all frames says of q, newest first.
func scanned(t testing.TB, s *Spool, q Lookup) (list []string) {
	t.Helper()
	last := uint64(0)
	for _, p := range s.places() {
		src, err := s.disk.Open(s.path(p.segment), os.O_RDONLY)
		if err != nil {
			t.Fatal(err)
		}
		c := scanner{src: src, salt: p.salt, end: p.end, master: s.opt.Key}
		for {
			fr, ok, err := c.next()
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			if fr.kind != kindRecord || fr.seq <= last {
				continue
			}
			last = fr.seq
			d, err := describeText(fr.payload)
			name, at := s.deviceName(fr.num), unixTime(int64(fr.a))
			switch {
			case (q.ID != "" || q.Kind != "" || q.Patient != "") && err != nil,
				q.ID != "" && q.ID != string(d.ID), q.Kind != "" && q.Kind != string(d.Kind), q.Patient != "" && q.Patient != string(d.Patient),
				q.Device != "" && q.Device != name, q.Seq != 0 && q.Seq != fr.seq,
				!q.From.IsZero() && at.Before(q.From), !q.To.IsZero() && !at.Before(q.To):
				continue
			}
			list = append(list, foundText(Found{Ref: Ref{Seq: fr.seq, Device: name, Payload: fr.payload}, Copy: fr.flags&flagCopy != 0}))
		}
		src.Close()
	}
	slices.Reverse(list)
	if q.Limit > 0 {
		list = list[:min(q.Limit, len(list))]
	}
	return list
}

// randomBatch holds records with few ids, kinds, patients and attachments, and now and then one that nobody can describe.
func randomBatch(rnd *rand.Rand) Batch {
	var texts []string
	for range 1 + rnd.IntN(5) {
		text := fmt.Sprintf("id-%d;kind-%d;p-%d;%s;%s", rnd.IntN(60), rnd.IntN(3), rnd.IntN(20), hashText(fmt.Sprint(rnd.IntN(9))), strings.Repeat("x", rnd.IntN(120)))
		if rnd.IntN(30) == 0 {
			text = "nothing that can be read"
		}
		texts = append(texts, text)
	}
	return batch(fmt.Sprint("dev-", rnd.IntN(4)), SinkSet(rnd.IntN(4)), texts...)
}

func randomLookup(rnd *rand.Rand, from, to time.Time, top uint64) (q Lookup) {
	pick := func() bool { return rnd.IntN(3) == 0 }
	if pick() {
		q.ID = fmt.Sprint("id-", rnd.IntN(70))
	}
	if pick() {
		q.Patient = fmt.Sprint("p-", rnd.IntN(22))
	}
	if pick() {
		q.Kind = fmt.Sprint("kind-", rnd.IntN(4))
	}
	if pick() {
		q.Device = fmt.Sprint("dev-", rnd.IntN(5))
	}
	span := int64(to.Sub(from)) + 2
	if rnd.IntN(6) == 0 {
		q.From = from.Add(time.Duration(rnd.Int64N(span)))
	}
	if rnd.IntN(6) == 0 {
		q.To = from.Add(time.Duration(rnd.Int64N(span)))
	}
	if rnd.IntN(8) == 0 {
		q.Seq = rnd.Uint64N(top + 2)
	}
	if pick() {
		q.Limit = 1 + rnd.IntN(5)
	}
	return q
}

func TestFindGivesWhatAPlainScanGives(t *testing.T) {
	t.Parallel()
	for name, opt := range map[string]Options{
		"plain": {}, "keyed": {IndexKey: []byte("k")}, "sealed": {Seal: true, Key: testKey}, "small": {SegmentSize: 1 << 10, IndexKey: []byte("k")},
	} {
		t.Run(name, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			rnd := rand.New(rand.NewPCG(seed, 1))
			d := newMemDisk()
			if opt.disk, opt.Describe = d.disk(), describeText; opt.SegmentSize == 0 {
				opt.SegmentSize = 4 << 10
			}
			opt.Keep = time.Hour
			begin := time.Now()
			s := fill(t, opt, rnd)
			defer func() { s.Close() }()
			end, hits := time.Now(), 0
			for n := range 160 {
				if n == 80 { // and once more with what the disk has
					s.Close()
					s = open(t, opt)
				}
				for rnd.IntN(4) == 0 && s.indexOne(t.Context()) {
				}
				q := randomLookup(rnd, begin, end, s.next)
				want := scanned(t, s, q)
				same(t, finds(t, s, q), want)
				if hits += len(want); n%10 == 0 {
					i, err := Inspect("data/spool", opt)
					if err != nil {
						t.Fatal(err)
					}
					same(t, finds(t, i, q), want)
				}
			}
			if hits < 50 {
				t.Fatalf("only %d hits: the test looks for nothing", hits)
			}
		})
	}
}

func open(t testing.TB, opt Options) *Spool {
	t.Helper()
	s, err := Open("data/spool", opt)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fill makes a spool of some segments with two sinks and copies for one of them.
func fill(t testing.TB, opt Options, rnd *rand.Rand) *Spool {
	t.Helper()
	s := open(t, opt)
	for _, name := range []string{"emr", "archive"} {
		if _, err := s.RegisterSink(name); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 100 {
		put(t, s, randomBatch(rnd))
		if n%10 == 9 {
			b := randomBatch(rnd)
			for i := range b.Records {
				b.Records[i].received, b.Records[i].Sinks = time.Now().UnixNano(), 1
			}
			put(t, s, b)
		}
	}
	return s
}

func TestFindWithoutDescribe(t *testing.T) {
	s := fill(t, Options{disk: newMemDisk().disk(), SegmentSize: 2 << 10}, rand.New(rand.NewPCG(7, 7)))
	defer s.Close()
	for _, q := range []Lookup{{ID: "id-1"}, {Kind: "kind-1"}, {Patient: "p-1"}} {
		for _, err := range s.Find(t.Context(), q) {
			if !errors.Is(err, ErrDescribe) {
				t.Errorf("%+v: err %v, want ErrDescribe", q, err)
			}
		}
	}
	q := Lookup{Device: "dev-2", Limit: 3}
	same(t, finds(t, s, q), scanned(t, s, q))
	if _, _, err := s.SweepBlobs(t.Context()); !errors.Is(err, ErrDescribe) {
		t.Errorf("sweep: err %v, want ErrDescribe", err)
	}
}

// A Describe that panics costs its record the search, and nothing else.
func TestDescribeMayPanic(t *testing.T) {
	panics := func(p []byte) (Description, error) {
		if bytes.HasPrefix(p, []byte("id-1;")) {
			panic("index out of range")
		}
		return describeText(p)
	}
	s := fill(t, Options{disk: newMemDisk().disk(), SegmentSize: 2 << 10, Describe: panics}, rand.New(rand.NewPCG(8, 8)))
	defer s.Close()
	indexAll(t, s)
	same(t, finds(t, s, Lookup{ID: "id-1"}), nil)
	same(t, finds(t, s, Lookup{ID: "id-2"}), scanned(t, s, Lookup{ID: "id-2"}))
	same(t, finds(t, s, Lookup{}), scanned(t, s, Lookup{}))
}

func TestFindEnds(t *testing.T) {
	s := fill(t, Options{disk: newMemDisk().disk(), SegmentSize: 2 << 10, Describe: describeText}, rand.New(rand.NewPCG(9, 9)))
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	n := 0
	for _, err := range s.Find(ctx, Lookup{ID: "id-1"}) {
		if n++; !errors.Is(err, context.Canceled) {
			t.Fatalf("err %v", err)
		}
	}
	if n != 1 {
		t.Fatalf("%d answers after the end", n)
	}
	for range s.Find(t.Context(), Lookup{}) {
		break
	}
}

// waitFor waits for what another goroutine does with real files.
func waitFor(t testing.TB, done func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); !done(); <-tick.C {
		if time.Now().After(end) {
			t.Fatal("it did not happen")
		}
	}
}

// Each way that a record can go is told.
func TestFindTellsTheLifeOfARecord(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "spool")
	opt := Options{Describe: describeText, IndexKey: []byte("k")}
	s := start(t, dir, opt)
	a, b := s.sink(t, "emr"), s.sink(t, "archive")
	text := func(id string) string { return id + ";k;p;;" }
	if err := s.put(batch("ark-1", SinkSet(0).With(a).With(b), text("sent"), text("lost"), text("again"), text("gone"), text("later"))); err != nil {
		t.Fatal(err)
	}
	refs := drain(t, s.Spool, a)
	for _, n := range []int{1, 2, 3} {
		if err := s.Dead(t.Context(), a, refs[n], "no column", n); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Settle(a, refs[3].Seq, 4, 3); err != nil {
		t.Fatal(err)
	}
	for l, err := range s.DeadLetters("emr") {
		if err != nil {
			t.Fatal(err)
		}
		switch l.Attempts {
		case 2:
			err = s.Requeue(t.Context(), l)
		case 3:
			err = s.Drop(l, "a test record")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	check := func(want map[string]string) {
		t.Helper()
		i, err := Inspect(dir, opt)
		if err != nil {
			t.Fatal(err)
		}
		for id, life := range want {
			for _, from := range []finding{s.Spool, i} {
				var got []string
				for f, err := range from.Find(t.Context(), Lookup{ID: id}) {
					if err != nil {
						t.Fatal(err)
					}
					if f.Copy {
						got = append(got, "copy")
					}
					for _, d := range f.Deliveries {
						if d.Died.IsZero() != (d.State == StateDelivered || d.State == StateWaiting || d.State == StateSettled) {
							t.Errorf("%s: died %v", id, d.Died)
						}
						got = append(got, fmt.Sprintf("%s %s %d %s", d.Sink, d.State, d.Attempts, d.Reason))
					}
				}
				if strings.Join(got, "|") != life {
					t.Errorf("%s by %T:\n got %q\nwant %q", id, from, got, life)
				}
			}
		}
	}
	waitFor(t, func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.state.sinks[a].cursor >= refs[3].Seq })
	want := map[string]string{
		"sent": "emr delivered 0 |archive waiting 0 ", "lost": "emr dead 1 no column|archive waiting 0 ",
		"again": "copy|emr waiting 0 |emr requeued 2 no column|archive waiting 0 ",
		"gone":  "emr dropped 3 no column (a test record)|archive waiting 0 ", "later": "emr waiting 0 |archive waiting 0 ",
	}
	check(want)
	s.stop()
	s = start(t, dir, opt)
	check(want)
	// The letter that is open moves to no other file; when it is closed, the first file goes.
	for l, err := range s.DeadLetters("emr") {
		if err == nil {
			err = s.Drop(l, "")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if list, _ := filepath.Glob(filepath.Join(dir, deadDir, "*")); len(list) != 1 {
		t.Fatalf("files of dead letters %q", list)
	}
	want["sent"] = "emr delivered 0 |archive waiting 0 "
	want["lost"] = "emr dropped 0 |archive waiting 0 "                      // its mark is in the file that is left
	want["again"] = "copy|emr waiting 0 |emr settled 0 |archive waiting 0 " // its mark is gone
	want["gone"] = "emr settled 0 |archive waiting 0 "
	check(want)
	s.stop()
	s = start(t, dir, opt)
	check(want)
	s.stop()
}

type finding interface {
	Find(context.Context, Lookup) iter.Seq2[Found, error]
}
