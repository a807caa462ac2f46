package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hostd/hostd/core/protocols/astm"
	"github.com/hostd/hostd/core/sdk/serve"
	"github.com/hostd/hostd/core/sdk/sim"
)

// Ways in which the simulated analyser misbehaves. Each message is there in the end, once.
const (
	noise      = "noise"       // bytes before ENQ and between frames
	split      = "split"       // frames in pieces
	cut        = "cut"         // at first only a part, and the connection ends, or EOT
	checksum   = "checksum"    // one frame with a wrong checksum at first
	silence    = "silence"     // at first only a part, then nothing for --silence
	etb        = "etb"         // records joined, and cut after 240 characters
	noChecksum = "no-checksum" // frames without checksum
	allInOne   = "all-in-one"  // all records in one frame
	contention = "contention"  // ENQ twice, as one that has heard ours
)

var ways = []string{noise, split, cut, checksum, silence, etb, noChecksum, allInOne, contention}

// options are the flags of `astm simulate`.
type options struct {
	pty, connect, listen                string
	count, results                      int
	every, timeout, busyWait, silentFor time.Duration
	stay                                time.Duration
	seed                                uint64
	turns                               []string
	numbered                            bool
}

// simulate is `astm simulate`: an analyser of invented people.
func simulate(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	var o options
	flags := flag.NewFlagSet("astm simulate", flag.ContinueOnError)
	flags.StringVar(&o.connect, "connect", "", "calls a driver that listens: HOST:PORT")
	flags.StringVar(&o.listen, "listen", "", "waits for a driver that calls: ADDRESS:PORT")
	pty := flags.Bool("pty", false, "speaks on a serial line of its own, and prints its path (Linux)")
	flags.StringVar(&o.pty, "port", "", "speaks on a serial port that is set already, such as one end of a pair of ptys (Linux)")
	flags.IntVar(&o.count, "count", 1, "how many messages; 0 is no end")
	flags.IntVar(&o.results, "results", 2, "results of a message, each a frame")
	flags.DurationVar(&o.every, "every", 2*time.Second, "pause between two messages")
	flags.DurationVar(&o.stay, "stay", 0, "how long it takes messages of the driver after its last one; it does so between two of its own, too")
	flags.DurationVar(&o.timeout, "timeout", astm.AnswerTime, "how long it waits for an answer")
	flags.DurationVar(&o.busyWait, "busy", astm.BusyTime, "how long it waits after NAK to its ENQ, or when it was given up")
	flags.DurationVar(&o.silentFor, "silence", astm.ReceiveTime+time.Second, "how long it says nothing, with --misbehave silence")
	flags.Uint64Var(&o.seed, "seed", 0, "the same seed makes the same people; 0 takes one from the clock")
	flags.BoolVar(&o.numbered, "numbered", false, "patients K-000001, K-000002 ..., and a line for each that was acknowledged")
	list := flags.String("misbehave", "", strings.Join(ways, ", ")+", in turn; separated by commas")
	suite := flags.Bool("conformance", false, "be the instrument of the conformance suite")
	if err := serve.ParseFlags(flags, args, out); err != nil {
		return err
	}
	if *suite {
		return conformance(ctx, in, out)
	}
	if err := o.check(*list, *pty); err != nil {
		return serve.Usage(err)
	}
	if o.seed == 0 {
		o.seed = uint64(time.Now().UnixNano())
	}
	return runAnalyser(ctx, o, *pty, out)
}

func (o *options) check(list string, pty bool) error {
	o.turns = []string{""}
	if list != "" {
		o.turns = strings.Split(list, ",")
		for _, w := range o.turns {
			if !slices.Contains(ways, w) {
				return fmt.Errorf("--misbehave knows %s", strings.Join(ways, ", "))
			}
		}
	}
	places := 0
	for _, given := range []bool{o.connect != "", o.listen != "", o.pty != "", pty} {
		if given {
			places++
		}
	}
	switch {
	case places != 1:
		return errors.New("one of --connect, --listen, --pty and --port: where does it speak?")
	case o.count < 0 || o.results < 1 || o.results > 9999 || o.every < 0 || o.timeout <= 0 || o.busyWait < 0 || o.silentFor < 0 || o.stay < 0:
		return errors.New("--count, --every, --busy, --silence and --stay cannot be negative, --results is 1 to 9999, --timeout more than 0")
	}
	return nil
}

