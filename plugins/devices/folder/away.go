package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

// retries is how many files may fail to move in one scan before the others wait for the next.
const retries = 64

// putAway moves files whose exams are stored, or remembers them. What cannot be moved now is remembered as stored, so
// that it is not read again, and moved later.
func (d *folder) putAway(ctx context.Context, works []*work) {
	for _, w := range works {
		d.shelve(w)
		if d.keeps() {
			d.remember(w)
			d.grow(w)
			delete(d.seen, w.rel)
			continue
		}
		// Rule 18: the records are on the host's disk, and what is needed to amend them is on ours; only now the file moves.
		if err := d.finish(ctx, w); err != nil {
			d.stuck(w, err)
		}
	}
	d.save()
}

// shelve keeps an exam whose attachments are not all stored.
func (d *folder) shelve(w *work) {
	if w.late != nil && d.AttachLate > 0 {
		if err := d.late.add(w); err != nil {
			d.env.Log.Error("an image that comes late will not be added", "err", sdk.Cause(err), "id", w.key.String())
		}
	}
	w.late = nil
}

// save writes the catalogue. What cannot be written is still known until the next start, and read again after it.
func (d *folder) save() {
	if err := d.cat.sync(); err != nil {
		d.env.Log.Error("the list of files that are stored cannot be saved: check the disk of data_dir", "err", sdk.Cause(err))
	}
}

func (d *folder) remember(w *work) {
	d.stored[w.key] = w.mask
	d.cat.put(entry{path: pathKey(w.rel), stamp: w.stamp, key: w.key, mask: w.mask})
}

// finish moves a file and forgets it. One that has changed since it was read stays, and is read again; its content may be
// the same, so it stays known.
func (d *folder) finish(ctx context.Context, w *work) error {
	err := ctx.Err()
	if err == nil {
		err = d.move(w)
	}
	if err != nil && !errors.Is(err, errChanged) {
		return err
	}
	d.cat.drop(pathKey(w.rel))
	delete(d.seen, w.rel)
	if err == nil {
		delete(d.stored, w.key)
	} else {
		d.stored[w.key] = w.mask
	}
	return nil
}

func (d *folder) stuck(w *work, err error) {
	if len(d.moves) == 0 {
		d.env.Log.Warn("a stored file cannot be moved; it is tried again, and not read again", "err", sdk.Cause(err), "id", w.key.String())
	}
	d.remember(w)
	d.moves = append(d.moves, w)
}

// retryMoves tries the files again that could not be moved, until too many fail.
func (d *folder) retryMoves(ctx context.Context) {
	if len(d.moves) == 0 {
		return
	}
	again, rest := []*work(nil), d.moves
	for len(rest) > 0 && len(again) < retries && ctx.Err() == nil {
		if d.finish(ctx, rest[0]) != nil {
			again = append(again, rest[0])
		}
		rest = rest[1:]
	}
	d.moves = append(rest[:len(rest):len(rest)], again...)
	if len(d.moves) == 0 {
		d.moves = nil
		d.env.Log.Info("all stored files are moved")
	}
	d.save()
}

// move puts the images and then the file itself into done_dir, or the file into failed_dir with its reason.
func (d *folder) move(w *work) error {
	for _, p := range w.images {
		if err := d.moveImage(w, p); err != nil {
			return err
		}
	}
	dir, note := d.done, []byte(nil)
	if w.reject != nil {
		dir, note = d.failed, reasonText(w)
	}
	return moveFile(filepath.Join(d.Dir, w.rel), filepath.Join(dir, filepath.Dir(w.rel)), w.stamp, note)
}

// moveImage puts an image beside its exam. One that has changed since it was read is not the one that is stored: it stays.
func (d *folder) moveImage(w *work, p picture) error {
	err := moveFile(p.path, filepath.Join(d.done, filepath.Dir(w.rel)), p.stamp, nil)
	if errors.Is(err, errChanged) {
		return nil
	}
	return err
}

// moveImages puts away late attachments; one that cannot be moved stays where it is.
func (d *folder) moveImages(w *work) {
	for _, p := range w.images {
		if d.keeps() {
			return
		}
		if err := d.moveImage(w, p); err != nil {
			d.env.Log.Warn("a stored image cannot be moved: it stays where it is", "err", sdk.Cause(err))
		}
	}
}

// reasonText says in a technician's words what is wrong and what to do. Nothing of the content is in it.
func reasonText(w *work) []byte {
	wrong, todo := reasonWords(w.reject.Reason)
	return fmt.Appendf(nil, "This file could not be read as an exam.\r\n\r\nWhat is wrong: %s\r\nWhat to do: %s\r\n\r\n"+
		"Reason: %s (%s)\r\nSize: %d bytes\r\nRecord: %s\r\n"+
		"The beginning of the file is kept by hostd, too: see hostd dead --rejects.\r\n",
		wrong, todo, w.reject.Reason, w.reject.Detail, w.size, w.key)
}

func reasonWords(reason string) (wrong, todo string) {
	const again = "Export the exam again at the instrument. If that does not help, send this file to support."
	switch reason {
	case exam.RejectEmpty:
		return "there is no measurement in it; perhaps the instrument was switched off, or its disk or share was full.", again
	case exam.RejectTooLarge:
		return "it is larger than an exam can be, so it was not read.",
			"If it is an exam, raise max_size_mb (of a document max_attachment_mb) of this device and put the file back into the folder. If not, delete it."
	case exam.RejectTooDeep:
		return "its elements are nested deeper than in any known export.", "Check where the file comes from."
	case exam.RejectMalformed:
		return "it is not what the format in the settings says, it is cut off or damaged, or its columns or paths are not those of map in the settings.",
			"Check the format, map and code_page of this device. " + again
	case exam.RejectTruncated, exam.RejectBadLength:
		return "it is cut off, or damaged.", again
	case exam.RejectMalformedXML:
		return "it is no XML of a known instrument, it is cut off or damaged, or its characters are not of the code page in the settings.",
			"Check the format and code_page of this device. " + again
	}
	return "it is damaged.", again
}
