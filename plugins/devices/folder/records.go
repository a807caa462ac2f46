package main

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

// labelDetail is a reject's label that says where and why, never in the input's own words.
const labelDetail = "detail"

// origin is what a record was made of: a file, or a row of one.
type origin struct {
	key    key
	raw    []byte
	digest [32]byte
	size   int64
	format string
}

func (r *reading) origin() origin {
	return origin{key: r.in.key(), raw: r.in.data, digest: r.in.digest, size: r.in.size, format: r.format}
}

// records makes the records of a file: one for each exam, and one for what could not be read.
func (d *folder) records(r *reading, s *staged) (list []sdk.Record) {
	from := r.origin()
	for i, e := range r.result.Exams {
		rec, err := examRecord(from, i, e)
		if err != nil {
			r.result.Rejects = append(r.result.Rejects, unfit(err, r.in.size))
			continue
		}
		rec.Attachments = s.of(attachmentsOf(e))
		list = append(list, rec)
	}
	for i := range r.result.Rejects {
		reject := &r.result.Rejects[i]
		rec := rejectRecord(from, i, reject)
		d.env.Log.Warn("file cannot be read", "id", rec.ID, "reason", reject.Reason, "detail", reject.Detail, "bytes", r.in.size)
		list = append(list, rec)
	}
	return list
}

// unfit is the reject of an exam that no record can be made of.
func unfit(err error, size int64) exam.Reject {
	return exam.Reject{Reason: exam.RejectMalformed, Length: size, Detail: "exam breaks the schema: " + err.Error()}
}

// numbered puts its number behind the ID of the second of several, and of later ones.
func numbered(id string, i int) string {
	if i == 0 {
		return id
	}
	return id + "-" + strconv.Itoa(i+1)
}

func examRecord(from origin, i int, e *exam.Exam) (sdk.Record, error) {
	data, err := exam.Encode(e)
	if err != nil {
		return sdk.Record{}, err
	}
	labels := map[string]string{}
	for _, l := range [][2]string{{"format", from.format}, {"make", e.Device.Make}, {"model", e.Device.Model}} {
		if l[1] != "" && len(l[1]) <= 64 {
			labels[l[0]] = l[1]
		}
	}
	return sdk.Record{
		ID: numbered(from.key.String(), i), Kind: exam.Kind, Time: exam.ParseTakenAt(e.TakenAt), Labels: labels,
		ContentType: exam.ContentType, Data: data, Raw: from.raw, Digest: from.digest[:],
	}, nil
}

func rejectRecord(from origin, i int, reject *exam.Reject) sdk.Record {
	id := from.key.String() + "-r"
	if i > 0 {
		id += strconv.Itoa(i + 1)
	}
	return sdk.Record{
		ID: id, Kind: sdk.KindReject, Raw: from.raw[:min(len(from.raw), evidence)], Digest: from.digest[:],
		Labels: map[string]string{
			sdk.LabelReason: reject.Reason, labelDetail: reject.Detail,
			sdk.LabelOffset: strconv.FormatInt(reject.Offset, 10), sdk.LabelLength: strconv.FormatInt(reject.Length, 10),
		},
	}
}

// amendments makes the records that bring late attachments to the exams that name them. Their IDs and digests rest on
// the attachments' content, so that one found again after a crash is the same record.
func (d *folder) amendments(r *reading, s *staged) (list []sdk.Record, err error) {
	for i, e := range r.result.Exams {
		late := s.of(attachmentsOf(e))
		if len(late) == 0 {
			continue
		}
		rec, err := examRecord(r.origin(), i, e)
		if err != nil {
			return nil, err
		}
		sum := sha256.New()
		sum.Write(r.in.digest[:])
		for _, a := range late {
			digest := s.files[a.Name].digest
			sum.Write(digest[:])
		}
		rec.Amends, rec.Digest, rec.Attachments = rec.ID, sum.Sum(nil), late
		rec.ID += "-a" + hex.EncodeToString(rec.Digest[:8])
		list = append(list, rec)
	}
	return list, nil
}

// of gives the staged attachments of these names, each once.
func (s *staged) of(names []string) (list []sdk.Attachment) {
	for i, name := range names {
		if f, ok := s.files[name]; ok && !slices.Contains(names[:i], name) {
			list = append(list, sdk.Attachment{Name: lastPart(name), ContentType: contentType(name), Path: f.path})
		}
	}
	return list
}
