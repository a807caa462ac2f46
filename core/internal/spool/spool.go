package spool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"github.com/hostd/hostd/core/internal/life"
)

// Options are the limits of a spool. A zero field takes its default.
type Options struct {
	SegmentSize int64         // bytes of a segment, which one large group may exceed; default 64 MiB
	GroupSize   int           // bytes that gather for one fsync before Append waits; default 2 MiB
	Flush       time.Duration // how long settle marks may wait for a group of records; default 50 ms
	Keep        time.Duration // how long a segment is kept after its last record was delivered everywhere; default 0
	KeepSize    int64         // bytes of log and letters above which a delivered segment is not kept; default Cap less two segments, or no bound
	Cap         int64         // bytes of log and letters at which no more records are taken (ErrCap); default no bound
	Reserve     int64         // bytes of a file that keeps room for cursors and dead letters on a full disk; default none
	Seal        bool          // new files are encrypted with Key
	Key         []byte        // master key of 32 bytes; without it nothing that is sealed can be opened (ErrKey)
	Blobs       string        // folder of the attachments; default "blobs" beside the spool's folder
	BlobGrace   time.Duration // how old an attachment that nobody names must be before SweepBlobs removes it; default 1 h
	IndexKey    []byte        // key of the hashes of ids and patients in index files; default one that is made of Key
	Log         *slog.Logger  // default: nothing is logged

	// Describe tells what Find and SweepBlobs look for in a payload; nil: there are no index files, no search by id, kind or
	// patient, and no sweep. It is called from several goroutines. What it returns is not used after its payload is.
	Describe func(payload []byte) (Description, error)

	disk disk // tests only; default the operating system's
}

func (o *Options) setDefaults(dir string) {
	if o.SegmentSize <= 0 {
		o.SegmentSize = 64 << 20
	}
	if o.GroupSize <= 0 {
		o.GroupSize = 2 << 20
	}
	if o.Flush <= 0 {
		o.Flush = 50 * time.Millisecond
	}
	if o.Blobs == "" {
		o.Blobs = filepath.Join(filepath.Dir(filepath.Clean(dir)), "blobs")
	}
	if o.BlobGrace <= 0 {
		o.BlobGrace = time.Hour
	}
	o.KeepSize = o.keepSize()
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.disk.files == nil {
		o.disk = osDisk()
	}
}

// keepSize is KeepSize as it holds: what is delivered must not keep new records out.
func (o *Options) keepSize() int64 {
	if most := max(o.Cap-2*o.SegmentSize, 1); o.Cap > 0 && (o.KeepSize <= 0 || o.KeepSize > most) {
		return most
	}
	return o.KeepSize
}

// Spool is the log and everything beside it. Its methods may be called from any goroutine.
type Spool struct {
	dir  string
	opt  Options // its SegmentSize, Keep, KeepSize and Cap are guarded by mu
	disk disk
	log  *slog.Logger
	dead deadLog
	bad  quarantine

	index    indexes
	taken    taken
	oneSweep sync.Mutex   // held by SweepBlobs
	deleting sync.Mutex   // held while segments are deleted, or must not be; after oneSweep, before copies and mu
	copies   sync.RWMutex // held for reading while records are put in once more; before mu
	strays   []string     // index files that Open met
	opened   time.Time

	leases sync.Pool

	wake  chan struct{} // something gathers
	marks chan struct{} // a cursor moved

	filled chan struct{} // a segment became full

	mu       sync.Mutex
	state    *state                // guarded by mu: what is on the disk
	sinks    []liveSink            // guarded by mu: where the sinks are, which the disk learns with the next group
	devices  []string              // guarded by mu: names by number
	byName   map[string]uint32     // guarded by mu: numbers of the devices
	next     uint64                // guarded by mu: seq of the next record
	term     uint64                // guarded by mu: see Term
	gather   *group                // guarded by mu: takes what is appended
	segments []*segment            // guarded by mu: oldest first; the newest is written to when cur is open
	waiters  [maxSinks]([]*waiter) // guarded by mu: readers at the end of the log
	bytes    int64                 // guarded by mu: of the segments
	full     chan struct{}         // guarded by mu: nil while records are taken; else the reserve is spent, see Room
	stopped  bool                  // guarded by mu: no more is taken
	unsure   bool                  // set by Open: part of the log could not be read, and the state may be old

	reserved bool // guarded by mu: the reserve is there

	// The rest belongs to the goroutine of Run.
	spare  *group
	sealer *sealer   // of the newest segment; nil when it is not sealed
	looked time.Time // when the newest segment was looked for last
	cur    file      // the newest segment, nil when the next group begins a new one
	top    uint32    // highest number that a segment ever had
}

