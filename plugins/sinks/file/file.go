package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/hostd/hostd/core/sdk"
)

const (
	megabyte = 1 << 20
	spareBuf = 8 * megabyte // a buffer that one huge record made larger than this is not kept
)

// sink is the plugin. A batch is encoded into one buffer, written with one call, and synced before Write returns.
type sink struct {
	Dir         string        `setting:"dir,required" help:"folder for the files; it is made if it is not there, and belongs to this sink alone"`
	MaxSizeMB   int           `setting:"max_size_mb" default:"100" unit:"MiB" min:"1" max:"102400" help:"a new file is begun before one grows larger"`
	MaxAge      time.Duration `setting:"max_age" default:"24h" min:"0" help:"a new file is begun when one is older; 0 is no limit"`
	Attachments string        `setting:"attachments" default:"copy" enum:"copy,reference" help:"copy keeps attachments below dir; reference keeps only their hash"`
	Raw         bool          `setting:"raw" default:"true" help:"keep the source's bytes beside the decoded form"`

	create  func(path string, flag int) (handle, error) // nil is the disk; tests let it fail
	archive *archive
	shelf   *shelf
	lines   lineEncoder
	buf     []byte
}

// Open takes the folder for this process alone, and cuts off what a crash left of a line.
func (s *sink) Open(_ context.Context, env sdk.SinkEnv) error {
	if err := env.Settings.Decode(s); err != nil {
		return err
	}
	dir, err := filepath.Abs(s.Dir)
	if err != nil {
		return fmt.Errorf("open folder %s: %w", s.Dir, err)
	}
	create := s.create
	if create == nil {
		create = openHandle
	}
	a := &archive{dir: dir, maxSize: int64(s.MaxSizeMB) * megabyte, maxAge: s.MaxAge, open: create, log: env.Log}
	s.archive = a
	if err := a.Open(); errors.Is(err, errInUse) {
		return fmt.Errorf("open folder %s: %w; give each sink a folder of its own", dir, err)
	} else if err != nil {
		return fmt.Errorf("open folder %s: %w; check that the drive is there and that the account of hostd may write to it", dir, err)
	}
	s.shelf = &shelf{dir: filepath.Join(dir, attachmentDir), blob: env.Blob, synced: map[string]bool{}}
	s.lines = lineEncoder{raw: s.Raw}
	return nil
}

// Write returns when the lines, and before them the attachments that they name, are on the disk. A record whose
// attachment the host does not have is refused. On any other error none of the batch is in a file.
func (s *sink) Write(ctx context.Context, records []sdk.Record) error {
	var refused sdk.RecordErrors
	buf := s.buf[:0]
	for i := range records {
		r := &records[i]
		if err := s.keep(ctx, r); err != nil {
			if sdk.ClassOf(err) != sdk.ClassPermanent {
				return err
			}
			if refused == nil {
				refused = sdk.RecordErrors{}
			}
			refused[i] = err
			continue
		}
		buf = s.lines.append(buf, r)
	}
	if s.buf = buf; cap(buf) > spareBuf {
		s.buf = nil
	}
	if err := ctx.Err(); err != nil {
		return sdk.WithClass(sdk.ClassUnavailable, fmt.Errorf("write batch: %w", err))
	}
	if err := s.archive.Append(buf); err != nil {
		return unavailable("write batch", err)
	}
	if refused != nil {
		return refused
	}
	return nil
}

// keep stores the attachments of r.
func (s *sink) keep(ctx context.Context, r *sdk.Record) error {
	if s.Attachments != "copy" {
		return nil
	}
	for i := range r.Attachments {
		if err := s.shelf.Keep(ctx, &r.Attachments[i]); err != nil {
			return err
		}
	}
	return nil
}

// Close gives the folder back.
func (s *sink) Close(context.Context) error {
	a := s.archive
	s.archive, s.shelf, s.buf = nil, nil, nil
	if a == nil {
		return nil
	}
	return a.Close()
}

// unavailable is an error that will pass when somebody sees to the disk.
func unavailable(doing string, err error) error {
	var e *sdk.Error
	switch {
	case err == nil || errors.As(err, &e):
		return err
	case diskFull(err):
		err = fmt.Errorf("%s: the disk is full, make room: %w", doing, err)
	default:
		err = fmt.Errorf("%s: %w", doing, err)
	}
	return sdk.WithClass(sdk.ClassUnavailable, err)
}
