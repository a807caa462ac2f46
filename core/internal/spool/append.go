package spool

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"
)

// Entry is one record of a batch.
type Entry struct {
	Payload []byte  // the record's bytes, at most 16 MiB; they may be used again after done
	Sinks   SinkSet // who gets it
	Own     bool    // the host has made it: it does not tell that the device is alive

	received int64 // of a copy: when the record was received; 0 for a new record
}

// Batch is what is stored together: all of it or nothing.
type Batch struct {
	Device      string // name, 1 to 256 bytes
	Records     []Entry
	Position    []byte // the device's position once the records are stored, at most 4 KiB
	HasPosition bool   // Position counts, even when it is empty
	Term        uint64 // what Term said when the batch was sent; 0: it may be stored after a failure, too
}

const (
	maxPosition = 4 << 10
	frameRoom   = headerSize + sealedExtra // what a frame takes beside its payload, at most
)

// Term is the number of the time without a failed group, 1 and up. A device that sends on before it has its answers
// notes the term first: when storing fails, a batch of the old term is refused with ErrTerm, so that none is stored whose
// forerunner was not.
func (s *Spool) Term() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.term
}

// size is the space that the batch takes in a group.
func (b *Batch) size() (int, error) {
	if len(b.Device) == 0 || len(b.Device) > maxName || len(b.Position) > maxPosition {
		return 0, fmt.Errorf("append batch: device name of %d bytes, position of %d: %w", len(b.Device), len(b.Position), ErrTooLarge)
	}
	n := frameRoom + len(b.Position)
	for i := range b.Records {
		n += frameRoom + len(b.Records[i].Payload)
	}
	if n > maxPayload {
		return 0, fmt.Errorf("append batch: %d bytes: %w", n, ErrTooLarge)
	}
	return n, nil
}

// group is what one fsync puts on the disk.
type group struct {
	buf    []byte
	roomy  bool     // its frames have room for sealing
	plain  [][]byte // payloads of the roomy frames that are no records, which the state needs
	by     *sealer  // who seals it; nil: nobody
	sealed int      // bytes of buf that are sealed
	next   uint64   // seq after its last record
	dones  []func(error)
	full   chan struct{} // closed when the group is taken; made by the first Append that waits for it
}

func (g *group) reset(limit int) {
	if cap(g.buf) > 2*limit+maxPosition {
		g.buf = nil // one large batch must not hold its memory for ever
	}
	g.buf = g.buf[:0]
	clear(g.plain)
	clear(g.dones)
	g.plain, g.dones, g.full, g.by, g.sealed = g.plain[:0], g.dones[:0], nil, nil, 0
}

// sealBy seals what was added since the last call. What was sealed for another file is left to finish.
func (g *group) sealBy(by *sealer) {
	if g.by == nil {
		g.by = by
	}
	if by != nil && g.by == by {
		by.inPlace(g.buf[g.sealed:])
		g.sealed = len(g.buf)
	}
}

// add appends a frame. The payload must stay as it is until the group is done.
func (g *group) add(h header, payload []byte) {
	if !g.roomy {
		g.buf = appendFrame(g.buf, h, payload)
		return
	}
	g.buf = appendRoomy(g.buf, h, payload)
	if h.kind != kindRecord {
		g.plain = append(g.plain, payload)
	}
}

// each calls do with the frames and their plain payloads; the payloads of sealed records are as they were sealed.
func (g *group) each(do func(h header, payload []byte)) {
	plain := g.plain
	for at := 0; at < len(g.buf); {
		h := loadHeader(g.buf[at:])
		end := at + headerSize + int(h.length)
		payload := g.buf[at+headerSize : end]
		if g.roomy && h.kind != kindRecord && h.kind != kindTrailer {
			payload, plain = plain[0], plain[1:]
		}
		do(h, payload)
		at = end
	}
}

// addName writes a name twice, so that no single damaged byte loses it.
func (g *group) addName(k kind, n int, name string) {
	if name == "" {
		return
	}
	for range 2 {
		g.add(header{kind: k, num: uint32(n)}, []byte(name))
	}
}

