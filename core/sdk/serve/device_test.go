package serve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostd/hostd/core/internal/wire"
	"github.com/hostd/hostd/core/sdk"
)

// diary lists the calls of a device, with the moment at which each begins and ends.
type diary struct {
	mu   sync.Mutex
	list []string
}

func (d *diary) write(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list = append(d.list, fmt.Sprintf(format, args...))
}

func (d *diary) want(t *testing.T, want ...string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	if !slices.Equal(d.list, want) {
		t.Errorf("calls\n%s\nwant\n%s", strings.Join(d.list, ", "), strings.Join(want, ", "))
	}
	d.list = nil
}

// script is a Device that returns what the test puts into its channel.
type script struct {
	diary
	env    sdk.Env
	batch  chan sdk.Batch // closed: Read returns errRead
	ackErr error
	opened error
	deaf   chan struct{} // not nil: Read does not end by its ctx, but with this
}

var errRead = errors.New("read port: it is gone")

func newScript() *script { return &script{batch: make(chan sdk.Batch, 100)} }

func (s *script) Open(_ context.Context, env sdk.Env, from sdk.Position) error {
	s.env = env
	s.write("open %s", from)
	return s.opened
}

func (s *script) Read(ctx context.Context) (sdk.Batch, error) {
	s.write("read")
	done := ctx.Done()
	if s.deaf != nil {
		done = s.deaf
	}
	select {
	case b, ok := <-s.batch:
		if !ok {
			return b, errRead
		}
		s.write("got %s", b.Next)
		return b, nil
	case <-done:
		s.write("read ends")
		return sdk.Batch{}, ctx.Err()
	}
}

func (s *script) Ack(_ context.Context, upTo sdk.Position) error {
	s.write("ack %s", upTo)
	return s.ackErr
}

func (s *script) Close(context.Context) error {
	s.write("close")
	return nil
}

// refusing is a script that knows the negative answer.
type refusing struct{ *script }

func (r refusing) Refuse(_ context.Context, upTo sdk.Position, why sdk.Reason) error {
	r.write("refuse %s %s", upTo, why)
	return nil
}

// host is the fake other end of the stream.
type host struct {
	t       *testing.T
	h       *deviceHandler
	ctx     context.Context
	hangUp  context.CancelFunc
	got     chan *wire.Incoming
	answers chan wire.Answer
	ended   chan error // what Run returns
}

func (h *host) Send(out *wire.Outgoing) error {
	codec := wire.NewCodec()
	b, err := codec.Marshal(out)
	if err != nil {
		return err
	}
	in := &wire.Incoming{Keep: true}
	if err := codec.Unmarshal(b, in); err != nil {
		return err
	}
	h.got <- in
	return nil
}

func (h *host) Recv() (wire.Answer, error) {
	select {
	case a := <-h.answers:
		return a, nil
	case <-h.ctx.Done():
		return wire.Answer{}, io.EOF
	}
}

// begin opens the device and runs its stream. Run ends the fake stream as gRPC does.
func begin(t *testing.T, d sdk.Device, window int, polled bool) *host {
	t.Helper()
	h := &host{
		t: t, got: make(chan *wire.Incoming, 100), answers: make(chan wire.Answer, 100), ended: make(chan error, 1),
		h: &deviceHandler{device: d, window: window, polled: polled, log: newLogOutput(io.Discard)},
	}
	dir := t.TempDir()
	if err := h.h.Open(t.Context(), wire.OpenDevice{Name: "ark", Position: []byte("p0"), StagingDir: dir}); err != nil {
		t.Fatal(err)
	}
	h.ctx, h.hangUp = context.WithCancel(t.Context())
	go func() {
		defer h.hangUp()
		h.ended <- h.h.Run(h.ctx, h)
	}()
	synctest.Wait()
	return h
}

// next is the message that was sent, or nil.
func (h *host) next() *wire.Incoming {
	synctest.Wait()
	select {
	case in := <-h.got:
		return in
	default:
		return nil
	}
}

