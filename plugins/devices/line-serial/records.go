package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hostd/hostd/core/protocols/lineprofile"
	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
	"github.com/hostd/hostd/core/sdk/line"
)

const (
	labelDetail = "detail" // of a reject: where and why, never in the input's own words
	labelFormat = "format"
	labelStatus = "status" // verified or simulated

	kindCapture = "serial.capture"
	maxChunks   = 4096 // of a burst, which ends with it
)

func (d *device) examRecord(e *exam.Exam, sum string, raw []byte) (sdk.Record, error) {
	data, err := exam.Encode(e)
	if err != nil {
		return sdk.Record{}, err
	}
	labels := map[string]string{labelFormat: d.p.Name, labelStatus: d.p.Status}
	for name, text := range map[string]string{"make": e.Device.Make, "model": e.Device.Model} {
		if text != "" && len(text) <= 64 {
			labels[name] = text
		}
	}
	id := sum
	if !dated(e.TakenAt) {
		id += "-" + strconv.FormatInt(d.at.stored+1, 10)
	}
	return sdk.Record{
		ID: id, Kind: exam.Kind, Time: exam.ParseTakenAt(e.TakenAt), Labels: labels, ContentType: exam.ContentType, Data: data, Raw: raw,
	}, nil
}

// dated says whether a time tells two measurements apart. Midnight is what a clock says that was never set.
func dated(at string) bool {
	_, clock, timed := strings.Cut(at, "T")
	return timed && strings.Trim(clock, "0:") != ""
}

// rejectRecord keeps what is no exam. The same bytes after the same frame are the same record.
func (d *device) rejectRecord(r *exam.Reject, sum string, raw []byte) sdk.Record {
	id := sum + "-r" + strconv.FormatInt(d.at.stored, 10)
	d.env.Log.Warn("cannot be read as an exam: "+todo(r.Reason), "id", id, "reason", r.Reason, "detail", r.Detail, "bytes", r.Length)
	return sdk.Record{
		ID: id, Kind: sdk.KindReject, Raw: raw, Labels: map[string]string{
			sdk.LabelReason: r.Reason, labelDetail: r.Detail, labelFormat: d.p.Name,
			sdk.LabelOffset: "0", sdk.LabelLength: strconv.FormatInt(r.Length, 10),
		},
	}
}

// todo is what a clinic may do about it.
func todo(reason string) string {
	switch reason {
	case exam.RejectParity:
		return "check parity and data_bits of this device against the instrument's settings"
	case exam.RejectNoise:
		return "check baud, parity and encoding of this device, and the cable"
	case exam.RejectChecksum, exam.RejectBadLength, exam.RejectTruncated:
		return "send the exam again at the instrument; if that happens often, check the cable"
	case exam.RejectTooLarge:
		return "check that the profile is the instrument's"
	}
	return "check that the profile is the instrument's, and that it measured something"
}

// chunk is what a capture says of bytes that came at once.
type chunk struct {
	Millis float64 `json:"at_ms"` // since the burst began
	Hex    string  `json:"hex"`
}

// burst is the next record of a capture: all that comes until the line is silent, with its times. Raw has the bytes.
func (d *device) burst(ctx context.Context) (sdk.Batch, error) {
	silence := d.Silence
	if silence == 0 {
		silence = burstEnd
	}
	b, err := d.port.Next(ctx, 0)
	if err != nil {
		return sdk.Batch{}, err
	}
	began := time.Now()
	last, raw, chunks := began, []byte(nil), []chunk(nil)
	for err == nil {
		raw = append(raw, b...)
		chunks = append(chunks, chunk{Millis: float64(last.Sub(began).Microseconds()) / 1000, Hex: hex.EncodeToString(b)})
		if len(raw) >= lineprofile.MaxFrame || len(chunks) == maxChunks {
			break
		}
		b, err = d.port.Next(ctx, silence)
		last = time.Now()
	}
	if err != nil && !errors.Is(err, line.ErrSilence) && ctx.Err() != nil {
		return sdk.Batch{}, err
	}
	var modem *line.Modem
	if m, ok := d.port.Modem(); ok {
		modem = &m
	}
	data, err := json.Marshal(struct {
		Began  string      `json:"began"`
		Bytes  int         `json:"bytes"`
		Modem  *line.Modem `json:"modem,omitempty"` // at the end of the burst
		Chunks []chunk     `json:"chunks"`
	}{began.Format(time.RFC3339Nano), len(raw), modem, chunks})
	if err != nil {
		return sdk.Batch{}, fmt.Errorf("write capture: %w", err)
	}
	next := place{stored: d.at.stored + 1, last: hash(raw)}
	d.open = d.hand(sdk.Record{
		ID: next.last + "-" + strconv.FormatInt(next.stored, 10), Kind: kindCapture,
		Labels: map[string]string{labelFormat: captures}, ContentType: "application/json", Data: data, Raw: raw,
	}, next, nil)
	return d.open.batch, nil
}