// liveSink is a sink's name and cursor as the program knows them.
type liveSink struct {
	name                        string
	cursor, settled, died, lost uint64
}

// Open reads what the folder dir holds and makes what is missing. It starts nothing and writes no record: the caller
// hands Run to its group. The content never makes it fail: what is unreadable is set aside. It fails when the folder
// cannot be made, read or synced. Only one Spool may be open on a folder; the host's lock on its data_dir sees to it.
func Open(dir string, opt Options) (*Spool, error) {
	opt.setDefaults(dir)
	if opt.Seal && len(opt.Key) != keySize {
		return nil, fmt.Errorf("open spool: %w: the key has %d bytes, not %d", ErrKey, len(opt.Key), keySize)
	}
	s := &Spool{
		dir: dir, opt: opt, disk: opt.disk, log: opt.Log,
		wake: make(chan struct{}, 1), marks: make(chan struct{}, 1), filled: make(chan struct{}, 1), opened: time.Now(),
		term: 1, gather: &group{roomy: opt.Seal}, spare: &group{roomy: opt.Seal}, byName: map[string]uint32{},
	}
	for _, d := range []string{dir, filepath.Join(dir, deadDir), filepath.Join(dir, quarantineDir), opt.Blobs} {
		if err := s.disk.dirs.Make(d); err != nil {
			return nil, fmt.Errorf("open spool: %w", err)
		}
	}
	if err := s.recover(); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	s.setIndexes(func() bool { return !s.isLow() })
	s.dropStrays()
	s.refill()
	return s, nil
}

// Run writes groups until ctx ends, then writes what still gathers and refuses more with ErrClosed. It must run exactly
// once, after Open. A failing disk is not an error of Run: each batch's done tells it, and intake may go on later.
func (s *Spool) Run(ctx context.Context) error {
	beside := life.NewGroup(ctx)
	if s.opt.Describe != nil {
		beside.Go("index", s.keepIndexes)
	}
	err := s.writeGroups(ctx)
	if berr := beside.Wait(); berr != nil {
		s.log.Error("index files are not made any more", "err", berr)
	}
	return err
}

func (s *Spool) writeGroups(ctx context.Context) error {
	flush := time.NewTimer(time.Hour)
	defer flush.Stop()
	armed := false
	for {
		select {
		case <-s.wake:
		case <-s.marks:
			if !armed {
				flush.Reset(s.opt.Flush)
				armed = true
			}
			continue
		case <-flush.C:
			armed = false
		case <-ctx.Done():
			return s.finish()
		}
		s.refill()
		err := s.commit(false)
		switch low := s.isLow(); {
		case armed:
		case low:
			flush.Reset(retryLow)
			armed = true
		case err != nil:
			flush.Reset(retryMarks)
			armed = true
		}
	}
}

// retryMarks is the pause before marks that could not be written are tried again without new records; retryLow the one
// before the reserve is, which writes as much as it can each time.
const (
	retryMarks = time.Second
	retryLow   = time.Second
)

// finish writes the last group and an empty one, which proves to the next Open that all before it was synced.
func (s *Spool) finish() error {
	s.stop()
	err := s.commit(false)
	if s.cur == nil {
		return nil
	}
	err = errors.Join(err, s.commit(true))
	err = errors.Join(err, s.closeNewest())
	if err != nil {
		s.log.Warn("last group of the spool not written", "err", err)
	}
	return nil
}

// closeNewest closes the newest segment, and cuts off what is behind its end.
func (s *Spool) closeNewest() error {
	if s.cur == nil {
		return nil
	}
	err := s.cur.Close()
	s.cur = nil
	if seg := s.newest(); seg.whole > seg.end {
		err = errors.Join(err, s.disk.Truncate(s.path(seg), seg.end))
	}
	return err
}

