package spool

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	powerCutsEach = flag.Int("power-cuts", 13*cutsOfALife, "of TestPowerCutLosesNothingAcknowledged: how often the power is cut in each of its six forms")
	powerSeed     = flag.Uint64("power-seed", 1000, "of TestPowerCutLosesNothingAcknowledged: the first seed; a form takes as many as it needs")
)

// powerSeeds have found something, and come before the others: torn groups and letters that were called damaged (0, 3), a torn end
// behind a torn head (5, 8, 34), one of a segment that came back (17, 30), letters that were not synced (85, 153), or were closed
// and came back (1, 36), a segment that was not synced by the opening that read it (12), and a record that was on the disk before the
// name of its attachment (50123).
var powerSeeds = []uint64{0, 1, 3, 5, 8, 12, 17, 30, 34, 36, 85, 153, 50123}

const (
	cutsOfALife = 12  // after which a new spool is begun
	stepsOfALeg = 25  // at most, between two cuts
	opsOfALeg   = 120 // of the disk, about
)

// outage is one spool on a disk whose power is cut again and again, and what was told of its records. A device gives records
// with the numbers 0, 1, 2 ..., its position is the number after the last; a sink delivers, or gives up.
type outage struct {
	t    *testing.T
	rnd  *rand.Rand
	d    *memDisk
	seal bool

	off  bool   // the power
	want string // the operation before which it goes; empty: any
	left int    // of those

	next     int               // number that the device gives next
	told     int               // records below it were acknowledged
	sent     map[string]bool   // payloads
	settled  map[int]bool      // delivered
	letters  map[int]bool      // given up, the letter was kept
	dropping map[int]bool      // their letters were being closed
	dropped  map[int]bool      // their letters are closed
	contents map[uint64]string // what was read under each number of the spool

	tally
}

// tally is what a test has done.
type tally struct {
	cuts, starts, torn, kills int
	records                   int // acknowledged
}

func (a *tally) add(b tally) {
	a.cuts, a.starts, a.torn, a.kills, a.records = a.cuts+b.cuts, a.starts+b.starts, a.torn+b.torn, a.kills+b.kills, a.records+b.records
}

func newOutage(t *testing.T, seed uint64, kind entries, seal bool) *outage {
	o := &outage{
		t: t, rnd: rand.New(rand.NewPCG(12, seed)), d: newMemDisk(), seal: seal, sent: map[string]bool{}, settled: map[int]bool{},
		letters: map[int]bool{}, dropping: map[int]bool{}, dropped: map[int]bool{}, contents: map[uint64]string{},
	}
	o.d.entries = kind
	return o
}

func (o *outage) options(d *memDisk) Options {
	return Options{
		disk: d.disk(), SegmentSize: 4 << 10, Reserve: 600, BlobGrace: time.Nanosecond,
		Seal: o.seal, Key: testKey, Describe: describeText,
	}
}

// TestPowerCutLosesNothingAcknowledged cuts the power of a model of a disk at random operations of the spool's life and of its
// opening: what was synced stays, and of the rest any sectors, any size with zeros in it, and any directory entries. Nothing that
// was acknowledged may be lost, nothing be there in part, twice or in another order, and nothing be called damaged.
func TestPowerCutLosesNothingAcknowledged(t *testing.T) {
	for kind, name := range []string{"an entry is safe by its folder's sync", "an entry is safe by any sync", "folders have no sync"} {
		for _, seal := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, sealed %v", name, seal), func(t *testing.T) {
				t.Parallel()
				var sum tally
				began := time.Now()
				for n := uint64(0); sum.cuts < *powerCutsEach; n++ {
					seed := *powerSeed + n
					if n < uint64(len(powerSeeds)) {
						seed = powerSeeds[n]
					}
					o := newOutage(t, seed, entries(kind), seal)
					if err := o.live(min(cutsOfALife, *powerCutsEach-sum.cuts)); err != nil {
						t.Fatalf("seed %d, after %d cuts: %v", seed, o.cuts, err)
					}
					sum.add(o.tally)
				}
				t.Logf("%d cuts, %d of them while it opened, %d torn ends, %d kills between, %d records: none lost; %s a cut",
					sum.cuts, sum.starts, sum.torn, sum.kills, sum.records, time.Since(began)/time.Duration(sum.cuts))
			})
		}
	}
}

