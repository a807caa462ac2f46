package host

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/internal/durable"
	"github.com/hostd/hostd/core/internal/logs"
	"github.com/hostd/hostd/core/internal/spool"
	"github.com/hostd/hostd/core/internal/wire"
)

// describe is spool.Options.Describe.
func describe(payload []byte) (spool.Description, error) {
	var head wire.Head
	if err := wire.Scan(payload, &head); err != nil {
		return spool.Description{}, err
	}
	d := spool.Description{ID: head.ID, Kind: head.Kind, Patient: head.Patient}
	for i := range head.Attachments {
		d.Attachments = append(d.Attachments, head.Attachments[i].Hash)
	}
	return d, nil
}

const indexKeySize = 32

// indexKey reads the key under which patients' ids are hashed in the index, and makes it where there is none, or none that
// can be read: the index alone must not tell whether a person was at the clinic. With a new key the index is made anew.
func (p *places) indexKey() ([]byte, error) {
	key, err := os.ReadFile(p.indexKeyFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, Environment(fmt.Errorf("read key of the index: %w", err))
	}
	if len(key) == indexKeySize && !bytes.Equal(key, make([]byte, indexKeySize)) { // zeros are what a power cut can leave
		return key, nil
	}
	if err := p.dropIndex(); err != nil {
		return nil, Environment(err)
	}
	key = make([]byte, indexKeySize)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("make key of the index: %w", err)
	}
	if err := durable.WriteFile(p.indexKeyFile, key); err != nil {
		return nil, Environment(fmt.Errorf("make key of the index: %w", err))
	}
	return key, nil
}

// dropIndex deletes what was made with another key.
func (p *places) dropIndex() error {
	files, err := filepath.Glob(filepath.Join(p.spool, "*.idx"))
	for _, f := range files {
		err = errors.Join(err, os.Remove(f))
	}
	if err != nil {
		return fmt.Errorf("drop index: %w", err)
	}
	return nil
}

// Sweeping of attachments that nothing names any more.
const (
	sweepEvery = time.Hour
	sweepLater = 5 * time.Minute // after one that found the spool busy
)

// sweep removes attachments whose records are gone, now and then.
func (h *Host) sweep(ctx context.Context) error {
	wait := time.NewTimer(sweepEvery)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-wait.C:
		}
		n, freed, err := h.spool.SweepBlobs(ctx)
		next := sweepEvery
		switch {
		case errors.Is(err, spool.ErrBusy):
			next = sweepLater
		case err != nil && ctx.Err() == nil:
			h.log.Warn("attachments not swept", "err", err)
		case n > 0:
			h.log.Info("attachments swept: nothing names them any more", "files", n, "bytes", freed)
		}
		wait.Reset(next)
	}
}

// Lookup says which records are looked for; an empty field is not given.
type Lookup struct {
	ID, Kind, Device, Patient string
	From, To                  time.Time // received at or after From and before To
	Seq                       uint64
	Limit                     int // at most; 0: all
}

// Found is a record and what became of it at each sink that it was for.
type Found struct {
	Record
	Copy       bool       `json:"copy,omitempty"` // put in once more by a replay or a requeue
	Deliveries []Delivery `json:"deliveries"`
}

// Delivery is what became of a record at one sink.
type Delivery struct {
	Sink     string     `json:"sink"`
	State    string     `json:"state"` // delivered, waiting, dead, held, replaced, requeued, dropped, settled
	Reason   string     `json:"reason,omitempty"`
	Attempts int        `json:"attempts,omitempty"`
	Died     *time.Time `json:"died_at,omitempty"`
}

// Find looks for records in the spool's files, newest first, beside a running host or without one. Patients' data are not
// in the answer.
func Find(ctx context.Context, c *config.Config, q Lookup) ([]Found, error) {
	i, err := inspect(c)
	if err != nil {
		return nil, err
	}
	list := []Found{}
	for f, err := range i.Find(ctx, spool.Lookup{
		ID: q.ID, Kind: q.Kind, Device: q.Device, Patient: q.Patient, From: q.From, To: q.To, Seq: q.Seq, Limit: q.Limit,
	}) {
		if err != nil {
			return list, err
		}
		r, err := recordOf(f.Ref, false)
		if err != nil {
			return list, err
		}
		r.Data = nil // the findings are the database's matter; here it is what became of the record
		out := Found{Record: r, Copy: f.Copy, Deliveries: []Delivery{}}
		for _, d := range f.Deliveries {
			out.Deliveries = append(out.Deliveries, Delivery{
				Sink: d.Sink, State: d.State, Reason: logs.Mask(d.Reason), Attempts: d.Attempts, Died: timeOf(d.Died),
			})
		}
		list = append(list, out)
	}
	return list, nil
}

// Blobs is what VerifyBlobs says of the attachments.
type Blobs = spool.BlobReport

// VerifyBlobs reads every attachment that a record names, and compares it with its hash.
func VerifyBlobs(ctx context.Context, c *config.Config) (Blobs, error) {
	i, err := inspect(c)
	if err != nil {
		return Blobs{}, err
	}
	return i.VerifyBlobs(ctx)
}
