package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/hostd/hostd/core/protocols/nidekrs"
	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

// Limits of a batch.
const (
	batchRecords = 64
	batchBytes   = 96 << 10 // beyond which it takes no more
)

// labelDetail is a reject's label that says where and why, never in the input's own words.
const labelDetail = "detail"

// mark is how far the device has come: how many records were stored, and the last one's ID.
type mark struct {
	count int64
	last  string
}

// position is "n1 COUNT ID".
func (m mark) position() sdk.Position {
	return sdk.Position("n1 " + strconv.FormatInt(m.count, 10) + " " + m.last)
}

func parseMark(p sdk.Position) (m mark, err error) {
	if p == "" {
		return m, nil
	}
	rest, ok := strings.CutPrefix(string(p), "n1 ")
	count, last, _ := strings.Cut(rest, " ")
	if m.count, err = strconv.ParseInt(count, 10, 64); !ok || err != nil {
		return m, errors.New("the position is not one of this driver: hostd devices reset makes it begin anew")
	}
	m.last = last
	return m, nil
}

// batch is what Read returns, and what is on the host's disk when it is acknowledged.
type batch struct {
	sdk.Batch
	end  mark
	size int
}

func (d *nidek) begin() *batch { return &batch{end: d.stored} }

func (b *batch) full() bool { return len(b.Records) >= batchRecords || b.size >= batchBytes }

// add makes a record of a frame. One that is the last stored one comes again because its sender did not hear that, and is
// not handed on.
func (d *nidek) add(b *batch, f *nidekrs.Frame) {
	r := d.record(f, b.end.count)
	if r.ID == b.end.last {
		d.env.Log.Info("the unit has sent again what is stored", "id", r.ID)
		return
	}
	b.Records = append(b.Records, r)
	b.size += len(r.Data) + len(r.Raw)
	b.end = mark{count: b.end.count + 1, last: r.ID}
	b.Next = b.end.position()
}

// record is an exam, or a reject with the frame as evidence.
func (d *nidek) record(f *nidekrs.Frame, number int64) sdk.Record {
	if f.Kind == nidekrs.Rejected {
		return d.reject(f, f.Reject(), number)
	}
	e, why := d.reader.Read(f)
	if why != nil {
		return d.reject(f, *why, number)
	}
	data, err := exam.Encode(e)
	if err != nil {
		return d.reject(f, exam.Reject{Reason: exam.RejectEmpty, Offset: f.Offset, Length: int64(len(f.Raw)), Detail: "exam breaks the schema: " + err.Error()}, number)
	}
	labels := map[string]string{"profile": d.Profile}
	for _, l := range [][2]string{{"make", e.Device.Make}, {"model", e.Device.Model}} {
		if l[1] != "" && len(l[1]) <= 64 {
			labels[l[0]] = l[1]
		}
	}
	if isDated(e) {
		number = -1
	}
	return sdk.Record{
		ID: identity(f.Raw, number), Kind: exam.Kind, Time: exam.ParseTakenAt(e.TakenAt), Labels: labels,
		ContentType: exam.ContentType, Data: data, Raw: bytes.Clone(f.Raw),
	}
}

func (d *nidek) reject(f *nidekrs.Frame, why exam.Reject, number int64) sdk.Record {
	id := identity(f.Raw, number) + "-r"
	d.env.Log.Warn("what came over the line cannot be read", "id", id, "reason", why.Reason, "detail", why.Detail, "bytes", why.Length, "line", d.mode.String())
	return sdk.Record{
		ID: id, Kind: sdk.KindReject, Raw: bytes.Clone(f.Raw),
		Labels: map[string]string{
			sdk.LabelReason: why.Reason, labelDetail: why.Detail, "profile": d.Profile,
			sdk.LabelOffset: strconv.FormatInt(why.Offset, 10), sdk.LabelLength: strconv.FormatInt(why.Length, 10),
		},
	}
}

// isDated says that no other measurement of the unit has the same bytes: it has a running number, or its minute. A date alone,
// as of a refractor, is not enough: two people may need the same lenses on one day.
func isDated(e *exam.Exam) bool {
	for i := range e.Observations {
		if e.Observations[i].Code == exam.CodeExamNo {
			return true
		}
	}
	return strings.Contains(e.TakenAt, "T")
}

// identity is the hash of the bytes, with the number of records before them unless that is negative.
func identity(raw []byte, number int64) string {
	sum := sha256.New()
	sum.Write(raw)
	if number >= 0 {
		sum.Write(strconv.AppendInt([]byte{0}, number, 10))
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// place is the note of the batch that is not acknowledged. It outlives the process: the host was killed, or stops, and the
// instrument does not send the batch again. It is not synced: a power cut would also take what comes over the line just then.
func (d *nidek) place() string { return filepath.Join(d.env.StateDir, "unacknowledged.json") }

// keep notes the batch. Where it cannot be, the batch is as safe as without it.
func (d *nidek) keep() {
	text, err := json.Marshal(d.batch.Records)
	if err == nil {
		err = os.WriteFile(d.place(), text, 0o600)
	}
	if err != nil {
		d.env.Log.Warn("what came cannot be kept until the host has stored it", "err", err)
	}
}

// forget takes the note away: the batch is on the host's disk.
func (d *nidek) forget() error {
	if err := os.Remove(d.place()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget what is stored: %w", err)
	}
	return nil
}

// left is the batch that an earlier process noted, unless it was stored, or the note half written when the power was cut.
func (d *nidek) left() (*batch, error) {
	text, err := os.ReadFile(d.place())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // there is none
	}
	if err != nil {
		return nil, fmt.Errorf("read what was not acknowledged: %w", err)
	}
	b := d.begin()
	if err := json.Unmarshal(text, &b.Records); err != nil || len(b.Records) == 0 {
		d.env.Log.Warn("what was not acknowledged was not written to its end", "err", err)
		return nil, d.forget()
	}
	last := b.Records[len(b.Records)-1].ID
	if last == d.stored.last {
		return nil, d.forget()
	}
	b.end = mark{count: b.end.count + int64(len(b.Records)), last: last}
	b.Next = b.end.position()
	return b, nil
}