// want is the next message, which must have so many records and the position.
func (h *host) want(records int, next string) *wire.Incoming {
	h.t.Helper()
	in := h.next()
	if in == nil {
		h.t.Fatal("nothing was sent")
	}
	if len(in.Records) != records || string(in.Next) != next {
		h.t.Fatalf("sent %d records and position %q, want %d and %q", len(in.Records), in.Next, records, next)
	}
	return in
}

func (h *host) answer(a wire.Answer) {
	h.answers <- a
	synctest.Wait()
}

// end is how Run ends; it must have ended.
func (h *host) end() error {
	h.t.Helper()
	synctest.Wait()
	select {
	case err := <-h.ended:
		return err
	default:
		h.t.Fatal("Run goes on")
		return nil
	}
}

func (h *host) close() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(h.t.Context()), 3*time.Second)
	defer cancel()
	if err := h.h.Close(ctx); err != nil {
		h.t.Errorf("close: %v", err)
	}
	h.hangUp()
	synctest.Wait()
}

func records(n int, size int) (list []sdk.Record) {
	for i := range n {
		list = append(list, sdk.Record{ID: fmt.Sprintf("r%d", i), Kind: "k", Data: bytes.Repeat([]byte("x"), size)})
	}
	return list
}

func batch(next string, n int) sdk.Batch {
	return sdk.Batch{Records: records(n, 10), Next: sdk.Position(next)}
}

func TestWindowOfOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		s.batch <- batch("p1", 2)
		s.batch <- batch("p2", 1)
		h := begin(t, s, 1, false)
		in := h.want(2, "p1")
		if h.next() != nil {
			t.Error("a second batch was sent before the answer to the first")
		}
		s.want(t, "open p0", "read", "got p1")
		h.answer(wire.Answer{Ack: in.Number})
		in = h.want(1, "p2")
		s.want(t, "ack p1", "read", "got p2")
		h.answer(wire.Answer{Ack: in.Number})
		s.want(t, "ack p2", "read")
		h.close()
		s.want(t, "read ends", "close")
		if err := h.end(); err == nil {
			t.Error("Run ended without a reason")
		}
	})
}

func TestWindowOfThree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		for i := 1; i <= 9; i++ {
			s.batch <- batch(fmt.Sprintf("p%d", i), 1)
		}
		h := begin(t, s, 3, false)
		h.want(1, "p1")
		second := h.want(1, "p2")
		h.want(1, "p3")
		if h.next() != nil {
			t.Error("more batches are open than the window allows")
		}
		s.want(t, "open p0", "read", "got p1", "read", "got p2", "read", "got p3")
		h.answer(wire.Answer{Ack: second.Number}) // covers the first, too
		h.want(1, "p4")
		h.want(1, "p5")
		if h.next() != nil {
			t.Error("an answer frees more places than it covers")
		}
		s.want(t, "ack p2", "read", "got p4", "read", "got p5")
		h.answer(wire.Answer{Refused: second.Number + 1, Reason: sdk.ReasonDisk})
		if err := h.end(); err == nil || !strings.Contains(err.Error(), "refused: disk") {
			t.Errorf("a device that has read ahead goes on after a refusal: %v", err)
		}
		h.close()
	})
}

func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		s.batch <- batch("p1", 1)
		s.batch <- batch("p1", 1)
		h := begin(t, refusing{s}, 1, false)
		in := h.want(1, "p1")
		h.answer(wire.Answer{Refused: in.Number, Reason: sdk.ReasonFull})
		h.want(1, "p1")
		s.want(t, "open p0", "read", "got p1", "refuse p1 full", "read", "got p1")
		h.close()

		s = newScript()
		s.batch <- batch("p1", 1)
		h = begin(t, s, 1, false)
		in = h.want(1, "p1")
		h.answer(wire.Answer{Refused: in.Number, Reason: sdk.ReasonFull})
		if err := h.end(); err == nil || !strings.Contains(err.Error(), "refused: full") {
			t.Errorf("a device that cannot hear a refusal goes on: %v", err)
		}
		h.close()
	})
}

