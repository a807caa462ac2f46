package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"time"

	"github.com/hostd/hostd/core/protocols/mapped"
	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/share"
)

// Limits of one batch, and the pause after one that the host could not take.
const (
	batchFiles  = 64
	batchBytes  = 240 << 10
	refusePause = time.Second
)

// gcPercent is less than what serve sets for streams of records: each scan of a large folder leaves much garbage behind, and would
// take several times the memory of what is known of its files.
const gcPercent = 50

// folder is the device. Its calls never overlap (window 1); only watch runs beside them, and it touches nothing of this
// but alarm.
type folder struct {
	Dir           string         `setting:"dir,required" help:"folder or share into which the instrument writes"`
	User          string         `setting:"user" help:"Windows: who hostd is for the share, as DOMAIN\\name or name@domain; nothing is the account of the service"`
	Password      string         `setting:"password,secret" help:"Windows: the password of user"`
	Format        string         `setting:"format" default:"auto" enum:"auto,joia,nidek,topascope,huvitz,myah,gdt,csv,json,document" help:"auto looks into each file; csv and json need map"`
	Map           mapped.Mapping `setting:"map" help:"csv and json: which column or path is which finding"`
	Patterns      []string       `setting:"patterns" help:"names of the files to read, with * and ?, in any case; what the format is usually called where nothing is written"`
	Recursive     bool           `setting:"recursive" default:"false" help:"read the folders inside dir, too"`
	After         string         `setting:"after" default:"move" enum:"move,keep" help:"move: to done_dir or failed_dir; keep: leave the file where it is and remember it"`
	DoneDir       string         `setting:"done_dir" default:"done" help:"where files go that were stored; inside dir where it is no full path"`
	FailedDir     string         `setting:"failed_dir" default:"failed" help:"where files go that cannot be read, each with its reason"`
	Existing      string         `setting:"existing" enum:"import,ignore" help:"what becomes of the files that are there at the very first start; must be written where they are more than 100"`
	Settle        time.Duration  `setting:"settle" default:"2s" min:"0" max:"600" help:"how long size and time of a file must hold still before it is read"`
	IncompleteFor time.Duration  `setting:"incomplete_wait" default:"30s" min:"0" max:"86400" help:"how long an empty or unfinished file must hold still before it counts as failed"`
	AttachDirs    []string       `setting:"attachment_dirs" help:"where images are that an exam names, seen from the exam's folder; ../JPG and . where nothing is written"`
	AttachWait    time.Duration  `setting:"attachment_wait" default:"10s" min:"0" max:"86400" help:"how long an exam waits for its images before it goes without them"`
	AttachLate    time.Duration  `setting:"attachment_late" default:"24h" min:"0" max:"2592000" help:"how long a missing image is still looked for after that; it then completes its exam"`
	CodePage      string         `setting:"code_page" default:"cp949" help:"code page of text that is not what its file says: cp949, cp932, windows-1252 ..., or none"`
	MaxSizeMB     int            `setting:"max_size_mb" default:"16" unit:"MiB" min:"1" max:"1024" help:"larger files are not read"`
	MaxAttachMB   int            `setting:"max_attachment_mb" default:"256" unit:"MiB" min:"1" max:"4095" help:"larger images are left where they are"`

	env          sdk.Env
	done, failed string // full paths
	cat          *catalogue
	late         *lateShelf
	stored       map[key]uint64    // what the host has, as far as a file may still be there: content to attachments sent
	seen         map[string]*sight // by path below Dir: files that are not settled, or wait for something
	images       images
	queue        []found                // settled, oldest first
	rest         *rows                  // a file of many exams of which some are not sent
	grown        map[string]map[key]int // by path below Dir: how often a file that stays has each row
	moves        []*work                // stored, but still where they were: somebody holds the file
	batch        *batch                 // sent and not answered
	alarm        chan time.Duration
	pauseUntil   time.Time
	locked       int  // files that could not be opened in the last scan, for the log
	first        bool // no scan of this folder has come to its end
}

// stamp is what tells that a file has not changed.
type stamp struct {
	size, mtime int64 // mtime in nanoseconds, as the share says it: only compared with itself
}

func stampOf(info fs.FileInfo) stamp {
	return stamp{size: info.Size(), mtime: info.ModTime().UnixNano()}
}

// key is the first half of a content's SHA-256.
type key [16]byte

// String is the key as it stands in IDs: 32 lower-case hex digits.
func (k key) String() string { return hex.EncodeToString(k[:]) }

// batch is what one Read gives.
type batch struct {
	records []sdk.Record
	works   []*work // files to put away when it is stored
	amended []*work // exams of earlier batches that got a late attachment
	keys    map[key]bool
	bytes   int
}

func (b *batch) full() bool {
	return len(b.works)+len(b.amended) >= batchFiles || b.bytes >= batchBytes || len(b.records) >= sdk.MaxBatch
}

