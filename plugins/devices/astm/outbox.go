package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hostd/hostd/core/protocols/astm"
	"github.com/hostd/hostd/core/sdk"
)

// Timing and bound of the outbox.
const (
	outboxLook  = time.Second      // how often the folder is looked at
	outboxAgain = 30 * time.Second // before a message is sent again to an analyser that was busy or silent
	maxOutgoing = 1 << 20          // bytes of a file
)

// Faults that are told once, until they are over.
const (
	outboxUnread  = "the outbox cannot be read"
	outboxUnmoved = "a message cannot be moved out of the outbox, and no other is sent until it is"
	outboxWaits   = "a message was not sent yet, and waits in the outbox"
)

// outbox is the folder whose files are sent to one analyser, one after the other. One that was acknowledged is moved to sent, and
// one that is no message, or was refused, to failed. The goroutine of the analyser's conn has all of it.
type outbox struct {
	d     *device
	dir   string
	log   *slog.Logger
	name  string          // of the file that is sent; empty while there is none
	to    string          // where it goes: sent or failed; empty while it is sent
	due   time.Time       // of the next look
	fault map[string]bool // what was told
}

// newOutbox is that of a line, or of the analyser that calls from peer; nil where there is none.
func (d *device) newOutbox(peer string) *outbox {
	if d.Outbox == "" {
		return nil
	}
	b := &outbox{d: d, dir: d.Outbox, log: d.env.Log, due: time.Now().Add(outboxLook), fault: map[string]bool{}}
	if a, err := netip.ParseAddrPort(peer); err == nil {
		name := a.Addr().Unmap().WithZone("").String()
		b.dir, b.log = filepath.Join(b.dir, strings.ReplaceAll(name, ":", "-")), b.log.With("peer", peer)
	}
	return b
}

// look gives the next message where there is one and none is on its way.
func (b *outbox) look(now time.Time) []byte {
	b.due = now.Add(outboxLook)
	if b.to != "" {
		b.move(b.to)
	}
	if b.name != "" || !b.d.sends(b) {
		return nil
	}
	return b.next()
}

// sends says whether b is the one that sends the files of its folder: the analyser may have called twice.
func (d *device) sends(b *outbox) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.boxes[b.dir] == nil {
		d.boxes[b.dir] = b
	}
	return d.boxes[b.dir] == b
}

// release lets another connection send the files.
func (d *device) release(b *outbox) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if b != nil && d.boxes[b.dir] == b {
		delete(d.boxes, b.dir)
	}
}

// next is the first message of the folder.
func (b *outbox) next() []byte {
	list, err := os.ReadDir(b.dir)
	if errors.Is(err, fs.ErrNotExist) && b.dir != b.d.Outbox {
		return nil // there is nothing for this analyser
	}
	for i := 0; err == nil && i < len(list); i++ {
		if !list[i].Type().IsRegular() || !strings.EqualFold(filepath.Ext(list[i].Name()), ".astm") {
			continue
		}
		var text []byte
		if text, err = b.read(list[i].Name()); errors.Is(err, fs.ErrNotExist) {
			err = nil
			continue
		}
		if err != nil {
			break
		}
		b.name = list[i].Name()
		message, bad := outgoing(text)
		if bad == nil {
			b.tell(outboxUnread, nil)
			return message
		}
		b.log.Warn("a file of the outbox cannot be sent", "err", bad)
		if !b.move("failed") {
			return nil
		}
	}
	b.tell(outboxUnread, err)
	return nil
}

func (b *outbox) read(name string) ([]byte, error) {
	f, err := os.Open(filepath.Join(b.dir, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxOutgoing+1))
}

// outgoing makes a message of a file with a record in each line.
func outgoing(text []byte) ([]byte, error) {
	if len(text) > maxOutgoing {
		return nil, fmt.Errorf("it has more than %d bytes", maxOutgoing)
	}
	var message, types []byte
	for r := range astm.Message(text).Records() {
		if bytes.ContainsFunc(r.Text, func(c rune) bool { return c < ' ' && c != '\t' }) {
			return nil, errors.New("a control character stands in it")
		}
		types = append(types, r.Type())
		message = append(append(message, r.Text...), astm.CR)
	}
	_, header := astm.Header(message)
	if n := len(types); !header || types[n-1] != 'L' || slices.Contains(types[1:], 'H') || slices.Contains(types[:n-1], 'L') {
		return nil, errors.New("it is not one message, from its H record to its L record")
	}
	return message, nil
}

// done hears what became of the message: nil is that each frame was acknowledged. What was refused goes away, what an analyser
// did not hear waits.
func (b *outbox) done(now time.Time, err error) {
	switch {
	case err == nil:
		b.log.Info("a message of the outbox was sent")
		b.tell(outboxWaits, nil)
		b.move("sent")
	case errors.Is(err, astm.ErrRefused):
		b.log.Warn("a message of the outbox was refused", "err", err)
		b.move("failed")
	default:
		b.tell(outboxWaits, err)
		b.name, b.due = "", now.Add(outboxAgain)
	}
}

// move puts the file away, and says whether it is: else it would be sent again.
func (b *outbox) move(sub string) bool {
	b.to = sub
	err := os.Mkdir(filepath.Join(b.dir, sub), 0o700)
	if err == nil || errors.Is(err, fs.ErrExist) {
		err = os.Rename(filepath.Join(b.dir, b.name), filepath.Join(b.dir, sub, b.name))
		if _, gone := os.Lstat(filepath.Join(b.dir, b.name)); errors.Is(gone, fs.ErrNotExist) {
			err = nil // somebody else took it
		}
	}
	b.tell(outboxUnmoved, err)
	if err != nil {
		return false
	}
	b.name, b.to = "", ""
	return true
}

// tell logs a fault, once until it is over. A file's name may be a patient's: it is left out.
func (b *outbox) tell(what string, err error) {
	if err != nil && !b.fault[what] {
		b.log.Warn(what, "err", sdk.Cause(err))
	}
	b.fault[what] = err != nil
}