// A batch that is refused and made anew leaves no copy of its large data behind; one that comes again as it was keeps it.
func TestRefusedLeavesNothingStaged(t *testing.T) {
	large := func() []sdk.Record { return []sdk.Record{{ID: "1", Kind: "k", Data: make([]byte, 2*sdk.MaxInline)}} }
	same := large()
	for _, c := range []struct {
		name string
		next func() []sdk.Record
	}{
		{"made anew", large},
		{"as it was", func() []sdk.Record { return same }},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newScript()
			for range 4 {
				s.batch <- sdk.Batch{Records: c.next(), Next: "p1"}
			}
			h := begin(t, refusing{s}, 1, false)
			for range 3 {
				in := h.want(1, "p1")
				h.answer(wire.Answer{Refused: in.Number, Reason: sdk.ReasonFull})
			}
			h.want(1, "p1")
			if files, err := os.ReadDir(h.h.session.finisher.staging); len(files) != 1 || err != nil {
				t.Errorf("%s: %d files are staged after three refusals, %v", c.name, len(files), err)
			}
			h.close()
		})
	}
}

// TestSplitBatch holds that a batch over the limits travels in parts of which only the last carries the position, and
// that one refused part reopens the device.
func TestSplitBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		s.batch <- batch("p1", sdk.MaxBatch*2+5)
		h := begin(t, refusing{s}, 1, false)
		first := h.want(sdk.MaxBatch, "")
		h.want(sdk.MaxBatch, "")
		last := h.want(5, "p1")
		h.answer(wire.Answer{Ack: first.Number})
		s.want(t, "open p0", "read", "got p1")
		h.answer(wire.Answer{Ack: last.Number})
		s.want(t, "ack p1", "read")

		s.batch <- sdk.Batch{Records: records(3, sdk.MaxBatchSize/2), Next: "p2"}
		first = h.want(1, "")
		h.want(1, "")
		h.want(1, "p2")
		h.answer(wire.Answer{Refused: first.Number, Reason: sdk.ReasonDisk})
		if err := h.end(); err == nil || !strings.Contains(err.Error(), "refused: disk") {
			t.Errorf("a device whose batch may be stored in parts goes on: %v", err)
		}
		h.close()
	})
}

func TestEmptyBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		s.batch <- sdk.Batch{}
		s.batch <- sdk.Batch{Next: "p5"}
		begun := time.Now()
		h := begin(t, s, 1, false)
		if h.next() != nil {
			t.Error("an empty batch without a position was sent")
		}
		time.Sleep(emptyPause)
		in := h.want(0, "p5")
		if took := time.Since(begun); took != emptyPause {
			t.Errorf("a device that returns nothing is read again after %v", took)
		}
		h.answer(wire.Answer{Ack: in.Number})
		s.want(t, "open p0", "read", "got ", "read", "got p5", "ack p5")
		h.close()
	})
}

// TestFaultsEndTheStream holds that whatever makes a session useless ends Run with its reason, and the host reopens.
func TestFaultsEndTheStream(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(s *script)
		act     func(h *host, s *script)
		want    string
	}{
		"position too long": {func(s *script) { s.batch <- batch(strings.Repeat("p", sdk.MaxPosition+1), 1) }, nil, "position of 4097 bytes"},
		"read":              {func(s *script) { close(s.batch) }, nil, errRead.Error()},
		"ack": {
			func(s *script) { s.ackErr = errors.New("port is gone"); s.batch <- batch("p1", 1) },
			func(h *host, _ *script) { h.answer(wire.Answer{Ack: h.want(1, "p1").Number}) }, "ack: port is gone",
		},
		"goroutine": {
			nil,
			func(_ *host, s *script) {
				s.env.Go(func(context.Context) error { return errors.New("listener is gone") })
			}, "listener is gone",
		},
		"attachment elsewhere": {
			func(s *script) {
				b := batch("p1", 1)
				b.Records[0].Attachments = []sdk.Attachment{{Path: filepath.Join("..", "secret")}}
				s.batch <- b
			}, nil, "not a file in Env.StagingDir",
		},
		"too many labels": {
			func(s *script) {
				b := batch("p1", 1)
				b.Records[0].Labels = map[string]string{"x": strings.Repeat("x", sdk.MaxRecord)}
				s.batch <- b
			}, nil, "the limit is",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScript()
				if c.prepare != nil {
					c.prepare(s)
				}
				h := begin(t, s, 1, false)
				if c.act != nil {
					c.act(h, s)
				}
				if err := h.end(); err == nil || !strings.Contains(err.Error(), c.want) {
					t.Errorf("Run ended with %v, want %q", err, c.want)
				}
				h.close()
			})
		})
	}
}

func TestGoroutinesAreJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		h := begin(t, s, 1, false)
		s.env.Go(func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(time.Second)
			s.write("goroutine ends")
			return ctx.Err()
		})
		h.close()
		s.want(t, "open p0", "read", "read ends", "close", "goroutine ends")
	})
}

// TestCloseDoesNotOverlap holds that Close waits for Read, and for one that is deaf only so long.
func TestCloseDoesNotOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		s.deaf = make(chan struct{})
		h := begin(t, s, 1, false)
		go func() {
			time.Sleep(closeGrace / 2)
			close(s.deaf)
		}()
		h.close()
		s.want(t, "open p0", "read", "read ends", "close")

		s = newScript()
		s.deaf = make(chan struct{})
		h = begin(t, s, 1, false)
		begun := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := h.h.Close(ctx); err == nil || time.Since(begun) != 3*time.Second {
			t.Errorf("a device that does not end is closed with %v after %v", err, time.Since(begun))
		}
		s.want(t, "open p0", "read", "close")
		close(s.deaf)
		h.hangUp()
	})
}

func TestPolled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		h := begin(t, s, 1, true)
		time.Sleep(time.Hour)
		if h.next() != nil {
			t.Error("sent something before it was polled")
		}
		s.want(t, "open p0")

		s.batch <- batch("p1", 1)
		s.batch <- sdk.Batch{}
		h.answer(wire.Answer{PollMillis: 1000})
		in := h.want(1, "p1")
		h.answer(wire.Answer{Ack: in.Number})
		if in := h.next(); in == nil || !in.Idle {
			t.Fatalf("the poll has no end: %+v", in)
		}
		s.want(t, "read", "got p1", "ack p1", "read", "got ")

		s.env.Wake()
		if in := h.next(); in == nil || !in.Wake {
			t.Fatalf("its wish to be read is not passed on: %+v", in)
		}

		begun := time.Now()
		h.answer(wire.Answer{PollMillis: 1000})
		if in := <-h.got; !in.Idle || time.Since(begun) != time.Second {
			t.Errorf("a poll over its limit ends after %v: %+v", time.Since(begun), in)
		}
		h.answer(wire.Answer{PollMillis: 1000})
		h.answer(wire.Answer{PollMillis: 1000})
		h.answer(wire.Answer{PollMillis: 1000})
		if err := h.end(); err == nil || !strings.Contains(err.Error(), "polled before") {
			t.Errorf("polled beside a poll: %v", err)
		}
		h.close()
	})
}

func TestOpenAndClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript()
		h := &deviceHandler{device: s, window: 1, log: newLogOutput(io.Discard)}
		if err := h.Close(t.Context()); err != nil {
			t.Errorf("close what was never open: %v", err)
		}
		if err := h.Run(t.Context(), nil); !errors.Is(err, errNotOpen) {
			t.Errorf("run what is not open: %v", err)
		}
		s.opened = errors.New("port is in use")
		if err := h.Open(t.Context(), wire.OpenDevice{}); !errors.Is(err, s.opened) {
			t.Errorf("failed open: %v", err)
		}
		if err := h.Close(t.Context()); err != nil {
			t.Error(err)
		}
		s.opened = nil
		for range 2 {
			if err := h.Open(t.Context(), wire.OpenDevice{Position: []byte("p")}); err != nil {
				t.Fatal(err)
			}
		}
		if err := h.Close(t.Context()); err != nil {
			t.Error(err)
		}
		s.want(t, "open ", "close", "open p", "close", "open p", "close")
	})
}

