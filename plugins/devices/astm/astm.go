package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hostd/hostd/core/protocols/astm"
	"github.com/hostd/hostd/core/protocols/textenc"
	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
	"github.com/hostd/hostd/core/sdk/line"
)

// Limits of a batch, of what waits for one, and the time for which ENQ hears NAK after a refusal: that for which the instrument
// waits then anyway.
const (
	batchMessages = 64
	batchBytes    = 200 << 10
	batchRecords  = 200
	mostWaiting   = 256
	busyTime      = astm.BusyTime
	refusePause   = time.Second // before rejects that were refused come again
)

// device is the driver. Read, Ack and Refuse never overlap (window 1); each connection has goroutines of its own beside them.
type device struct {
	line.Settings
	Allow          []string      `setting:"allow" help:"with port listen://: addresses and networks, such as 192.168.1.0/24, that may connect; all where nothing is written"`
	MaxConnections int           `setting:"max_connections" default:"64" min:"1" max:"1000" help:"with port listen://: instruments that are connected at once"`
	MaxPerAddress  int           `setting:"max_per_address" default:"16" min:"1" max:"1000" help:"with port listen://: of them those of one address, which a serial server may have several of"`
	Idle           time.Duration `setting:"idle" default:"0s" min:"0" max:"604800" help:"with port listen://: a connection that says nothing for so long is closed; 0s is never"`
	Checksum       string        `setting:"checksum" default:"optional" enum:"optional,required" help:"required: a frame without checksum is answered with NAK"`
	CodePage       string        `setting:"code_page" default:"cp949" help:"code page of text that is not UTF-8: cp949, cp932, windows-1252 ..."`
	MaxMessageMB   int           `setting:"max_message_mb" default:"16" unit:"MiB" min:"1" max:"64" help:"larger messages are refused"`
	MaxMemoryMB    int           `setting:"max_memory_mb" default:"64" unit:"MiB" min:"1" max:"256" help:"unfinished messages of all instruments together; a frame beyond is answered with NAK"`
	Tests          []testSetting `setting:"tests" help:"which observation a test is; others keep the instrument's code, eye B and unit"`
	Outbox         string        `setting:"outbox" help:"folder whose files *.astm, each one message with a record in each line, are sent to the analyser; with port listen:// those of its subfolder with the analyser's address"`
	NoValue        []string      `setting:"no_value" default:"-999,-100,8388607" help:"values that mean that there is none, besides empty ones and dashes"`

	dial    func(context.Context, sdk.Env, line.Settings, line.Mode) (*line.Port, error) // nil is line.Open
	env     sdk.Env
	gate    *line.Gate
	options astm.Options
	batch   []*delivery // sent and not answered
	count   int64       // messages stored so far
	slots   chan struct{}
	wake    chan struct{} // capacity 1
	memory  atomic.Int64  // bytes of unfinished messages
	opened  time.Time
	busy    atomic.Int64 // nanoseconds after opened until which ENQ hears NAK

	mu     sync.Mutex
	queue  []*delivery        // guarded by mu: what came and was not read
	gone   error              // guarded by mu: why the line has ended
	recent map[string]bool    // guarded by mu: messages of the last stored batch whose answer may not have been heard
	boxes  map[string]*outbox // guarded by mu: which sends the files of a folder
}

// testSetting is astm.Test in a configuration.
type testSetting struct {
	Source string `setting:"source,required" help:"the test's code at the instrument: GLU of ^^^GLU"`
	Code   string `setting:"code" help:"code of the observation, such as iop; the instrument's where nothing is written"`
	Eye    string `setting:"eye" default:"B" enum:"R,L,B" help:"R, L, or B for both or none"`
	Unit   string `setting:"unit" help:"unit; the instrument's where nothing is written"`
	Method string `setting:"method" help:"method, such as tono"`
}

// delivery is a message, or what could not be read.
type delivery struct {
	conn     *conn // whose link waits for the answer; nil of a reject
	message  []byte
	loose    bool // without frames: its sender hears no answer, and does not send it again
	warnings []string
	reject   exam.Reject
	key      string // of a message, in batch and position
}

// Open connects, or listens.
func (d *device) Open(ctx context.Context, env sdk.Env, from sdk.Position) error {
	if err := env.Settings.Decode(d); err != nil {
		return err
	}
	if err := d.check(); err != nil {
		return fmt.Errorf("check settings: %w", err)
	}
	d.env, d.batch, d.queue, d.gone = env, nil, nil, nil
	d.slots, d.wake = make(chan struct{}, mostWaiting), make(chan struct{}, 1)
	d.opened, d.boxes = time.Now(), map[string]*outbox{}
	d.memory.Store(0)
	d.busy.Store(0)
	d.recall(from)
	if address, ok := strings.CutPrefix(d.Port, listens); ok {
		return d.listen(ctx, address)
	}
	if d.dial == nil {
		d.dial = line.Open
	}
	port, err := d.dial(ctx, env, d.Settings, line.Mode{})
	if err != nil {
		return err
	}
	c := d.serve(port, func(ctx context.Context) ([]byte, error) { return port.Next(ctx, 0) }, "")
	env.Go(func(ctx context.Context) error {
		err := c.run(ctx)
		d.mu.Lock()
		d.gone = err
		d.mu.Unlock()
		d.ring()
		return nil // Read gives it, behind what came before
	})
	return nil
}

