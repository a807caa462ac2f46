package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/hostd/hostd/core/protocols/nidekrs"
	"github.com/hostd/hostd/core/sdk/serve"
	"github.com/hostd/hostd/core/sdk/sim"
)

// Ways in which an exam goes over the line badly. Each is there whole in the end.
const (
	noise    = "noise"    // random bytes before the frame
	split    = "split"    // the frame in pieces
	cut      = "cut"      // the beginning of the frame, then the whole one: it was switched off
	checksum = "checksum" // the frame with a wrong character, then the right one
	silence  = "silence"  // nothing for a while, and what the driver says meanwhile is not heard
)

// Timing of the instrument.
const (
	patience    = 3 * time.Second // how long it waits to be invited before it asks again
	splitPause  = 5 * time.Millisecond
	silenceTime = time.Second
	farewell    = time.Second // behind the last exam that nobody answers: a terminal that is closed drops what was not read
)

// simulate is `nidek-serial simulate`.
func simulate(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("nidek-serial simulate", flag.ContinueOnError)
	profile := flags.String("profile", "ark", "unit that it plays: ar, ark, tonoref, nt, lm, lm-7, rt-type1, rt-type2")
	mode := flags.String("mode", "", "handshake: ask, and send when invited; listen: just send; the profile's where it is left out")
	port := flags.String("port", "", "path of a terminal or serial line on which it speaks, as it is set")
	pty := flags.Bool("pty", false, "make a serial line without a cable and print the path for the driver (Linux)")
	listenAt := flags.String("listen", "", "be a serial server at this TCP address; 127.0.0.1:0 is a free port, which is printed")
	count := flags.Int("count", 1, "how many exams; 0 is no end")
	every := flags.Duration("every", 0, "pause between two exams")
	ways := flags.String("misbehave", "", "noise, split, cut, checksum, silence, in turn; separated by commas")
	seed := flags.Uint64("seed", 0, "the same seed makes the same people; 0 takes one from the clock")
	numbered := flags.Bool("numbered", false, "exam n has the patient id K-n, and a line says when it was answered")
	suite := flags.Bool("conformance", false, "be the instrument of the conformance suite, on a port of its own")
	if err := serve.ParseFlags(flags, args, out); err != nil {
		return err
	}
	if *suite {
		return conformance(ctx, in, out)
	}
	i, err := newInstrument(*profile, *mode, *ways)
	switch {
	case err != nil:
		return serve.Usage(err)
	case *count < 0 || *every < 0:
		return serve.Usage(errors.New("--count and --every cannot be negative"))
	case *numbered && i.mode == listen:
		return serve.Usage(errors.New("in mode listen nobody answers an exam: --numbered needs mode handshake"))
	}
	if i.open, err = place(*port, *pty, *listenAt, out); err != nil {
		return err
	}
	i.server = *listenAt != ""
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	if _, err := fmt.Fprintf(out, "plays %s in mode %s with seed %d\n", *profile, i.mode, *seed); err != nil {
		return err
	}
	i.unit.numbered, i.unit.seed, i.out = *numbered, *seed, out
	i.more = func(ctx context.Context, n int) (bool, error) {
		if *count > 0 && n >= *count {
			return false, nil
		}
		return true, pass(ctx, n, *every)
	}
	return i.run(ctx)
}