// Each check sees the disk that breaks what it holds.
func TestPowerCutCanFail(t *testing.T) {
	for name, spoil := range map[string]func(d *memDisk){
		"syncs nothing":   func(d *memDisk) { d.lie = true }, // as if it were acknowledged before the sync
		"syncs no folder": func(d *memDisk) { d.deaf = true },
	} {
		found := false
		for seed := range uint64(20) {
			o := newOutage(t, seed, ownSync, seed%2 == 1)
			spoil(o.d)
			found = found || o.live(cutsOfALife) != nil
		}
		if !found {
			t.Errorf("a disk that %s has lost nothing", name)
		}
	}
}

// powerCuts is the beginning of the life of one spool, sealed with key if that is not nil. lie: the disk says that it has synced and has not.
func powerCuts(t *testing.T, seed uint64, lie bool, key []byte) error {
	o := newOutage(t, seed, entries(seed%uint64(entryKinds)), key != nil)
	o.d.lie = lie
	return o.live(cutsOfALife / 3)
}

// live goes from cut to cut.
func (o *outage) live(cuts int) error {
	for o.cuts < cuts {
		o.arm()
		s, err := Open("data/spool", o.options(o.d))
		switch {
		case err != nil && !o.off:
			return fmt.Errorf("open: %w", err)
		case o.off:
			o.starts++
		default:
			err = o.leg(s)
		}
		if s != nil {
			s.Close()
		}
		if err != nil && !o.off {
			return err
		}
		if o.d.fail = nil; o.rnd.IntN(6) == 0 {
			o.kills++ // only the process: what it wrote is in the page cache
			continue
		}
		o.d = o.d.crash(o.rnd, o.rnd.IntN(4) == 0)
		o.cuts++
		if err := o.check(); err != nil {
			return err
		}
	}
	return nil
}

// arm chooses when the power goes: at any operation, before a group is safe, or while the spool opens.
func (o *outage) arm() {
	o.off, o.want, o.left = false, "", o.rnd.IntN(opsOfALeg)
	switch o.rnd.IntN(3) {
	case 0:
		o.want, o.left = "sync", o.rnd.IntN(16)
	case 1:
		o.left = o.rnd.IntN(opsOfALeg / 4)
	}
	o.d.fail = func(_ int, op string) error {
		if !o.off && (o.want == "" || op == o.want) {
			o.left--
			o.off = o.left < 0
		}
		if o.off {
			return errPower
		}
		return nil
	}
}

// leg is the work between an opening and a cut.
func (o *outage) leg(s *Spool) error {
	id, err := s.RegisterSink("emr")
	if err != nil {
		return err
	}
	o.next = position(s)
	for n := o.rnd.IntN(stepsOfALeg); n >= 0 && !o.off && err == nil; n-- {
		err = o.step(s, id)
	}
	if err == nil && !o.off && o.rnd.IntN(4) == 0 {
		err = s.finish()
	}
	return err
}

func (o *outage) step(s *Spool, id SinkID) error {
	switch o.rnd.IntN(14) {
	case 0, 1, 2:
		return o.deliver(s, id)
	case 3, 7:
		return o.drop(s, id)
	case 4:
		s.indexOne(o.t.Context())
		return nil
	case 5, 6:
		_, _, err := s.SweepBlobs(o.t.Context())
		return err
	}
	return o.append(s)
}

func position(s *Spool) (n int) {
	if p, ok := s.Position("ark-1"); ok {
		fmt.Sscan(string(p), &n)
	}
	return n
}

func (o *outage) append(s *Spool) error {
	b := Batch{Device: "ark-1", HasPosition: true}
	n := o.next
	for range 1 + o.rnd.IntN(4) {
		p, err := o.exam(s, n)
		if err != nil {
			return err
		}
		n++
		o.sent[p] = true
		b.Records = append(b.Records, Entry{Payload: []byte(p), Sinks: 1})
	}
	b.Position = fmt.Append(nil, n)
	var answers []error
	if err := s.Append(context.Background(), b, func(err error) { answers = append(answers, err) }); err != nil {
		return err
	}
	err := s.commit(false)
	switch {
	case len(answers) != 1:
		return fmt.Errorf("%d answers for a batch", len(answers))
	case answers[0] == nil:
		o.records += n - o.told
		o.next, o.told = n, n
	}
	return err
}

