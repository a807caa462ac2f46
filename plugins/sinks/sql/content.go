package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

// maxLoad is the most of a moved Data or Raw that is put back into the record's row, each; a larger one stays an
// attachment, and its column is NULL.
const maxLoad = 4 << 20

// content are a record's bytes, put back from the attachments to which a large one was moved on its way.
type content struct{ data, raw []byte }

var (
	errMissing = errors.New("the host does not have it")
	errDamaged = errors.New("content is not the one that its hash says")
)

// content reads what was moved. A permanent error: it is not there, or an exam is too large to be one.
func (s *sink) content(ctx context.Context, r *sdk.Record) (content, error) {
	c := content{data: r.Data}
	if s.Raw {
		c.raw = r.Raw
	}
	for i := range r.Attachments {
		a := &r.Attachments[i]
		into := &c.data
		switch {
		case a.Role == "raw" && s.Raw:
			into = &c.raw
		case a.Role != "data":
			continue
		}
		if a.Size > maxLoad {
			if a.Role == "data" && r.Kind == exam.Kind {
				return c, sdk.Permanent(fmt.Errorf("decode exam: %d bytes, the limit is %d", a.Size, maxLoad))
			}
			continue
		}
		b, err := s.load(ctx, a)
		if err != nil {
			return c, err
		}
		*into = b
	}
	return c, nil
}

func (s *sink) load(ctx context.Context, a *sdk.Attachment) ([]byte, error) {
	b, err := s.read(ctx, a)
	switch {
	case errors.Is(err, errMissing), errors.Is(err, errDamaged):
		return nil, sdk.Permanent(fmt.Errorf("read attachment %s: %w", a.Hash, err))
	case err != nil && sdk.ClassOf(err) == sdk.ClassNone:
		return nil, sdk.WithClass(sdk.ClassUnavailable, fmt.Errorf("read attachment %s: %w", a.Hash, err))
	}
	return b, err
}

func (s *sink) read(ctx context.Context, a *sdk.Attachment) ([]byte, error) {
	in, err := s.env.Blob(ctx, a.Hash)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", errMissing, err)
	}
	if err != nil {
		return nil, err
	}
	defer in.Close()
	b, err := io.ReadAll(io.LimitReader(in, a.Size+1))
	if err != nil {
		return nil, err
	}
	if sum := sha256.Sum256(b); int64(len(b)) != a.Size || hex.EncodeToString(sum[:]) != a.Hash {
		return nil, errDamaged
	}
	return b, nil
}