func (b *batch) add(records ...sdk.Record) {
	for i := range records {
		b.bytes += len(records[i].Data) + len(records[i].Raw) + 512
	}
	b.records = append(b.records, records...)
}

// Open reads what is remembered, looks whether the folder is there, and puts away what the host has stored.
func (d *folder) Open(ctx context.Context, env sdk.Env, from sdk.Position) error {
	if err := env.Settings.Decode(d); err != nil {
		return err
	}
	if err := d.check(); err != nil {
		return err
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	d.env, d.batch, d.queue, d.rest, d.moves, d.locked, d.pauseUntil = env, nil, nil, nil, nil, 0, time.Time{}
	d.seen, d.stored, d.grown = map[string]*sight{}, map[key]uint64{}, map[string]map[key]int{}
	d.images = newImages(d)
	d.alarm = make(chan time.Duration, 1)
	var err error
	if d.cat, err = openCatalogue(env.StateDir); err != nil {
		return err
	}
	if d.late, err = openLate(env.StateDir, env.Log); err != nil {
		return err
	}
	d.cat.each(func(e *entry) {
		if !e.ignored {
			d.stored[e.key] = e.mask
		}
	})
	d.first = from == "" && !d.cat.baseline
	if err := d.recall(from); err != nil {
		return err
	}
	if d.User != "" {
		if err := share.Connect(d.Dir, d.User, d.Password); err != nil {
			return unreachable(d.Dir, err)
		}
	}
	if _, err := os.Stat(d.Dir); err != nil {
		return unreachable(d.Dir, err)
	}
	env.Go(d.watch)
	return ctx.Err()
}

// recall takes over from a position which files of the last batch are stored.
func (d *folder) recall(from sdk.Position) error {
	list, ok := parsePosition(from)
	if !ok {
		d.env.Log.Warn("position is not of this plugin: files that are still there are read again")
	}
	for _, s := range list {
		d.stored[s.key] |= s.mask
		if err := d.late.update(s.key, s.mask); err != nil {
			return err
		}
	}
	return nil
}

// Read gives the exams of settled files. Files that wait for something are passed over; a file is put away by Ack only.
func (d *folder) Read(ctx context.Context) (sdk.Batch, error) {
	if time.Now().Before(d.pauseUntil) {
		return sdk.Batch{}, nil
	}
	b := &batch{keys: map[key]bool{}}
	d.more(b)
	if d.rest == nil && len(d.queue) == 0 {
		if err := d.scan(ctx); err != nil {
			return sdk.Batch{}, err
		}
		d.retryMoves(ctx)
		d.takeLate(ctx, b)
	}
	for d.rest == nil && len(d.queue) > 0 && !b.full() && ctx.Err() == nil {
		f := d.queue[0]
		d.queue = d.queue[1:]
		if err := d.take(ctx, f, b); err != nil {
			d.unstage(b)
			return sdk.Batch{}, err
		}
	}
	if len(d.queue) == 0 {
		d.ring()
	}
	if len(b.records) == 0 {
		return sdk.Batch{}, ctx.Err()
	}
	d.batch = b
	return sdk.Batch{Records: b.records, Next: b.position()}, nil
}

// Ack puts the files of the batch away: they are on the host's disk.
func (d *folder) Ack(ctx context.Context, upTo sdk.Position) error {
	b := d.batch
	d.batch = nil
	if b == nil || b.position() != upTo {
		return nil // of a batch before the last Open, which has recalled it
	}
	for _, w := range b.amended {
		if err := d.late.update(w.key, w.mask); err != nil {
			return err
		}
		d.moveImages(w) // Rule 18: the amending record is on the host's disk
	}
	d.putAway(ctx, b.works)
	return nil
}

// Refuse forgets the batch: its files are where they were, and are read again after a pause.
func (d *folder) Refuse(context.Context, sdk.Position, sdk.Reason) error {
	if d.batch != nil {
		d.unstage(d.batch)
	}
	d.batch, d.queue, d.rest = nil, nil, nil
	d.pauseUntil = time.Now().Add(refusePause)
	return nil
}

// Close lets the catalogue go.
func (d *folder) Close(context.Context) error {
	if d.cat == nil {
		return nil
	}
	err := d.cat.close()
	d.cat = nil
	return err
}

// unreachable says in plain words what to look at. The path is the configuration's own; names of files never appear.
func unreachable(dir string, err error) error {
	wrong, todo := share.Explain(err)
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case wrong != "":
		return fmt.Errorf("open folder %s: %s: %s", dir, wrong, todo)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("open folder %s: it is not there or cannot be reached: check `dir`, the share and the network", dir)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("open folder %s: access is denied: check that the account of the hostd service may read and change it", dir)
	}
	return fmt.Errorf("open folder %s: %w: check the share and the network", dir, sdk.Cause(err))
}
