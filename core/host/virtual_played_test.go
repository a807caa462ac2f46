package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hostd/hostd/core/internal/wire"
	"github.com/hostd/hostd/core/sdk"
)

// instrument is a device that makes records at a steady rate whether or not anybody takes them, and offers a batch until it
// is acknowledged. Record n is made by its number, so that everybody knows what is in it.
type instrument struct {
	name  string
	rate  float64       // records per second
	batch int           // records that it gathers before it sends, in batches of at most sdk.MaxBatch; a polled one gives what there is
	every time.Duration // polled at that interval; 0: it sends by itself
	takes time.Duration // of each poll
	dates bool          // its records have a time, in this computer's zone
	begin time.Time     // when it began to make records
	from  int           // records that it had then
	limit int           // records that it makes, with those
	check time.Duration // what the host's check of a batch takes of a worker, and
	sync  time.Duration // its fsync of none; with them the times of its answers are kept

	frozen bool // it does not end its poll

	mu    sync.Mutex
	acked int         // guarded by mu: records that it was told are safe
	nos   int         // guarded by mu: negative answers
	polls []time.Time // guarded by mu
	waits bool        // guarded by mu: for the answer to a batch
	asked bool        // guarded by mu: a poll is under way

	answers []time.Duration // guarded by mu: from the end of a batch to its acknowledgement
}

// refusedPause is how long a refused instrument waits before it offers its records again.
const refusedPause = 10 * time.Second

var errTakenBack = errors.New("the host has opened the instrument before what it had acknowledged")

// Open is wire.DeviceHandler's. A host that knows more than the instrument has lost an answer; one that knows less has lost
// records.
func (in *instrument) Open(_ context.Context, o wire.OpenDevice) error {
	from := 0
	if len(o.Position) > 0 {
		var err error
		if from, err = strconv.Atoi(string(o.Position)); err != nil {
			return err
		}
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.asked = false
	if from < in.acked {
		return fmt.Errorf("%w: %d, not %d", errTakenBack, from, in.acked)
	}
	in.acked = from
	return nil
}

// Close is wire.DeviceHandler's.
func (in *instrument) Close(context.Context) error { return nil }

// made is how many records there are by now.
func (in *instrument) made() int {
	return min(in.from+int(time.Since(in.begin).Seconds()*in.rate), in.limit)
}

// note changes what is guarded by mu.
func (in *instrument) note(change func()) {
	in.mu.Lock()
	defer in.mu.Unlock()
	change()
}

func (in *instrument) safe() (n int) {
	in.note(func() { n = in.acked })
	return n
}

// busy says that it waits for an answer, or is being polled.
func (in *instrument) busy() (waits, asked bool) {
	in.note(func() { waits, asked = in.waits, in.asked })
	return waits, asked
}

func (in *instrument) negatives() (n int) {
	in.note(func() { n = in.nos })
	return n
}

// polled counts the polls from then on until before to.
func (in *instrument) polled(from, to time.Time) (n int) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, at := range in.polls {
		if !at.Before(from) && at.Before(to) {
			n++
		}
	}
	return n
}

// Run is wire.DeviceHandler's.
func (in *instrument) Run(ctx context.Context, s wire.DeviceStream) error {
	s = &hearing{DeviceStream: s, ctx: ctx, answers: make(chan wire.Answer, 1), ended: make(chan error, 1)}
	go s.(*hearing).hear()
	talk := conversation{in: in, s: s.(*hearing), buf: make([]byte, 96)}
	if in.every > 0 {
		return talk.polled()
	}
	return talk.listening()
}

// hearing is a stream whose answers come in a channel.
type hearing struct {
	wire.DeviceStream
	ctx     context.Context // of the stream
	answers chan wire.Answer
	ended   chan error
}

func (h *hearing) hear() {
	for {
		a, err := h.Recv()
		if err != nil {
			h.ended <- err
			return
		}
		select {
		case h.answers <- a:
		case <-h.ctx.Done():
			return
		}
	}
}

// answer waits for the host's word.
func (h *hearing) answer() (wire.Answer, error) {
	select {
	case a := <-h.answers:
		return a, nil
	case err := <-h.ended:
		return wire.Answer{}, err
	case <-h.ctx.Done():
		return wire.Answer{}, h.ctx.Err()
	}
}