// exam is a record that can be checked by itself, now and then with an attachment.
func (o *outage) exam(s *Spool, n int) (string, error) {
	body := make([]byte, o.rnd.IntN(700))
	switch o.rnd.IntN(12) {
	case 0:
		body = make([]byte, 1+o.rnd.IntN(6<<10)) // zeros, as an image has them
	case 1:
		body = make([]byte, o.rnd.IntN(6<<10))
		fallthrough
	default:
		for i := range body {
			body[i] = byte(o.rnd.Uint32())
		}
	}
	hash, err := "", error(nil)
	if o.rnd.IntN(8) == 0 {
		hash, err = o.attach(s, bytes.Repeat([]byte{byte(1 + n%255)}, 1+o.rnd.IntN(1500)))
	}
	return fmt.Sprintf("%d;exam;p;%s;%x%s", n, hash, sha256.Sum256(body), body), err
}

func (o *outage) attach(s *Spool, content []byte) (string, error) {
	const path = "data/staging/file"
	hash := hashText(string(content))
	o.d.names[path] = &memFile{data: content, dirty: []span{{0, int64(len(content))}}, cut: 1 << 62}
	o.d.changed()
	return hash, s.TakeBlob(path, hash, int64(len(content)))
}

// deliver takes what waits, gives up some of it, and settles.
func (o *outage) deliver(s *Spool, id SinkID) error {
	r, err := s.Reader(id)
	if err != nil {
		return err
	}
	defer r.Close()
	lease, err := r.TryNext(1+o.rnd.IntN(10), 1<<20)
	if err != nil || lease == nil {
		return err
	}
	defer lease.Release()
	died := 0
	for _, ref := range lease.Records {
		n, err := o.read(&ref)
		if err != nil {
			return err
		}
		if o.rnd.IntN(5) > 0 {
			o.settled[n] = true
			continue
		}
		delete(o.dropped, n) // it was not settled by then, and gets a new letter
		if err := s.Dead(o.t.Context(), id, ref, "no column", 1); err != nil {
			return err // nothing of the lease is settled: the sink gets it once more
		}
		delete(o.dropping, n)
		o.letters[n] = true
		died++
	}
	return s.Settle(id, lease.Records[len(lease.Records)-1].Seq, len(lease.Records), died)
}

// read holds one record against what was sent.
func (o *outage) read(ref *Ref) (n int, err error) {
	p := string(ref.Payload)
	if before, ok := o.contents[ref.Seq]; ok && before != p {
		return 0, fmt.Errorf("number %d was given to two records", ref.Seq)
	}
	o.contents[ref.Seq] = p
	if !o.sent[p] || ref.Device != "ark-1" {
		return 0, fmt.Errorf("record %.20q of %s was never sent", p, ref.Device)
	}
	head, _, _ := strings.Cut(p, ";")
	if _, err := fmt.Sscan(head, &n); err != nil {
		return 0, err
	}
	return n, nil
}

// drop closes the first letter whose record is settled.
func (o *outage) drop(s *Spool, id SinkID) error {
	for l, err := range s.DeadLetters("emr") {
		if err != nil {
			return err
		}
		if l.Seq > s.Stats().Sinks[id].Cursor {
			continue
		}
		n, err := o.read(&Ref{Seq: l.Seq, Device: l.Device, Payload: l.Payload})
		if err == nil {
			o.dropping[n] = true
			err = s.Drop(l, "a test")
		}
		if err == nil {
			o.dropped[n] = true
		}
		return err
	}
	return nil
}

