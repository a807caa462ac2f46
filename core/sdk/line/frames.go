package line

import (
	"bytes"
	"context"
)

// Frames reads texts between two control bytes from a Port, such as STX text ETX. What stands outside of them is noise, and
// a frame whose end is missing gives way to the one that begins behind it: such an instrument sends it again.
type Frames struct {
	Port       *Port
	Start, End byte
	Limit      int // bytes of a text, above which it is noise; 0 is 64 KiB
	rest       []byte
	inside     bool
}

// Next waits for the next text and returns it without its control bytes. An error is one of Port.Next; what came of a frame
// before it is kept for the next call.
func (f *Frames) Next(ctx context.Context) ([]byte, error) {
	limit := f.Limit
	if limit == 0 {
		limit = 64 << 10
	}
	for seen := 0; ; {
		for ; seen < len(f.rest); seen++ {
			switch b := f.rest[seen]; {
			case b == f.Start: // the frame before it has no end
				f.rest, f.inside, seen = f.rest[seen+1:], true, -1
			case b == f.End && f.inside:
				text := bytes.Clone(f.rest[:seen])
				f.rest, f.inside = f.rest[seen+1:], false
				return text, nil
			case !f.inside || seen >= limit:
				f.rest, f.inside, seen = f.rest[seen+1:], false, -1
			}
		}
		b, err := f.Port.Next(ctx, 0)
		if err != nil {
			return nil, err
		}
		f.rest = append(f.rest, b...)
	}
}

// Discard forgets what came and was not read, on the Port, too.
func (f *Frames) Discard() {
	f.Port.Discard()
	f.rest, f.inside = nil, false
}