// Append hands a batch over and returns; done is called with nil after its fsync, or with the reason why nothing of it
// counts as stored (ErrFull, ErrDisk, ErrTerm, ErrClosed). done runs in the goroutine of Run, exactly once, and must be quick
// and must not call Append. While the gathering group is full (Options.GroupSize) Append waits, at most about one
// fsync, until there is room or ctx ends. With an error nothing was taken and done is not called.
func (s *Spool) Append(ctx context.Context, b Batch, done func(error)) error {
	size, err := b.size()
	if err != nil {
		return err
	}
	now := time.Now().UnixNano()
	for {
		full, err := s.offer(&b, size, now, done)
		if full == nil {
			return err
		}
		select {
		case <-full:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// offer adds the batch to the group that gathers, or returns the channel that is closed when that one is taken.
func (s *Spool) offer(b *Batch, size int, now int64, done func(error)) (full chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.gather
	switch {
	case s.stopped:
		return nil, ErrClosed
	case b.Term != 0 && b.Term != s.term:
		return nil, ErrTerm
	case len(b.Records) > 0 && s.full != nil:
		return nil, fmt.Errorf("append batch: %w", ErrFull)
	case len(b.Records) > 0 && s.opt.Cap > 0 && s.bytes+s.dead.size.Load()+int64(len(g.buf)+size) > s.opt.Cap:
		return nil, fmt.Errorf("append batch: %w of %d bytes", ErrCap, s.opt.Cap)
	}
	if len(g.buf) > 0 && len(g.buf)+size > s.opt.GroupSize {
		if g.full == nil {
			g.full = make(chan struct{})
		}
		return g.full, nil
	}
	for i := range b.Records {
		if uint64(b.Records[i].Sinks)>>len(s.sinks) != 0 {
			return nil, fmt.Errorf("append batch: %w", ErrUnknownSink)
		}
	}
	n, err := s.deviceNumber(b.Device)
	if err != nil {
		return nil, err
	}
	for i := range b.Records {
		h := header{kind: kindRecord, num: n, seq: s.next, a: uint64(now), b: uint64(b.Records[i].Sinks)}
		if r := b.Records[i].received; r != 0 {
			h.a, h.flags = uint64(r), flagCopy
		}
		if b.Records[i].Own {
			h.flags |= flagOwn
		}
		g.add(h, b.Records[i].Payload)
		s.next++
	}
	if b.HasPosition {
		g.add(header{kind: kindPosition, num: n, a: positionKnown}, b.Position)
	}
	g.sealBy(s.sealer) // here, while the group before is being synced
	s.joined(g, done)
	return nil, nil
}

// joined notes who waits for the group, and wakes Run.
func (s *Spool) joined(g *group, done func(error)) {
	g.dones = append(g.dones, done)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *Spool) deviceNumber(name string) (uint32, error) {
	if n, ok := s.byName[name]; ok {
		return n, nil
	}
	if len(s.devices) == maxDevices {
		return 0, fmt.Errorf("append batch: more than %d devices: %w", maxDevices, ErrTooLarge)
	}
	n := uint32(len(s.devices))
	s.devices = append(s.devices, name)
	s.byName[name] = n
	return n, nil
}

// ForgetDevice drops the position of the device, so that it begins anew, and returns when that is on the disk. An
// unknown device is not an error. The end of ctx leaves it open whether the position is forgotten.
func (s *Spool) ForgetDevice(ctx context.Context, name string) error {
	done := make(chan error, 1)
	known, err := s.forget(name, func(err error) { done <- err })
	if err != nil || !known {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *Spool) forget(name string, done func(error)) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return false, ErrClosed
	}
	n, ok := s.byName[name]
	if !ok {
		return false, nil
	}
	s.gather.add(header{kind: kindPosition, num: n, a: positionForgotten}, nil)
	s.joined(s.gather, done)
	return true, nil
}

// take exchanges the gathering group for next and adds to it the names and cursors that the disk does not know yet.
func (s *Spool) take(next *group) *group {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.gather
	s.gather = next
	if g == nil {
		return &group{roomy: s.opt.Seal}
	}
	g.next = s.next
	if g.full != nil {
		close(g.full)
		g.full = nil
	}
	for i, name := range s.devices {
		if i >= len(s.state.devices) || s.state.devices[i].name == "" {
			g.addName(kindDevice, i, name)
		}
	}
	for i := range s.sinks {
		k := &s.sinks[i]
		var known sinkState
		if i < len(s.state.sinks) {
			known = s.state.sinks[i]
		}
		if known.name != k.name {
			g.addName(kindSink, i, k.name)
		}
		if known.cursor != k.cursor || known.settled != k.settled || known.died != k.died || known.lost != k.lost {
			h := header{kind: kindSettle, num: uint32(i), seq: k.cursor, a: k.settled, b: k.lost}
			g.add(h, binary.AppendUvarint(nil, k.died))
		}
	}
	return g
}
