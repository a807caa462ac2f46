package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/hostd/hostd/core/protocols/lineprofile"
	"github.com/hostd/hostd/core/sdk/serve"
	"github.com/hostd/hostd/core/sdk/sim"
)

// Ways in which an instrument misbehaves. Each exam is there whole in the end, once.
const (
	noise   = "noise"   // a bad cable before the exam
	split   = "split"   // in pieces, with pauses
	cut     = "cut"     // only the beginning at first: it was switched off
	spoil   = "spoil"   // a wrong checksum at first
	double  = "double"  // twice at once
	silence = "silence" // nothing for a while
)

var ways = []string{noise, split, cut, spoil, double, silence}

// instrument plays the sample of a profile with values of its own.
type instrument struct {
	p        *lineprofile.Profile
	rand     *rand.Rand
	numbered bool
	patience time.Duration // for an answer
	cutFor   time.Duration // silence behind a cut exam, where nothing else shows where the next begins
	next     int           // number of the next exam
}

// options are the command line of `line-serial simulate`.
type options struct {
	choice             Choice
	port, listen, ways string
	pty, numbered      bool
	count              int
	every, patience    time.Duration
	seed               uint64
}

// simulate is `line-serial simulate`.
func simulate(ctx context.Context, args []string, in io.Reader, out io.Writer) (err error) {
	var o options
	flags := flag.NewFlagSet("line-serial simulate", flag.ContinueOnError)
	flags.StringVar(&o.choice.Profile, "profile", "", "the instrument: "+strings.Join(lineprofile.Shipped(), ", "))
	flags.StringVar(&o.choice.ProfileFile, "profile-file", "", "a profile of your own, or the folder it is in")
	flags.StringVar(&o.choice.Ack, "ack", "", "the answer that it waits for, such as <ACK>; none is nothing; the profile's where it is left out, or <ACK> with --numbered")
	flags.StringVar(&o.choice.Nak, "nak", "", "the answer at which it sends again, such as <NAK>")
	flags.StringVar(&o.port, "port", "", "path of a terminal or serial line on which it speaks, set as it is")
	flags.BoolVar(&o.pty, "pty", false, "make a serial line for it and print its path (Linux)")
	flags.StringVar(&o.listen, "listen", "", "be a serial server on HOST:PORT")
	flags.IntVar(&o.count, "count", 1, "how many exams; 0 is no end")
	flags.DurationVar(&o.every, "every", 2*time.Second, "pause between two exams")
	flags.DurationVar(&o.patience, "patience", time.Second, "how long it waits for an answer before it sends again")
	flags.StringVar(&o.ways, "misbehave", "", strings.Join(ways, ", ")+", in turn; separated by commas")
	flags.BoolVar(&o.numbered, "numbered", false, "number the patients K-000001 ..., or the exams of an instrument that has no patients; says which were answered")
	flags.Uint64Var(&o.seed, "seed", 0, "the same seed makes the same exams; 0 takes one from the clock")
	suite := flags.Bool("conformance", false, "be the instrument of the conformance suite, with a port of its own")
	if err := serve.ParseFlags(flags, args, out); err != nil {
		return err
	}
	if *suite {
		return conformance(ctx, in, out)
	}
	i, turns, err := o.instrument()
	if err != nil {
		return serve.Usage(err)
	}
	place, where, err := o.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, place.Close()) }()
	if _, err := fmt.Fprintf(out, "%s speaks on %s with seed %d\n", i.p.Name, where, o.seed); err != nil {
		return err
	}
	return i.play(ctx, place, &o, turns, out)
}