// conversation is one stream of an instrument.
type conversation struct {
	in     *instrument
	s      *hearing
	number uint64
	rec    sdk.Record
	buf    []byte
}

func (c *conversation) sleep(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case err := <-c.s.ended:
		return err
	case <-c.s.ctx.Done():
		return c.s.ctx.Err()
	}
}

// listening sends whenever a batch is full, and the last ones as they are.
func (c *conversation) listening() error {
	for {
		in := c.in
		have := in.made() - in.safe()
		if have < in.batch && in.made() < in.limit || have == 0 {
			missing := float64(in.batch - have)
			if err := c.sleep(time.Duration(missing/in.rate*float64(time.Second)) + time.Millisecond); err != nil {
				return err
			}
			continue
		}
		if _, err := c.offer(have); err != nil {
			return err
		}
	}
}

// polled gives what there is when it is asked.
func (c *conversation) polled() error {
	for {
		a, err := c.s.answer()
		if err != nil {
			return err
		}
		if a.PollMillis == 0 {
			return fmt.Errorf("an answer beside a poll: %+v", a)
		}
		c.in.note(func() { c.in.polls, c.in.asked = append(c.in.polls, time.Now()), true })
		if c.in.frozen {
			<-c.s.ctx.Done()
		}
		if err := c.poll(); err != nil {
			return err
		}
		out := wire.NewOutgoing(0)
		out.Sign(false, true)
		if err := c.s.Send(out); err != nil {
			return err
		}
		c.in.note(func() { c.in.asked = false })
	}
}

// poll gives what there is, until it is refused.
func (c *conversation) poll() error {
	if err := c.sleep(c.in.takes); err != nil {
		return err
	}
	for {
		have := c.in.made() - c.in.safe()
		if have == 0 {
			return nil
		}
		if taken, err := c.offer(have); err != nil || !taken {
			return err
		}
	}
}

// offer sends the next n records, or as many as a batch may have, and waits for the answer.
func (c *conversation) offer(n int) (taken bool, err error) {
	from := c.in.safe()
	n = min(n, sdk.MaxBatch)
	out := wire.NewOutgoing(n * 96)
	for i := range n {
		c.in.fill(&c.rec, from+i+1, c.buf)
		out.Record(&c.rec)
	}
	c.number++
	out.Head(c.number, strconv.Itoa(from+n))
	c.in.note(func() { c.in.waits = true })
	defer c.in.note(func() { c.in.waits = false })
	sent := time.Now()
	if err := c.s.Send(out); err != nil {
		return false, err
	}
	a, err := c.s.answer()
	switch {
	case err != nil:
		return false, err
	case a.Ack == c.number:
		c.in.note(func() {
			c.in.acked = from + n
			if c.in.sync > 0 {
				c.in.answers = append(c.in.answers, time.Since(sent))
			}
		})
		return true, nil
	case a.Refused == c.number:
		c.in.note(func() { c.in.nos++ })
		return false, c.sleep(refusedPause)
	default:
		return false, fmt.Errorf("batch %d has the answer %+v", c.number, a)
	}
}

// fill makes record n of the instrument: 64 bytes on the wire, about.
func (in *instrument) fill(r *sdk.Record, n int, buf []byte) {
	id := strconv.AppendInt(buf[:0], int64(n), 10)
	r.ID, r.Kind = string(id), "played"
	r.Data = content(buf[32:32], in.name, r.ID)
	if in.dates {
		r.Time = in.begin.Add(time.Duration(float64(n-in.from) / in.rate * float64(time.Second))).Local()
	}
}

// contentSize makes records of about 64 bytes.
const contentSize = 44

// content is what is in a record.
func content(b []byte, name, id string) []byte {
	b = append(append(append(b, name...), ' '), id...)
	for len(b) < contentSize {
		b = append(b, id[len(b)%len(id)])
	}
	return b
}