func (d *device) check() error {
	if !textenc.Known(d.CodePage) {
		return fmt.Errorf("code_page %q is unknown: cp949, cp932 and windows-1252 are some that are known", d.CodePage)
	}
	if d.MaxMessageMB > d.MaxMemoryMB {
		return errors.New("max_memory_mb is below max_message_mb")
	}
	gate, err := line.NewGate(d.Allow, d.MaxConnections, d.MaxPerAddress)
	if err != nil {
		return err
	}
	d.gate = gate
	d.options = astm.Options{CodePage: d.CodePage, NoValue: d.NoValue}
	for _, t := range d.Tests {
		d.options.Tests = append(d.options.Tests, astm.Test(t))
	}
	return nil
}

// Read gives the messages that have come, and what could not be read. A message that is stored already, and whose answer the
// instrument may not have heard, is only answered.
func (d *device) Read(ctx context.Context) (sdk.Batch, error) {
	var b sdk.Batch
	count, size := d.count, 0
	for {
		list := d.take()
		for i, v := range list {
			if len(d.batch) > 0 && (size+len(v.message) > batchBytes || len(b.Records) > batchRecords) {
				d.putBack(list[i:])
				break
			}
			if v.conn == nil {
				d.batch = append(d.batch, v)
				b.Records = append(b.Records, d.rejectRecord(v))
				size += len(v.message)
				continue
			}
			records := d.records(v, count)
			if !v.loose && d.isRecent(v.key) {
				v.conn.answer(true, v.key)
				<-d.slots
				continue
			}
			count++
			d.batch = append(d.batch, v)
			b.Records = append(b.Records, records...)
			for i := range records {
				size += len(records[i].Raw) + len(records[i].Data)
			}
		}
		if len(d.batch) > 0 {
			b.Next = d.position(count)
			return b, nil
		}
		if err := d.end(); err != nil {
			return sdk.Batch{}, err
		}
		select {
		case <-d.wake:
		case <-ctx.Done():
			return sdk.Batch{}, ctx.Err()
		}
	}
}

// Ack has the links answer the frames that ended the messages.
func (d *device) Ack(_ context.Context, upTo sdk.Position) error {
	d.recall(upTo) // Rule 18: it is on the host's disk
	d.busy.Store(0)
	for _, v := range d.batch {
		if v.conn != nil {
			v.conn.answer(true, v.key)
		}
		<-d.slots
	}
	d.batch = nil
	return nil
}

// Refuse has the links answer NAK, now to the frame and for a while to ENQ. What could not be read comes again.
func (d *device) Refuse(context.Context, sdk.Position, sdk.Reason) error {
	d.busy.Store(int64(time.Since(d.opened) + busyTime))
	var back []*delivery
	for _, v := range d.batch {
		if v.conn == nil {
			back = append(back, v)
			continue
		}
		v.conn.answer(false, v.key)
		<-d.slots
	}
	d.batch = nil
	if len(back) > 0 {
		d.env.Go(func(ctx context.Context) error {
			select {
			case <-ctx.Done():
			case <-time.After(refusePause):
				d.putBack(back)
			}
			return nil
		})
	}
	return nil
}

// Close has nothing to let go of: connections end with env.Go.
func (d *device) Close(context.Context) error { return nil }

// isBusy says whether ENQ is to be answered with NAK.
func (d *device) isBusy(now time.Time) bool { return int64(now.Sub(d.opened)) < d.busy.Load() }

// put hands a delivery to Read. It waits while too many wait already; false means that ctx has ended.
func (d *device) put(ctx context.Context, v *delivery) bool {
	select {
	case d.slots <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	d.mu.Lock()
	d.queue = append(d.queue, v)
	d.mu.Unlock()
	d.ring()
	return true
}

func (d *device) ring() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// take gives what waits, oldest first, as much as may be one batch.
func (d *device) take() []*delivery {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := min(len(d.queue), batchMessages)
	list := append([]*delivery(nil), d.queue[:n]...)
	if d.queue = append(d.queue[:0], d.queue[n:]...); len(d.queue) > 0 {
		d.ring()
	}
	return list
}

// end is why the line has ended, when nothing waits any more.
func (d *device) end() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.queue) > 0 {
		return nil
	}
	return d.gone
}

// putBack makes a delivery wait again.
func (d *device) putBack(list []*delivery) {
	d.mu.Lock()
	d.queue = append(list, d.queue...)
	d.mu.Unlock()
	d.ring()
}

func (d *device) isRecent(key string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.recent[key]
}

// heard says that the instrument has heard the answer to a message: an equal one that comes now is another, where it names no
// time.
func (d *device) heard(key string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.recent, key)
}
