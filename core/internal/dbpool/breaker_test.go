package dbpool

import (
	"bytes"
	"context"
	"crypto/tls"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/sdk"
)

// errAnswer is an answer of a server, as toyFault reads it.
var errAnswer = errors.New("no Mark Patient here")

func toyFault(err error) fault {
	if errors.Is(err, errAnswer) {
		return fault{class: sdk.ClassPermanent, text: "the server refused the login"}
	}
	return fault{lost: true}
}

var errDial = &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("refused Mark Patient")}

// TestLost has the errors of operations, and whether the breaker counts them.
func TestLost(t *testing.T) {
	whole, gone := &link{}, &link{}
	gone.gone.Store(unusable)
	broken := sdk.WithClass(sdk.ClassUnavailable, &faultError{text: "insert: the connection failed", fault: fault{lost: true}})
	for _, c := range []struct {
		name string
		err  error
		link *link
		want bool
	}{
		{"none", nil, gone, false},
		{"a connection that broke", broken, gone, true},
		{"a driver that could not send a value", broken, whole, false},
		{"an answer", &faultError{fault: fault{text: "duplicate key"}}, gone, false},
		{"the end of the time", sdk.WithClass(sdk.ClassUnavailable, context.DeadlineExceeded), gone, false},
		{"a server that is not reached", unconnected(&connectError{lost: true}), nil, true},
		{"a login that was refused", unconnected(&connectError{}), nil, false},
	} {
		if got := lost(c.err, c.link); got != c.want {
			t.Errorf("%s: got %v", c.name, got)
		}
	}
}

// No word of a driver is in what is shown.
func TestAFailedConnectHasNoValues(t *testing.T) {
	l := &link{gen: &generation{all: &connections{opt: connectOptions{fault: toyFault}}}}
	for _, err := range []error{
		errDial, io.EOF, errAnswer, errors.New("Mark Patient"), &net.DNSError{Name: "Mark Patient", Err: "Mark Patient"},
		fmt.Errorf("Mark Patient: %w", driver.ErrBadConn), &life.Panic{Value: "Mark Patient"}, &tls.CertificateVerificationError{Err: errDial},
	} {
		got := l.failed(nil, err)
		for _, text := range []string{got.Error(), reason(got)} {
			if strings.Contains(text, "Patient") || len(text) < 10 {
				t.Errorf("%T is shown as %q", err, text)
			}
		}
		if errors.Is(got, driver.ErrBadConn) {
			t.Error("database/sql would connect three times over")
		}
	}
}

// stage is a breaker in virtual time, whose probes are written down.
type stage struct {
	*breaker
	log    bytes.Buffer
	began  time.Time
	cancel context.CancelFunc
	ended  chan error

	mu     sync.Mutex
	at     []time.Time // when each probe began
	answer func(ctx context.Context) error
}

func (s *stage) knocked() func(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = append(s.at, time.Now())
	return s.answer
}

func (s *stage) answers(f func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = f
}

// knocks is when each probe began, since the breaker opened.
func (s *stage) knocks() (at []time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.at {
		at = append(at, t.Sub(s.began))
	}
	return at
}

var (
	errGone  = unconnected(&connectError{text: "the server is not reached", lost: true})
	errBroke = sdk.WithClass(sdk.ClassUnavailable, &faultError{text: "insert: the connection failed", fault: fault{lost: true}})
)

func newStage(t *testing.T) *stage {
	s := &stage{ended: make(chan error, 1), answer: func(context.Context) error { return errGone }}
	s.breaker = newBreaker(func(ctx context.Context) error { return s.knocked()(ctx) }, slog.New(slog.NewTextHandler(&s.log, nil)))
	ctx, cancel := context.WithCancel(t.Context())
	s.cancel = cancel
	go func() { s.ended <- s.Run(ctx) }()
	return s
}

// end stops the prober and gives the log.
func (s *stage) end(t *testing.T) string {
	t.Helper()
	s.cancel()
	if err := <-s.ended; err != nil {
		t.Error(err)
	}
	return s.log.String()
}

func (s *stage) trips(t *testing.T) {
	t.Helper()
	for range 3 {
		if err := s.allow(); err != nil {
			t.Fatalf("open too early: %v", err)
		}
		s.fails(time.Now(), errGone)
	}
	s.began = time.Now()
	if err := s.allow(); !errors.Is(err, ErrDown) || sdk.ClassOf(err) != sdk.ClassUnavailable {
		t.Fatalf("not open: %v", err)
	}
}

func TestBreakerKnocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.trips(t)
		if next := time.Until(s.state().Next); next > time.Second || next <= 0 {
			t.Errorf("next probe in %v", next)
		}
		time.Sleep(100 * time.Second)
		if s.state().Probes != len(s.knocks()) || s.state().Cause != "the server is not reached" {
			t.Errorf("got %+v after %d probes", s.state(), len(s.knocks()))
		}
		err := s.allow()
		for _, part := range []string{"since " + s.began.Format(time.TimeOnly), "(1m40s)", "is not reached", "next try in "} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q does not say %q", err, part)
			}
		}
		s.answers(func(context.Context) error { return nil })
		time.Sleep(15 * time.Second)
		if err := s.allow(); err != nil {
			t.Fatal(err)
		}
		was := time.Duration(0)
		for i, want := range []time.Duration{1, 2, 4, 8, 15, 15, 15, 15} {
			want *= time.Second
			if pause := s.knocks()[i] - was; pause > want || pause < want*3/4-time.Microsecond {
				t.Errorf("probe %d after %v, want up to %v", i, pause, want)
			}
			was = s.knocks()[i]
		}
		if st := s.state(); st.Open || st.Opened != 1 || st.Cause != "" || !st.Next.IsZero() {
			t.Errorf("got %+v", st)
		}
		log := s.end(t)
		if n := strings.Count(log, "\n"); n != 2 || !strings.Contains(log, "is unavailable") || !strings.Contains(log, "available again") {
			t.Errorf("%d lines:\n%s", n, log)
		}
	})
}

// On a frozen server there is always one probe, and never two, that waits for the end of the frost.
func TestBreakerSeesThaw(t *testing.T) {
	for _, frost := range []time.Duration{1500 * time.Millisecond, 10 * time.Second, 10 * time.Minute} {
		t.Run(frost.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t)
				thaw := make(chan struct{})
				waiting, most := 0, 0
				s.answers(func(ctx context.Context) error {
					waiting++
					most = max(most, waiting)
					defer func() { waiting-- }()
					select {
					case <-thaw:
						return nil
					case <-ctx.Done():
						return ctx.Err()
					}
				})
				s.trips(t)
				time.Sleep(frost)
				close(thaw)
				thawed := time.Now()
				for s.allow() != nil {
					time.Sleep(time.Millisecond)
				}
				if took := time.Since(thawed); took > 2*time.Millisecond {
					t.Errorf("back %v after the thaw", took)
				}
				s.end(t)
				if most != 1 {
					t.Errorf("%d probes at a time", most)
				}
			})
		})
	}
}

func TestBreakerCounts(t *testing.T) {
	for _, c := range []struct {
		name string
		errs []error
		want bool
	}{
		{"three in a row", []error{errGone, errGone, errGone}, true},
		{"broken one after the other", []error{errBroke, errBroke, errBroke}, true},
		{"both", []error{errGone, errBroke, errGone}, true},
		{"a success between", []error{errGone, errGone, nil, errGone, errGone}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t)
				for _, err := range c.errs {
					time.Sleep(time.Millisecond)
					if err == nil {
						s.works()
					} else {
						s.fails(time.Now(), err)
					}
				}
				if open := s.allow() != nil; open != c.want {
					t.Errorf("open is %v: %+v", open, s.state())
				}
				s.end(t)
			})
		})
	}
}

// A restart takes along what is under way; that is one failure, not eight.
func TestBreakerCountsRestartOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		began := time.Now()
		time.Sleep(time.Millisecond)
		for range 8 {
			s.fails(began, errBroke)
			time.Sleep(time.Millisecond)
		}
		if n := s.failed.Load(); n != 1 || s.allow() != nil {
			t.Errorf("%d failures, open %v", n, s.allow() != nil)
		}
		s.works()
		if n := s.failed.Load(); n != 0 {
			t.Errorf("%d failures after a success", n)
		}
		s.end(t)
	})
}

// What began before the outage ended says nothing about the time after it.
func TestBreakerForgetsOldFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.trips(t)
		began := time.Now()
		s.answers(func(context.Context) error { return nil })
		time.Sleep(2 * time.Second)
		for range 5 {
			s.fails(began, errGone)
		}
		if err := s.allow(); err != nil {
			t.Error(err)
		}
		s.trips(t)
		if n := s.state().Opened; n != 2 {
			t.Errorf("opened %d times", n)
		}
		s.end(t)
	})
}

func BenchmarkBreaker(b *testing.B) {
	s := newBreaker(nil, slog.New(slog.DiscardHandler))
	b.ReportAllocs()
	for b.Loop() {
		if err := s.allow(); err != nil {
			b.Fatal(err)
		}
		s.works()
	}
}