// instrument checks the command line and makes what it asks for.
func (o *options) instrument() (*instrument, []string, error) {
	turns := strings.Split(o.ways, ",")
	for _, w := range turns {
		if w != "" && !slices.Contains(ways, w) {
			return nil, nil, errors.New("--misbehave knows " + strings.Join(ways, ", "))
		}
	}
	places := 0
	for _, given := range []bool{o.port != "", o.pty, o.listen != ""} {
		if given {
			places++
		}
	}
	switch {
	case places != 1:
		return nil, nil, errors.New("say where it speaks: one of --port, --pty and --listen")
	case o.count < 0 || o.every < 0 || o.patience <= 0:
		return nil, nil, errors.New("--count and --every cannot be negative, --patience is more than 0")
	case o.choice.Profile == captures:
		return nil, nil, errors.New("--profile is a real one: a capture has no instrument; play it with hostd capture replay")
	case o.numbered && o.choice.Ack == "":
		o.choice.Ack = "<ACK>"
	}
	p, err := o.choice.load()
	if err != nil {
		return nil, nil, err
	}
	switch {
	case len(p.Sample) == 0:
		return nil, nil, errors.New("the profile has no sample to play")
	case o.numbered && !p.Numbered():
		return nil, nil, errors.New("--numbered: an exam of this instrument has no number")
	case o.numbered && len(p.Answers()) == 0:
		return nil, nil, errors.New("--numbered: it is not answered; give it an --ack")
	case p.Checksum.Kind == "" && slices.Contains(turns, spoil):
		return nil, nil, errors.New("--misbehave spoil: this instrument has no checksum, so nobody could tell")
	}
	if o.seed == 0 {
		o.seed = uint64(time.Now().UnixNano())
	}
	return newInstrument(p, o.seed, o.numbered, o.patience), turns, nil
}

func newInstrument(p *lineprofile.Profile, seed uint64, numbered bool, patience time.Duration) *instrument {
	return &instrument{p: p, rand: rand.New(rand.NewPCG(seed, 0)), numbered: numbered, patience: patience, cutFor: 11 * time.Second, next: 1}
}

// outlet is where an instrument speaks: a connection for as long as the driver keeps it.
type outlet struct {
	listener *sim.Listener // nil: conn stays
	conn     sim.Conn
}

// open makes the place of the command line, and says where the driver finds it.
func (o *options) open() (*outlet, string, error) {
	switch {
	case o.listen != "":
		l, err := sim.Listen(o.listen)
		if err != nil {
			return nil, "", err
		}
		return &outlet{listener: l}, "tcp://" + l.Addr(), nil
	case o.pty:
		p, err := sim.OpenPTY()
		if err != nil {
			return nil, "", err
		}
		return &outlet{conn: p}, p.Path(), nil
	}
	f, err := os.OpenFile(o.port, os.O_RDWR, 0)
	if err != nil {
		return nil, "", err
	}
	return &outlet{conn: f}, o.port, nil
}

// connected gives the line, and waits for the driver to call where it has to.
func (o *outlet) connected(ctx context.Context) (sim.Conn, error) {
	var err error
	if o.conn == nil {
		o.conn, err = o.listener.Accept(ctx)
	}
	return o.conn, err
}

// lost says that the line failed: a driver that calls may call again. It is false where nobody can.
func (o *outlet) lost() bool {
	if o.listener == nil {
		return false
	}
	o.conn.Close()
	o.conn = nil
	return true
}

// Close ends the line.
func (o *outlet) Close() error {
	var err error
	if o.conn != nil {
		err = o.conn.Close()
	}
	if o.listener != nil {
		err = errors.Join(err, o.listener.Close())
	}
	return err
}

// play sends the exams one after the other, each until it is answered.
func (i *instrument) play(ctx context.Context, at *outlet, o *options, turns []string, out io.Writer) error {
	for n := 0; o.count == 0 || n < o.count; n++ {
		if n > 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(o.every):
			}
		}
		name, frame, err := i.exam()
		if err == nil {
			err = i.deliver(ctx, at, frame, turns[n%len(turns)])
		}
		if err != nil {
			return err
		}
		word := "sent"
		if len(i.p.Answers()) > 0 {
			word = "answered"
		}
		if _, err := fmt.Fprintln(out, word, name); err != nil {
			return err
		}
	}
	return nil
}

