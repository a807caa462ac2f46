package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/hostd/hostd/core/sdk/serve"
	"github.com/hostd/hostd/core/sdk/sim"
)

// simulation is the command line of `hl7-mllp simulate`.
type simulation struct {
	connect, listen string
	connections     int
	rate            float64
	count           int
	every           time.Duration
	size            int
	timeout         time.Duration
	quiet           time.Duration
	enhanced        bool
	numbered        bool
	ca, cert, key   string
	ways            string
	seed            uint64
	suite           bool
}

func (s *simulation) flags() *flag.FlagSet {
	f := flag.NewFlagSet("hl7-mllp simulate", flag.ContinueOnError)
	f.StringVar(&s.connect, "connect", "", "HOST:PORT of the receiver to call: hostd's, or any other")
	f.StringVar(&s.listen, "listen", "", "address to wait on instead, for a receiver that calls")
	f.IntVar(&s.connections, "connections", 1, "lines at once, each with one message in flight")
	f.Float64Var(&s.rate, "rate", 0, "messages a second on all lines; 0 is as fast as the answers come")
	f.IntVar(&s.count, "count", 1, "how many messages; 0 is no end")
	f.DurationVar(&s.every, "every", 0, "pause between two messages, where there is no rate")
	f.IntVar(&s.size, "size", 1024, "bytes of a message, at least")
	f.DurationVar(&s.timeout, "timeout", 30*time.Second, "without an answer it closes the connection, and sends again on a new one")
	f.DurationVar(&s.quiet, "quiet", 2*time.Second, "how long the silence of --misbehave is")
	f.BoolVar(&s.enhanced, "enhanced", false, "ask for enhanced acknowledgement: CA, then AA")
	f.BoolVar(&s.numbered, "numbered", false, "the n-th patient is K-00000n, and a line says when the message was acknowledged, and on which connection where there are several")
	f.StringVar(&s.ca, "tls-ca", "", "file with the certificate that the receiver's is signed with; calls with TLS")
	f.StringVar(&s.cert, "tls-cert", "", "file with our certificate, where the receiver asks for one")
	f.StringVar(&s.key, "tls-key", "", "file with its key")
	f.StringVar(&s.ways, "misbehave", "", "noise, split, cut, control, silence, in turn; separated by commas")
	f.Uint64Var(&s.seed, "seed", 0, "the same seed makes the same people; 0 takes one from the clock")
	f.BoolVar(&s.suite, "conformance", false, "be the instrument of the conformance suite")
	return f
}

// turns are the ways to misbehave, of which each message takes the next one.
func (s *simulation) turns() ([]string, error) {
	if s.ways == "" {
		return []string{""}, nil
	}
	ways := strings.Split(s.ways, ",")
	for _, w := range ways {
		if !slices.Contains([]string{noise, split, cut, control, silence}, w) {
			return nil, errors.New("--misbehave knows noise, split, cut, control and silence")
		}
	}
	return ways, nil
}

func (s *simulation) check() error {
	switch {
	case (s.connect == "") == (s.listen == ""):
		return errors.New("--connect HOST:PORT or --listen ADDRESS: one of them is needed")
	case s.connections < 1 || s.connections > 10_000:
		return errors.New("--connections is 1 to 10000")
	case s.count < 0 || s.every < 0 || s.rate < 0 || math.IsNaN(s.rate) || s.size < 0 || s.timeout <= 0 || s.quiet < 0:
		return errors.New("--count, --every, --rate, --size, --timeout and --quiet cannot be negative")
	case s.ca != "" && s.listen != "":
		return errors.New("--tls-ca goes with --connect")
	case (s.cert == "") != (s.key == "") || s.cert != "" && s.ca == "":
		return errors.New("--tls-cert and --tls-key go with each other and with --tls-ca")
	}
	return nil
}

// simulate is `hl7-mllp simulate`.
func simulate(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	s := &simulation{}
	if err := serve.ParseFlags(s.flags(), args, out); err != nil {
		return err
	}
	if s.suite {
		return conformance(ctx, in, out)
	}
	ways, err := s.turns()
	if err := errors.Join(err, s.check()); err != nil {
		return serve.Usage(err)
	}
	if s.seed == 0 {
		s.seed = uint64(time.Now().UnixNano())
	}
	p := &plan{
		instrument: instrument{seed: s.seed, size: s.size, numbered: s.numbered, enhanced: s.enhanced},
		count:      s.count, rate: s.rate, every: s.every, ways: ways, tell: out, began: time.Now(),
	}
	return s.play(ctx, p, out)
}

// play sends all of the plan, and reports.
func (s *simulation) play(ctx context.Context, p *plan, out io.Writer) error {
	dial, where, end, err := s.line()
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(out, "%s with seed %d\n", where, s.seed); err != nil {
		return errors.Join(err, end())
	}
	err = sim.Together(ctx, s.connections, func(ctx context.Context, n int) error {
		c := &caller{plan: p, dial: dial, timeout: s.timeout, quiet: s.quiet, longest: longestPause, seed: s.seed + uint64(n)<<32}
		if s.connections > 1 {
			c.line = n + 1
		}
		return c.run(ctx)
	})
	r := p.end()
	_, told := fmt.Fprintln(out, r.String())
	err = errors.Join(err, told, end())
	if err == nil && r.parked > 0 {
		return fmt.Errorf("%d of %d messages got a negative answer for good", r.parked, r.sent)
	}
	return err
}

// line says how a connection comes about, in words too, and gives what ends that.
func (s *simulation) line() (dial func(context.Context) (sim.Conn, error), where string, end func() error, err error) {
	nothing := func() error { return nil }
	if s.listen != "" {
		l, err := sim.Listen(s.listen)
		if err != nil {
			return nil, "", nil, err
		}
		return l.Accept, "listens on " + l.Addr(), l.Close, nil
	}
	dial = func(ctx context.Context) (sim.Conn, error) { return sim.Dial(ctx, s.connect) }
	if s.ca == "" {
		return dial, "sends to " + s.connect, nothing, nil
	}
	host, _, err := net.SplitHostPort(s.connect)
	if err != nil {
		return nil, "", nil, err
	}
	roots, err := readCA(s.ca)
	if err != nil {
		return nil, "", nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, ServerName: host}
	if s.cert != "" {
		ours, err := tls.LoadX509KeyPair(s.cert, s.key)
		if err != nil {
			return nil, "", nil, fmt.Errorf("--tls-cert, --tls-key: %w", err)
		}
		config.Certificates = []tls.Certificate{ours}
	}
	return func(ctx context.Context) (sim.Conn, error) {
		conn, err := sim.Dial(ctx, s.connect)
		if err != nil {
			return nil, err
		}
		return tls.Client(conn.(net.Conn), config), nil //nolint:forcetypeassert // sim.Dial gives a TCP connection
	}, "sends to " + s.connect + " with TLS", nothing, nil
}
