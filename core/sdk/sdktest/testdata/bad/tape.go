package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/hostd/hostd/core/sdk"
)

// tape is a device that holds Count records and gives Batch of them at a time.
type tape struct {
	Count int    `setting:"count" default:"40" min:"0" help:"how many records there are"`
	Batch int    `setting:"batch" default:"8" min:"1" help:"how many of them are one batch"`
	Large string `setting:"large" help:"file that says how many bytes the first record has"`

	fault  string
	opened int
	last   int64
	name   string
	dir    string // of attachments
	state  string
	log    *slog.Logger
	open   []*os.File
	since  atomic.Int64 // Unix nanoseconds: of the batch without an answer; 0 is none
}

func (d *tape) Open(_ context.Context, env sdk.Env, from sdk.Position) error {
	d.name, d.dir, d.state, d.log = env.Name, env.StagingDir, env.StateDir, env.Log
	if err := d.decode(env.Settings); err != nil {
		return err
	}
	if d.opened++; d.fault == "tires" && d.opened > 3 {
		return errors.New("open: the port is in use")
	}
	if err := d.misopen(env); err != nil {
		return err
	}
	var err error
	if d.last, err = from.Offset(); err != nil {
		return err
	}
	switch {
	case from == "":
	case d.fault == "forgets":
		d.last += int64(d.Batch)
	case d.fault == "repeats":
		d.last--
	}
	return nil
}

func (d *tape) decode(s sdk.Settings) error {
	switch d.fault {
	case "lax":
		d.Count, d.Batch = 40, 8
		list, err := sdk.Describe(d)
		if err != nil {
			return err
		}
		values := map[string]any{}
		if err := json.Unmarshal(s.JSON(), &values); err != nil {
			return err
		}
		for key := range values {
			if key != "count" && key != "batch" && key != "large" {
				delete(values, key)
			}
		}
		for _, f := range sdk.CheckSettings(list, values) {
			return f
		}
		return nil
	case "loose":
		return d.loosely(s)
	case "quotes":
		if err := s.Decode(d); err != nil {
			return fmt.Errorf("%w in %s", err, s.JSON())
		}
		return nil
	case "mute":
		if s.Decode(d) != nil {
			return errors.New("open: something is wrong")
		}
		return nil
	case "fat":
		err := s.Decode(d)
		d.Count, d.Batch = 600, 300
		return err
	case "big":
		err := s.Decode(d)
		d.Count, d.Batch = 6, 2
		return err
	}
	return s.Decode(d)
}

func (d *tape) Read(ctx context.Context) (sdk.Batch, error) {
	n := min(int64(d.Batch), int64(d.Count)-d.last)
	if n <= 0 {
		switch d.fault {
		case "deaf":
			select {}
		case "polled":
			return sdk.Batch{}, nil
		}
		<-ctx.Done()
		return sdk.Batch{}, ctx.Err()
	}
	if d.fault == "prints" {
		fmt.Println("the tape turns")
	}
	b := sdk.Batch{Records: make([]sdk.Record, n)}
	for i := range b.Records {
		d.last++
		r, err := d.record(d.last)
		if err != nil {
			return b, err
		}
		b.Records[i] = r
	}
	b.Next = sdk.Offset(d.last)
	d.since.Store(time.Now().UnixNano())
	return b, nil
}

func (d *tape) record(n int64) (sdk.Record, error) {
	r := sdk.Record{ID: fmt.Sprintf("tape-%d", n), Kind: "document", ContentType: "text/plain", Data: fmt.Appendf(nil, "document %d", n)}
	if size, err := os.ReadFile(d.Large); err == nil && n == 1 {
		length, err := strconv.Atoi(string(size))
		if err != nil {
			return r, err
		}
		r.Data = bytes.Repeat([]byte("x"), length)
	}
	switch d.fault {
	case "gossips":
		return d.gossip(r)
	case "chatters":
		d.log.Info("a record", "id", r.ID)
	case "renames":
		r.ID = fmt.Sprintf("tape-%d-%d", n, os.Getpid())
	case "rewrites":
		r.Data = fmt.Appendf(nil, "document %d of process %d", n, os.Getpid())
	case "stamps":
		r.ID = ""
	case "big":
		r.Data = bytes.Repeat(r.Data, 3<<20/2/len(r.Data))
		if n%2 == 0 {
			r.Raw = bytes.Repeat([]byte{byte(n)}, 3<<19)
		}
		path := filepath.Join(d.dir, fmt.Sprintf("image-%d", n))
		if err := os.WriteFile(path, fmt.Appendf(nil, "image %d", n), 0o600); err != nil {
			return r, err
		}
		r.Attachments = []sdk.Attachment{{Name: "image.jpg", Path: path}}
	}
	return r, nil
}

func (d *tape) Ack(context.Context, sdk.Position) error {
	d.since.Store(0)
	return nil
}

func (d *tape) Close(context.Context) error {
	if d.fault == "locks" {
		return os.RemoveAll(filepath.Join(d.state, "lock"))
	}
	return nil
}

// refuser is a tape that can wind back.
type refuser struct{ tape }

func (d *refuser) Refuse(_ context.Context, upTo sdk.Position, _ sdk.Reason) error {
	if d.fault == "swallows" {
		return nil
	}
	n, err := upTo.Offset()
	d.last = n - int64(d.Batch)
	return err
}
