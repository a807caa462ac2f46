package main

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/line"
)

// session is the time between an Open and its Close.
//
//	connections -> [ read, decode ] -> queue -> Read -> host -> Ack -> verdict -> the connection answers
//
// Each connection has one goroutine, which reads what has come, hands it over, and waits for the verdicts; so an answer to a
// peer that does not read it holds nobody up.
type session struct {
	d       *device
	env     sdk.Env
	gate    *line.Gate
	budget  *budget
	notices *notices
	large   chan struct{} // has one token: of the messages that take much memory one is decoded at a time
	files   atomic.Int64  // staged, for their names
	replies atomic.Int64  // control id of the last reply; it begins with the time, so that none comes twice
	at      net.Addr      // of the port
	ready   chan struct{} // capacity 1: there is something in queue, or lost is set

	mu       sync.Mutex
	queue    []*message       // guarded by mu, as all that follows: not read yet
	open     batch            // read and not answered; the zero batch is none
	underway map[key]*message // in queue or open
	memory   *memory
	conns    map[net.Conn]struct{}
	closed   bool
	lost     error // why the line of connect is gone
}

// batch is what one Read gave.
type batch struct {
	messages []*message
	next     sdk.Position
	told     []told // of the memory, when it is stored
}

// message is a frame on its way to the host's disk.
type message struct {
	key     key
	records []sdk.Record
	size    int // of the records, about
	by      *exchange
	reply   reply
	faulty  bool       // a part of it could not be read
	twins   []*message // the same message on other connections, which wait for the same verdict; guarded by the session's mu
	verdict chan sdk.Reason
}

// stored is the verdict that all is well; the others are the host's reasons.
const stored sdk.Reason = ""

// exchange is what one connection has read at once, and answers at once.
type exchange struct {
	messages []*message
	heard    atomic.Bool // the peer went on, so it has the answers
}

// recordSize is about what a record is besides its payload.
const recordSize = 320

// Open connects or listens.
func (d *device) Open(ctx context.Context, env sdk.Env, from sdk.Position) error {
	if err := env.Settings.Decode(d); err != nil {
		return err
	}
	if err := d.check(); err != nil {
		return err
	}
	config, err := d.tlsConfig()
	if err != nil {
		return err
	}
	s, err := newSession(d, env, from)
	if err != nil {
		return err
	}
	d.session = s
	if d.Server != "" {
		return s.call(ctx, config)
	}
	return s.listen(ctx, config)
}

func newSession(d *device, env sdk.Env, from sdk.Position) (*session, error) {
	memory, err := newMemory(from)
	if err != nil {
		return nil, err
	}
	gate, err := line.NewGate(d.Allow, d.MaxConnections, d.MaxPerAddress)
	if err != nil {
		return nil, err
	}
	s := &session{
		d: d, env: env, budget: newBudget(d.MemoryMB << 20), notices: newNotices(env.Log), large: make(chan struct{}, 1),
		gate: gate, ready: make(chan struct{}, 1), underway: map[key]*message{}, memory: memory, conns: map[net.Conn]struct{}{},
	}
	s.replies.Store(time.Now().UnixMicro())
	return s, nil
}

// Read waits for messages, and takes all that there are, up to the size of a batch.
func (d *device) Read(ctx context.Context) (sdk.Batch, error) {
	s := d.session
	for {
		b, err := s.take()
		if err != nil || len(b.Records) > 0 {
			return b, err
		}
		select {
		case <-s.ready:
		case <-ctx.Done():
			return sdk.Batch{}, ctx.Err()
		}
	}
}

// take makes a batch of what is in the queue.
func (s *session) take() (b sdk.Batch, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, size := 0, 0
	for _, m := range s.queue {
		if n > 0 && (len(b.Records)+len(m.records) > sdk.MaxBatch || size+m.size > sdk.MaxBatchSize) {
			break
		}
		b.Records = append(b.Records, m.records...)
		size += m.size
		n++
	}
	if n == 0 {
		return b, s.lost // all that came before is answered
	}
	taken := append([]*message(nil), s.queue[:n]...)
	s.queue = append(s.queue[:0], s.queue[n:]...)
	clear(s.queue[len(s.queue):cap(s.queue)])
	s.open.messages = taken
	s.open.told, s.open.next = s.memory.after(taken)
	b.Next = s.open.next
	return b, nil
}

// Ack lets the senders have their answers.
func (d *device) Ack(_ context.Context, upTo sdk.Position) error { return d.settle(upTo, stored) }

// Refuse lets the senders have a negative answer, or none: those that repeat send again.
func (d *device) Refuse(_ context.Context, upTo sdk.Position, why sdk.Reason) error {
	return d.settle(upTo, why)
}

// settle gives the verdict of the open batch.
func (s *session) settle(upTo sdk.Position, v sdk.Reason) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if upTo != s.open.next {
		return errors.New("answer of the host: its position is not that of the open batch")
	}
	for _, m := range s.open.messages {
		delete(s.underway, m.key)
		if v == stored {
			s.memory.stored(m.key)
		}
		m.verdict <- v
		for _, t := range m.twins {
			t.verdict <- v
		}
	}
	if v == stored {
		s.memory.told = s.open.told
	}
	s.open = batch{}
	return nil
}

// submit hands a message over. One that the host has already gets its verdict at once; one that is underway waits for the
// verdict of its twin.
func (s *session) submit(m *message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.memory.knows(m.key) {
		m.verdict <- stored
		return
	}
	if twin := s.underway[m.key]; twin != nil {
		twin.twins = append(twin.twins, m)
		return
	}
	s.underway[m.key] = m
	s.queue = append(s.queue, m)
	s.wake()
}

func (s *session) wake() {
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

// Close ends every connection. One whose verdict has come still answers; the goroutines are serve's to join.
func (d *device) Close(context.Context) error {
	d.session = nil
	return nil
}