// check looks at what the cut has left, on a copy of it.
func (o *outage) check() error {
	d := o.d.crash(nil, true)
	if err := o.verify(d); err != nil {
		return fmt.Errorf("inspect: %w", err)
	}
	s, err := Open("data/spool", o.options(d))
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer s.Close()
	st := s.Stats()
	if o.torn += min(st.Torn, 1); st.Quarantined > 0 {
		return fmt.Errorf("%d ranges are called damaged: %s", st.Quarantined, setAside(d))
	}
	there, err := o.waiting(s)
	if err != nil {
		return err
	}
	letters, err := o.kept(s)
	if err != nil {
		return err
	}
	end := position(s)
	if end < o.told {
		return fmt.Errorf("position %d, acknowledged %d", end, o.told)
	}
	for n := range end {
		if !there[n] && !o.settled[n] && !letters[n] && !o.dropping[n] {
			return fmt.Errorf("record %d of %d is lost", n, end)
		}
	}
	if q := s.Stats().Quarantined; q > 0 {
		return fmt.Errorf("%d ranges are called damaged by a reader: %s", q, setAside(d))
	}
	return nil
}

// setAside is what the spool noted of damaged ranges.
func setAside(d *memDisk) (notes string) {
	for _, path := range slices.Sorted(maps.Keys(d.names)) {
		if strings.HasSuffix(path, ".txt") {
			notes += strings.ReplaceAll(string(d.names[path].data), "\n", " ")
		}
	}
	return notes
}

// verify holds that an inspection before the next start finds nothing damaged, but for the end that may be torn.
func (o *outage) verify(d *memDisk) error {
	i, err := Inspect("data/spool", o.options(d))
	if err != nil {
		return err
	}
	n := 0
	for r, err := range i.Verify() {
		// Behind a deleted segment that has come back while a later one has not, nothing says where its log ends.
		if n++; err != nil || r.Damaged > 0 && !r.Open && i.files[n].prev == i.files[n-1].num {
			return fmt.Errorf("%+v, %w", r, err)
		}
	}
	return nil
}

// waiting reads what waits for the sink: in order, without a gap, each once, up to the position, with all attachments.
func (o *outage) waiting(s *Spool) (map[int]bool, error) {
	id, err := s.RegisterSink("emr")
	if err != nil {
		return nil, err
	}
	there, end := map[int]bool{}, position(s)
	refs := drain(o.t, s, id)
	for i, ref := range refs {
		n, err := o.read(&ref)
		if want := end - len(refs) + i; err == nil && n != want {
			err = fmt.Errorf("record %d stands where %d should, of %d that wait", n, want, len(refs))
		}
		if err == nil {
			err = o.attached(s, &ref)
		}
		if err == nil && o.rnd.IntN(20) == 0 {
			err = o.found(s, &ref)
		}
		if err != nil {
			return nil, err
		}
		there[n] = true
	}
	return there, nil
}

// attached holds that the record's attachment is there.
func (o *outage) attached(s *Spool, ref *Ref) error {
	about, err := describeText(ref.Payload)
	for _, hash := range about.Attachments {
		err = errors.Join(err, s.VerifyBlob(o.t.Context(), hash))
	}
	return err
}

// found holds that the record can be looked up.
func (o *outage) found(s *Spool, ref *Ref) error {
	about, err := describeText(ref.Payload)
	if err != nil {
		return err
	}
	found := 0
	for f, err := range s.Find(o.t.Context(), Lookup{ID: string(about.ID)}) {
		if err != nil {
			return err
		}
		if f.Ref.Seq == ref.Seq && slices.Equal(f.Ref.Payload, ref.Payload) {
			found++
		}
	}
	if found != 1 {
		return fmt.Errorf("record %s is found %d times", about.ID, found)
	}
	return nil
}

// kept are the open letters, by the numbers of their records. Each that was kept and not dropped is among them.
func (o *outage) kept(s *Spool) (map[int]bool, error) {
	letters := map[int]bool{}
	for l, err := range s.DeadLetters("emr") {
		if err != nil {
			return nil, err
		}
		ref := Ref{Seq: l.Seq, Device: l.Device, Payload: l.Payload}
		n, err := o.read(&ref)
		if err == nil {
			err = o.attached(s, &ref)
		}
		switch {
		case err != nil:
			return nil, fmt.Errorf("letter %d: %w", n, err)
		case o.dropped[n]:
			return nil, fmt.Errorf("letter %d was dropped, and is there", n)
		case letters[n]:
			return nil, fmt.Errorf("letter %d is there twice", n)
		}
		letters[n] = true
	}
	for n := range o.letters {
		if !letters[n] && !o.dropping[n] {
			return nil, fmt.Errorf("letter %d is lost", n)
		}
	}
	return letters, nil
}