// exam makes the next exam: its number, and its frame.
func (i *instrument) exam() (name string, frame []byte, err error) {
	n := i.next
	i.next++
	v := lineprofile.Values{
		No:    fmt.Sprintf("%04d", n),
		ID:    fmt.Sprintf("S-%06d", i.rand.IntN(1_000_000)),
		Time:  time.Date(2025, 3, 24, 8, 0, 0, 0, time.UTC).Add(time.Duration(n) * 5 * time.Minute),
		Digit: func() byte { return '0' + byte(i.rand.IntN(10)) },
	}
	if i.numbered {
		v.ID = fmt.Sprintf("K-%06d", n)
		v.No = v.ID
	}
	frame, err = i.p.Play(v)
	return v.No, frame, err
}

// deliver sends one exam until it is answered; without an answer, once. Whoever plays the driver may be killed meanwhile.
func (i *instrument) deliver(ctx context.Context, at *outlet, frame []byte, way string) error {
	for {
		conn, err := at.connected(ctx)
		if err != nil {
			return err
		}
		err = sim.Play(ctx, conn, sim.Options{Seed: i.rand.Uint64() | 1, Patience: i.patience}, func(l *sim.Line) { i.say(l, string(frame), way) })
		way = "" // the next time it behaves
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return err
		case errors.Is(err, errRefused), errors.Is(err, os.ErrDeadlineExceeded), at.lost():
		default:
			return err
		}
	}
}

// errRefused is the driver's negative answer: the exam is sent again.
var errRefused = errors.New("the driver refused the exam")

// say is what the instrument does once: it speaks and hears the answer.
func (i *instrument) say(l *sim.Line, frame, way string) {
	i.misbehave(l, frame, way)
	ack, nak := string(i.p.Answers()), string(i.p.Refuses())
	if ack == "" || l.Failed() {
		return
	}
	answers := []string{ack}
	if nak != "" {
		answers = append(answers, nak)
	}
	if l.Until(answers...) != ack && !l.Failed() {
		l.Fail(errRefused)
	}
}

func (i *instrument) misbehave(l *sim.Line, frame, way string) {
	switch way {
	case noise:
		l.Noise(12)
		if i.p.Frame.Start == "" { // else it would be a part of the exam
			l.Say(frame[len(strings.TrimRight(frame, "\r\n")):])
		}
	case split:
		l.Split(frame, i.patience/50)
		return
	case cut:
		l.Cut(frame[:len(frame)/2])
		if i.p.Frame.Start == "" {
			l.Wait(i.cutFor)
		}
	case spoil:
		from, to := len(frame)/3, 2*len(frame)/3
		l.Say(frame[:from] + l.Spoiled(frame[from:to]) + frame[to:])
	case double:
		l.Say(frame)
	case silence:
		l.Silence(i.patience)
	}
	l.Say(frame)
}

// conformance is the instrument of the suite.
func conformance(ctx context.Context, in io.Reader, out io.Writer) (err error) {
	i, settings, at, err := suiteInstrument("127.0.0.1:0")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, at.Close()) }()
	orders := make(chan int, 1024)
	return sim.Conformance(ctx, in, out, sim.Instrument{
		Settings: settings,
		Produce: func(n int) error {
			orders <- n
			return nil
		},
		Run: func(ctx context.Context) error { return i.run(ctx, at, orders) },
	})
}

// suiteInstrument is a refractometer that waits for its answers, on a serial server of its own.
func suiteInstrument(address string) (*instrument, map[string]any, *outlet, error) {
	choice := Choice{Profile: "rc-5000", Ack: "<ACK>", Nak: "<NAK>"}
	p, err := choice.load()
	if err != nil {
		return nil, nil, nil, err
	}
	l, err := sim.Listen(address)
	if err != nil {
		return nil, nil, nil, err
	}
	settings := map[string]any{"port": "tcp://" + l.Addr(), "profile": choice.Profile, "ack": choice.Ack, "nak": choice.Nak}
	return newInstrument(p, 1, false, 200*time.Millisecond), settings, &outlet{listener: l}, nil
}

// run sends as many exams as it is told to, until ctx ends.
func (i *instrument) run(ctx context.Context, at *outlet, orders <-chan int) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case n := <-orders:
			for range n {
				_, frame, err := i.exam()
				if err == nil {
					err = i.deliver(ctx, at, frame, "")
				}
				if err != nil {
					return err
				}
			}
		}
	}
}