func runAnalyser(ctx context.Context, o options, pty bool, out io.Writer) (err error) {
	place, err := openPlace(o, pty)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, place.close()) }()
	if _, err := fmt.Fprintf(out, "%s, seed %d\n", place.what, o.seed); err != nil {
		return err
	}
	a := &analyser{o: o, place: place, out: out}
	for n := 1; o.count == 0 || n <= o.count; n++ {
		if n > 1 {
			if err := a.listenFor(ctx, o.every); err != nil {
				break
			}
		}
		if err := a.deliver(ctx, n, o.turns[(n-1)%len(o.turns)]); err != nil {
			return errors.Join(a.report(out), err)
		}
		if o.numbered {
			if _, err := fmt.Fprintf(out, "answered %s\n", patient(n)); err != nil {
				return err
			}
		}
	}
	if err := a.listenFor(ctx, o.stay); err != nil && ctx.Err() == nil {
		return err
	}
	return a.report(out)
}

// pause waits for d.
func pause(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// place is where an analyser speaks.
type place struct {
	what  string
	conn  sim.Conn // nil while there is none
	open  func(ctx context.Context) (sim.Conn, error)
	stays bool // a serial line, which does not end with the driver
	close func() error
}

func openPlace(o options, pty bool) (*place, error) {
	p := &place{close: func() error { return nil }}
	switch {
	case o.connect != "":
		p.what = "calls " + o.connect
		p.open = func(ctx context.Context) (sim.Conn, error) { return sim.Dial(ctx, o.connect) }
	case o.listen != "":
		ln, err := sim.Listen(o.listen)
		if err != nil {
			return nil, err
		}
		p.what, p.open = listensOn+ln.Addr(), ln.Accept
		p.close = ln.Close
	case pty:
		t, err := sim.OpenPTY()
		if err != nil {
			return nil, err
		}
		p.what, p.stays = "speaks on "+t.Path(), true
		p.open = func(context.Context) (sim.Conn, error) { return t, nil }
		p.close = t.Close
	default:
		f, err := openTTY(o.pty)
		if err != nil {
			return nil, err
		}
		p.what, p.stays = "speaks on "+o.pty, true
		p.open = func(context.Context) (sim.Conn, error) { return f, nil }
		p.close = f.Close
	}
	return p, nil
}

// line is the connection, a new one where there is none.
func (p *place) line(ctx context.Context) (sim.Conn, error) {
	if p.conn == nil {
		conn, err := p.open(ctx)
		if err != nil {
			return nil, err
		}
		p.conn = conn
	}
	return p.conn, nil
}

// hangUp ends a connection; a serial line stays.
func (p *place) hangUp() {
	if p.conn != nil && !p.stays {
		p.conn.Close()
		p.conn = nil
	}
}

// listensOn begins what a place says that waits for the driver.
const listensOn = "listens on "

// bench is an analyser that sends when it is asked to.
type bench struct {
	a     *analyser
	mu    sync.Mutex
	sizes []int // guarded by mu: of the messages that are to come; 0 is a usual one
}

func newBench(o options) (*bench, error) {
	place, err := openPlace(o, false)
	if err != nil {
		return nil, err
	}
	return &bench{a: &analyser{o: o, place: place, out: io.Discard}}, nil
}

// settings with which the driver calls it.
func (b *bench) settings() map[string]any {
	return map[string]any{"port": "tcp://" + strings.TrimPrefix(b.a.place.what, listensOn)}
}

// give has n messages more come.
func (b *bench) give(n, size int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sizes = append(b.sizes, slices.Repeat([]int{size}, n)...)
}

// run sends until ctx ends.
func (b *bench) run(ctx context.Context) error {
	for n := 1; ; n++ {
		for {
			b.mu.Lock()
			waits := len(b.sizes) > 0
			if waits {
				b.a.large, b.sizes = b.sizes[0], b.sizes[1:]
			}
			b.mu.Unlock()
			if waits {
				break
			}
			if err := b.a.listenFor(ctx, 20*time.Millisecond); err != nil {
				return err
			}
		}
		if err := b.a.deliver(ctx, n, ""); err != nil {
			return err
		}
	}
}

// conformance is the instrument of the suite: it listens, and the driver calls.
func conformance(ctx context.Context, in io.Reader, out io.Writer) (err error) {
	b, err := newBench(options{listen: "127.0.0.1:0", results: 2, timeout: astm.AnswerTime, seed: 1})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.a.place.close()) }()
	produce := func(size int) func(n int) error {
		return func(n int) error { b.give(n, size); return nil }
	}
	return sim.Conformance(ctx, in, out, sim.Instrument{
		Settings: b.settings(), Produce: produce(0), Large: func(size int) error { return produce(size)(1) }, Run: b.run,
	})
}
