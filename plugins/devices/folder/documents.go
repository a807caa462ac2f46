package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/hostd/hostd/core/protocols/eyexml"
	"github.com/hostd/hostd/core/sdk"
)

// kindDocument is the kind of a record whose attachment is a PDF or an image that stands for itself.
const kindDocument = "document"

// mediaOf is the media type of a file that is a document, by its first bytes; empty for any other, and for one that is too
// large.
func (d *folder) mediaOf(in *input) string {
	if d.Format != formatDocument && d.Format != eyexml.FormatAuto {
		return ""
	}
	media := sniff(in.data, in.size)
	if media != "" && in.size > int64(d.MaxAttachMB)<<20 {
		in.tooMuch = true
		return ""
	}
	return media
}

// sniff tells PDF (ISO 32000-1, 7.5.2), JPEG, PNG, TIFF, GIF and BMP by the bytes with which they begin.
func sniff(head []byte, size int64) string {
	for _, m := range []struct{ magic, media string }{
		{"%PDF-", "application/pdf"},
		{"\xff\xd8\xff", "image/jpeg"},
		{"\x89PNG\r\n\x1a\n", "image/png"},
		{"II*\x00", "image/tiff"},
		{"MM\x00*", "image/tiff"},
		{"GIF87a", "image/gif"},
		{"GIF89a", "image/gif"},
	} {
		if bytes.HasPrefix(head, []byte(m.magic)) {
			return m.media
		}
	}
	if len(head) > 6 && head[0] == 'B' && head[1] == 'M' && int64(binary.LittleEndian.Uint32(head[2:])) == size {
		return "image/bmp"
	}
	return ""
}

// ends says whether a document ends as one of its media type does: a copy over the network that stands still has not.
func ends(media string, tail []byte) bool {
	switch media {
	case "application/pdf":
		return bytes.Contains(tail, []byte("%%EOF"))
	case "image/jpeg":
		return bytes.Contains(tail, []byte("\xff\xd9"))
	case "image/png":
		return bytes.Contains(tail, []byte("IEND"))
	}
	return true
}

// tail is the end of a file.
func (d *folder) tail(f found) ([]byte, error) {
	const most = 1024
	file, err := os.Open(filepath.Join(d.Dir, f.rel))
	if err != nil {
		return nil, err
	}
	defer file.Close()
	b := make([]byte, min(f.size, most))
	_, err = file.ReadAt(b, f.size-int64(len(b)))
	return b, err
}

// takeDocument makes a record of a file that is a document: the file is its attachment, and its content its identity. One
// that does not end as it should is taken when it has stood still for incomplete_wait.
func (d *folder) takeDocument(ctx context.Context, f found, in *input, media string, b *batch) error {
	tail, err := d.tail(f)
	if err != nil {
		d.postpone(f, err)
		return nil
	}
	if s := d.seen[f.rel]; s != nil && !ends(media, tail) {
		s.failed, s.until, s.missing = false, s.since.Add(max(d.IncompleteFor, d.Settle)), nil
		if time.Now().Before(s.until) {
			return nil
		}
	}
	d.images.staged++
	to := filepath.Join(d.env.StagingDir, "image-"+strconv.Itoa(d.images.staged))
	digest, err := copySettled(ctx, to, picture{path: filepath.Join(d.Dir, f.rel), stamp: f.stamp})
	if errors.Is(err, errWrite) {
		return err
	} else if err != nil {
		d.postpone(f, err)
		return nil
	}
	w := &work{rel: f.rel, stamp: f.stamp, key: key(digest[:len(key{})])}
	_, known := d.stored[w.key]
	if known || b.keys[w.key] {
		_ = os.Remove(to) // the host empties the folder before each Open
	}
	switch {
	case known:
		d.putAway(ctx, []*work{w})
		return nil
	case !b.keys[w.key]:
		b.keys[w.key] = true
		b.add(sdk.Record{
			ID: w.key.String(), Kind: kindDocument, ContentType: media, Digest: digest[:], Labels: map[string]string{"format": formatDocument},
			Attachments: []sdk.Attachment{{Name: filepath.Base(f.rel), ContentType: media, Path: to}},
		})
	}
	b.works = append(b.works, w)
	return nil
}