// receiver is a sink that holds what it is given against what the instruments make. It has receipts, as the sql sink has:
// a record that it has already is counted and is not stored again.
type receiver struct {
	name  string
	frost *frost // of the computer that it runs on

	mu     sync.Mutex
	down   error           // guarded by mu: what every write fails with; nil: it works
	slow   time.Duration   // guarded by mu: of each write
	dies   bool            // guarded by mu: a write whose stream has ended is not done
	frozen bool            // it does not answer
	timed  bool            // ways are kept
	inHand int             // guarded by mu: writes under way
	have   map[string]int  // guarded by mu: number of the newest record, by device; all before it are there
	again  int             // guarded by mu: records that came once more
	faults []string        // guarded by mu: lost, reordered or altered
	stored int             // guarded by mu
	tries  int             // guarded by mu: writes that failed
	seq    uint64          // guarded by mu: of the newest stored record
	ways   []time.Duration // guarded by mu: of records, from the disk to here
	buf    [64]byte        // guarded by mu
}

// Open is wire.SinkHandler's.
func (r *receiver) Open(context.Context, wire.OpenSink, sdk.Store, sdk.Cache) error { return nil }

// Check is wire.SinkHandler's.
func (r *receiver) Check(context.Context, wire.OpenSink, sdk.Store, sdk.Cache, sdk.Catalog) ([]sdk.Finding, error) {
	return nil, nil
}

// Close is wire.SinkHandler's.
func (r *receiver) Close(context.Context) error { return nil }

// Write is wire.SinkHandler's.
func (r *receiver) Write(ctx context.Context, records []sdk.Record) error {
	r.note(func() { r.inHand++ })
	defer r.note(func() { r.inHand-- })
	if r.frozen {
		<-ctx.Done()
		return ctx.Err()
	}
	time.Sleep(r.slowness())
	r.frost.wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dies && ctx.Err() != nil {
		return ctx.Err()
	}
	if r.down != nil {
		r.tries++
		return r.down
	}
	if r.have == nil {
		r.have = map[string]int{}
	}
	for i := range records {
		r.take(&records[i])
	}
	return nil
}

// note changes what is guarded by mu.
func (r *receiver) note(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

func (r *receiver) slowness() (d time.Duration) {
	r.note(func() { d = r.slow })
	return d
}

// take is called with mu held.
func (r *receiver) take(rec *sdk.Record) {
	n, err := strconv.Atoi(rec.ID)
	have := r.have[rec.Source]
	switch {
	case err != nil, !bytes.Equal(rec.Data, content(r.buf[:0], rec.Source, rec.ID)):
		r.fault("record %d of %s is not what was sent", rec.Seq, rec.Source)
	case n <= have:
		r.again++
		return
	case !rec.Time.IsZero() && rec.Time.Format(time.RFC3339) != rec.Time.Local().Format(time.RFC3339):
		r.fault("record %d of %s was taken at %s, which is %s here", n, rec.Source, rec.Time, rec.Time.Local())
	case n != have+1:
		r.fault("record %d of %s follows %d", n, rec.Source, have)
	case rec.Seq <= r.seq:
		r.fault("seq %d follows %d", rec.Seq, r.seq)
	}
	r.have[rec.Source] = n
	r.seq = rec.Seq
	r.stored++
	if r.timed {
		r.ways = append(r.ways, time.Since(rec.Received))
	}
}

// fault is called with mu held.
func (r *receiver) fault(format string, args ...any) {
	if len(r.faults) < 10 {
		r.faults = append(r.faults, fmt.Sprintf(format, args...))
	}
}

func (r *receiver) set(down error) { r.note(func() { r.down = down }) }

func (r *receiver) count() (n int) {
	r.note(func() { n = r.stored })
	return n
}

func (r *receiver) failures() (n int) {
	r.note(func() { n = r.tries })
	return n
}

func (r *receiver) writes() (n int) {
	r.note(func() { n = r.inHand })
	return n
}

func (r *receiver) doubles() (n int) {
	r.note(func() { n = r.again })
	return n
}

// holds says that the sink has exactly what these instruments were told is safe, each record once and in order, and that no
// more than so many came again in its time.
func (r *receiver) holds(t *testing.T, instruments []*instrument, again int) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.faults {
		t.Errorf("%s: %s", r.name, f)
	}
	sum := 0
	for _, in := range instruments {
		safe := in.safe()
		sum += safe
		if r.have[in.name] != safe {
			t.Errorf("%s: %s was told that %d records are safe, and %d are there", r.name, in.name, safe, r.have[in.name])
		}
	}
	if r.stored != sum || r.again > again {
		t.Errorf("%s: %d records stored of %d, %d came again, at most %d may", r.name, r.stored, sum, r.again, again)
	}
}