// pass waits between two exams.
func pass(ctx context.Context, n int, every time.Duration) error {
	if n == 0 || every == 0 {
		return ctx.Err()
	}
	t := time.NewTimer(every)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// opener gives the line on which the instrument speaks, each time that it needs one anew.
type opener func(ctx context.Context) (sim.Conn, error)

// place is where the instrument is.
func place(port string, pty bool, listenAt string, out io.Writer) (opener, error) {
	places := 0
	for _, is := range []bool{port != "", pty, listenAt != ""} {
		if is {
			places++
		}
	}
	if places != 1 {
		return nil, serve.Usage(errors.New("one of --port, --pty and --listen says where it speaks"))
	}
	switch {
	case port != "":
		return func(context.Context) (sim.Conn, error) { return os.OpenFile(port, os.O_RDWR, 0) }, nil
	case pty:
		p, err := sim.OpenPTY()
		if err != nil {
			return nil, err
		}
		_, err = fmt.Fprintf(out, "port %s\n", p.Path())
		return func(context.Context) (sim.Conn, error) { return p, nil }, err
	}
	l, err := sim.Listen(listenAt)
	if err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(out, "port tcp://%s\n", l.Addr())
	return func(ctx context.Context) (sim.Conn, error) { return l.Accept(ctx) }, err
}

// instrument is a unit on a line.
type instrument struct {
	unit     unit
	mode     string
	command  string   // with which it is invited
	ways     []string // of which each exam takes the next one
	open     opener
	server   bool                                           // open gives another line when the driver calls again
	more     func(ctx context.Context, n int) (bool, error) // waits for exam n+1; false: there is none
	out      io.Writer
	patience time.Duration
	answered int // exams of which it knows that they are stored, or, in mode listen, that were sent
}

func newInstrument(name, mode, ways string) (*instrument, error) {
	p, err := profileOf(name)
	if err != nil {
		return nil, err
	}
	i := &instrument{unit: unit{profile: name, seed: 1}, mode: mode, command: p.command, ways: strings.Split(ways, ","), out: io.Discard, patience: patience}
	if mode == "" {
		i.mode = p.dialogue
	}
	for _, w := range i.ways {
		if w != "" && !slices.Contains([]string{noise, split, cut, checksum, silence}, w) {
			return nil, errors.New("--misbehave knows noise, split, cut, checksum and silence")
		}
	}
	if i.mode != listen && (i.mode != handshake || p.refractor) {
		return nil, errors.New("--mode is handshake or listen, and listen for a refractor")
	}
	return i, nil
}

// run sends exam after exam, on a new line where a driver that was killed calls again.
func (i *instrument) run(ctx context.Context) error {
	for {
		conn, err := i.open(ctx)
		if err != nil {
			return err
		}
		over, err := i.session(ctx, conn)
		if over && err == nil && i.mode == listen && !i.server {
			err = pass(ctx, 1, farewell)
		}
		closed := conn.Close()
		if over || ctx.Err() != nil || !i.server {
			return errors.Join(err, closed)
		}
	}
}

// session plays on one line until it breaks, or all is over. An exam that was sent on another line comes again: what became of
// it nobody has said.
func (i *instrument) session(ctx context.Context, conn sim.Conn) (over bool, err error) {
	for sent := 0; ; {
		if i.mode == handshake && sent > 0 {
			if err := i.ask(ctx, conn); err != nil {
				return false, err
			}
			if err := i.done(); err != nil { // the invitation to send the next one is the answer to this one
				return true, err
			}
		}
		more, err := i.more(ctx, i.answered)
		if err != nil || !more {
			return true, err
		}
		if err := i.send(ctx, conn, sent > 0); err != nil {
			return false, err
		}
		if sent++; i.mode == listen {
			if err := i.done(); err != nil {
				return true, err
			}
		}
	}
}

// done says that an exam is answered, or sent where nobody answers.
func (i *instrument) done() error {
	i.answered++
	var err error
	switch {
	case i.unit.numbered:
		_, err = fmt.Fprintf(i.out, "answered %s\n", numberedID(i.answered))
	case i.mode == listen:
		_, err = fmt.Fprintf(i.out, "sent exam %d\n", i.answered)
	default:
		_, err = fmt.Fprintf(i.out, "exam %d is answered\n", i.answered)
	}
	return err
}

// send sends the next exam in its way. Invited says that it was already.
func (i *instrument) send(ctx context.Context, conn sim.Conn, invited bool) error {
	frame, way := i.unit.frame(i.answered+1), i.ways[i.answered%len(i.ways)]
	for _, bad := range []bool{true, false} {
		if bad && way != cut && way != checksum {
			continue
		}
		if i.mode == handshake && !invited {
			if err := i.ask(ctx, conn); err != nil {
				return err
			}
		}
		invited = false
		err := sim.Play(ctx, conn, sim.Options{Seed: i.unit.seed + uint64(i.answered) + 1}, func(l *sim.Line) { say(l, frame, way, bad) })
		if err != nil {
			return err
		}
	}
	return nil
}

// say says the frame in its way; bad is the transmission that the instrument has to repeat.
func say(l *sim.Line, frame, way string, bad bool) {
	switch {
	case bad && way == cut:
		l.Cut(frame)
	case bad:
		l.Spoil(frame)
	case way == noise:
		l.Noise(8)
		l.Say(frame)
	case way == split:
		l.Split(frame, splitPause)
	case way == silence:
		l.Silence(silenceTime)
		l.Say(frame)
	default:
		l.Say(frame)
	}
}

// ask asks until it is invited. An invitation to an earlier question may come after that to the last one: it is waited for, so
// that it is not taken for an answer to what is sent next.
func (i *instrument) ask(ctx context.Context, conn sim.Conn) error {
	sd := nidekrs.Command(i.command, "SD") + "\r"
	for again := false; ; again = true {
		err := sim.Play(ctx, conn, sim.Options{Seed: 1, Patience: i.patience}, func(l *sim.Line) {
			l.Say(nidekrs.Command("C**", "RS"))
			l.Expect(sd)
			if again {
				l.Silence(i.patience)
			}
		})
		if !errors.Is(err, os.ErrDeadlineExceeded) || ctx.Err() != nil {
			return err
		}
	}
}

// conformance is the instrument of the suite: a serial server with an ARK.
func conformance(ctx context.Context, in io.Reader, out io.Writer) error {
	i, port, produce, err := suiteInstrument()
	if err != nil {
		return err
	}
	return sim.Conformance(ctx, in, out, sim.Instrument{
		Settings: map[string]any{"port": port, "profile": "ark"},
		Run:      i.run,
		Produce: func(n int) error {
			produce(n)
			return nil
		},
	})
}

// suiteInstrument sends as many exams as were asked for, and then waits for more.
func suiteInstrument() (i *instrument, port string, produce func(n int), err error) {
	if i, err = newInstrument("ark", handshake, ""); err != nil {
		return nil, "", nil, err
	}
	l, err := sim.Listen("127.0.0.1:0")
	if err != nil {
		return nil, "", nil, err
	}
	wanted := make(chan int, 1)
	wanted <- 0
	i.server = true
	i.open = func(ctx context.Context) (sim.Conn, error) { return l.Accept(ctx) }
	i.more = func(ctx context.Context, n int) (bool, error) { return waitFor(ctx, wanted, n) }
	return i, "tcp://" + l.Addr(), func(n int) { wanted <- <-wanted + n }, nil
}

// waitFor waits until more than n are wanted.
func waitFor(ctx context.Context, wanted chan int, n int) (bool, error) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		have := <-wanted
		wanted <- have
		if have > n {
			return true, nil
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-tick.C:
		}
	}
}