// stop refuses further batches and wakes every reader.
func (s *Spool) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	for i := range s.waiters {
		for _, w := range s.waiters[i] {
			close(w.ready)
		}
		s.waiters[i] = nil
	}
	if s.gather.full != nil {
		close(s.gather.full)
		s.gather.full = nil
	}
}

// Close gives back the files. It is called after Run has returned and the readers are closed; without a Run that took
// them, batches that still gather are answered with ErrClosed.
func (s *Spool) Close() error {
	s.stop()
	for _, done := range s.take(nil).dones {
		done(ErrClosed)
	}
	return errors.Join(s.closeNewest(), s.dead.close())
}

// SetLimits takes SegmentSize, Keep, KeepSize and Cap of o, with their defaults, in the place of those that Open was given. They
// hold from the next batch and group on.
func (s *Spool) SetLimits(o Options) {
	o.setDefaults(s.dir)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opt.SegmentSize, s.opt.Keep, s.opt.KeepSize, s.opt.Cap = o.SegmentSize, o.Keep, o.KeepSize, o.Cap
}

// SinkID is a sink's number in the spool, 0 to 63, durable with the first group after its registration.
type SinkID uint8

// SinkSet is a set of registered sinks: bit n stands for SinkID n. Empty: stored, and delivered to nobody.
type SinkSet uint64

// With returns the set and id.
func (set SinkSet) With(id SinkID) SinkSet { return set | 1<<id }

// Has says whether id is in the set.
func (set SinkSet) Has(id SinkID) bool { return set>>id&1 == 1 }

// RegisterSink returns the number of the sink with that name, 1 to 256 bytes. A known one goes on at its cursor; a new
// one gets the records that are appended from now on. Called by the host before routes name the sink. A spool has at
// most 64 sinks ever; ErrTooLarge beyond that.
func (s *Spool) RegisterSink(name string) (SinkID, error) {
	if len(name) == 0 || len(name) > maxName || name == forgottenName {
		return 0, fmt.Errorf("register sink: name of %d bytes: %w", len(name), ErrTooLarge)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	free := -1
	for i := range s.sinks {
		if s.sinks[i].name == name {
			return SinkID(i), nil
		}
		if s.sinks[i].name == "" && free < 0 {
			free = i // its name was lost to damage: records for it may wait
		}
	}
	if free >= 0 {
		s.sinks[free].name = name
		s.remind()
		return SinkID(free), nil
	}
	if len(s.sinks) == maxSinks {
		return 0, fmt.Errorf("register sink %s: more than %d: %w", name, maxSinks, ErrTooLarge)
	}
	k := liveSink{name: name, cursor: s.next - 1}
	if s.unsure { // it may be an old one
		k.cursor = 0
		s.state.sink(uint32(len(s.sinks))).last = s.next - 1
	}
	s.sinks = append(s.sinks, k)
	s.remind()
	return SinkID(len(s.sinks) - 1), nil
}

// remind lets the next group, at most Options.Flush away, carry what changed beside records.
func (s *Spool) remind() {
	select {
	case s.marks <- struct{}{}:
	default:
	}
}

// Settle says that all records for the sink up to seq upTo are delivered or dead: n since the last call, of which died are
// dead letters. The
// cursor moves at once for new readers, and durably with the next group, at most Options.Flush later: after a crash the
// records of that time are delivered once more. A call for what is already settled does nothing.
func (s *Spool) Settle(id SinkID, upTo uint64, n, died int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if int(id) >= len(s.sinks) {
		return fmt.Errorf("settle: %w", ErrUnknownSink)
	}
	k := &s.sinks[id]
	if upTo <= k.cursor {
		return nil
	}
	k.cursor = min(upTo, s.next-1)
	k.settled += uint64(max(n, 0))
	k.died += uint64(max(died, 0))
	s.caughtUp(id)
	s.remind()
	return nil
}

// Position returns the device's position as it is on the disk; false where there is none.
func (s *Spool) Position(device string) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, ok := s.byName[device]
	if !ok || int(n) >= len(s.state.devices) || !s.state.devices[n].known {
		return nil, false
	}
	return append([]byte{}, s.state.devices[n].position...), true
}

func (s *Spool) deviceName(n uint32) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if int(n) < len(s.devices) && s.devices[n] != "" {
		return s.devices[n]
	}
	return fmt.Sprintf("device-%d", n) // its name was lost to damage
}