// TestLargePayloads holds that what is above the limit travels as attachments, that the content hash does not rest on
// the decoded form, and that the same records may be sent again.
func TestLargePayloads(t *testing.T) {
	f := finisher{staging: t.TempDir()}
	image := filepath.Join(f.staging, "image")
	if err := os.WriteFile(image, []byte("image"), 0o600); err != nil {
		t.Fatal(err)
	}
	raw := bytes.Repeat([]byte("r"), sdk.MaxInline+1)
	first := sdk.Record{ID: "1", Kind: "k", ContentType: "a/b", Data: []byte("decoded"), Raw: raw, Attachments: []sdk.Attachment{{Name: "i.jpg", Path: image}}}
	other := first
	other.Data, other.Attachments = []byte("decoded better"), slices.Clone(first.Attachments)
	bare := first
	bare.Attachments = nil
	for _, r := range []*sdk.Record{&first, &other, &bare} {
		if err := f.finish(r); err != nil {
			t.Fatal(err)
		}
	}
	if len(first.Raw) > 0 || len(first.Attachments) != 2 || first.Attachments[1].Role != "raw" || first.Attachments[1].Size != int64(len(raw)) {
		t.Fatalf("attachments %+v", first.Attachments)
	}
	if first.ContentHash() != other.ContentHash() {
		t.Error("a better decoder makes a resend look different")
	}
	if first.ContentHash() == bare.ContentHash() {
		t.Error("a record without its image has the same content")
	}
	before := fmt.Sprint(first)
	if err := f.finish(&first); err != nil || fmt.Sprint(first) != before {
		t.Errorf("sent again it is\n%+v (%v), first\n%s", first, err, before)
	}
	moved := sdk.Record{ID: "3", Kind: "exam", Data: []byte(`{"patient":{"id":"P-1"},"note":"` + strings.Repeat("x", len(raw)) + `"}`)}
	for try := range 2 {
		if err := f.finish(&moved); err != nil || moved.Data != nil || moved.Patient != "P-1" || moved.Unassigned {
			t.Errorf("try %d of a moved exam: patient %q, unassigned %v, %v", try+1, moved.Patient, moved.Unassigned, err)
		}
	}
	data := sdk.Record{ID: "2", Kind: "k", ContentType: "a/b", Data: raw}
	if err := f.finish(&data); err != nil || data.Data != nil || data.Attachments[0].Role != "data" || data.Attachments[0].ContentType != "a/b" {
		t.Errorf("%+v, %v", data, err)
	}
	content, err := os.ReadFile(filepath.Join(f.staging, data.Attachments[0].Path))
	if err != nil || !bytes.Equal(content, raw) {
		t.Errorf("staged are %d bytes, %v", len(content), err)
	}
}

func TestPatientOf(t *testing.T) {
	for _, c := range []struct {
		data, id   string
		unassigned bool
	}{
		{`{"patient":{"id":"P-1","name":"x"}}`, "P-1", false},
		{`{"patient":{"id":"","name":"x"}}`, "", true},
		{`{"patient":{"id":"  ","name":"x"}}`, "", true},
		{`{"device":{},"patient":{"name":"x","id":"P-2"}}`, "P-2", false},
		{`{"patient":{"id":"a\"b"}}`, `a"b`, false},
		{`{}`, "", true},
		{`not JSON`, "", true},
	} {
		if id, unassigned := patientOf([]byte(c.data)); id != c.id || unassigned != c.unassigned {
			t.Errorf("%s: %q %v", c.data, id, unassigned)
		}
	}
}

// TestTimesBeyondTheWire: what 64 bits of nanoseconds cannot say must not become another time.
func TestTimesBeyondTheWire(t *testing.T) {
	f := finisher{staging: t.TempDir()}
	for year, want := range map[int]bool{1500: false, 1677: false, 1678: true, 2025: true, 2261: true, 2262: false, 9999: false} {
		r := sdk.Record{ID: "1", Kind: "k", Time: time.Date(year, 12, 31, 12, 0, 0, 0, time.UTC)}
		if err := f.finish(&r); err != nil || r.Time.IsZero() == want {
			t.Errorf("year %d: %s, %v", year, r.Time, err)
		}
	}
}
