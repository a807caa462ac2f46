package wire

import (
	"fmt"
	"slices"
	"time"
	"unicode/utf8"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/hostd/hostd/core/sdk"
)

// Field numbers of Record and Attachment, as in hostd.proto.
const (
	recID          = 1
	recKind        = 2
	recTime        = 3
	recOffset      = 4
	recLabels      = 5
	recContentType = 6
	recData        = 7
	recRaw         = 8
	recDigest      = 9
	recAttachments = 10
	recAmends      = 11
	recSource      = 12
	recReceived    = 13
	recSeq         = 14
	recUnassigned  = 15
	recPatient     = 16

	attName        = 1
	attContentType = 2
	attStaged      = 3
	attSize        = 4
	attHash        = 5
	attRole        = 6
)

// Record adds a record of a device; the host's stamps are left out. Attachment.Path must be the staged file's bare name.
func (o *Outgoing) Record(r *sdk.Record) {
	o.body = protowire.AppendTag(o.body, batchRecords, protowire.BytesType)
	o.body = protowire.AppendVarint(o.body, uint64(RecordSize(r)))
	o.body = AppendRecord(o.body, r)
}

// AppendRecord encodes what a device sends of a record.
func AppendRecord(b []byte, r *sdk.Record) []byte {
	b = appendString(b, recID, r.ID)
	b = appendString(b, recKind, r.Kind)
	if !r.Time.IsZero() {
		b = protowire.AppendTag(b, recTime, protowire.Fixed64Type)
		b = protowire.AppendFixed64(b, uint64(r.Time.UnixNano()))
		b = appendUint(b, recOffset, zigzag(r.Time))
	}
	for k, v := range r.Labels {
		b = protowire.AppendTag(b, recLabels, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(sizeString(1, k)+sizeString(2, v)))
		b = appendString(appendString(b, 1, k), 2, v)
	}
	b = appendString(b, recContentType, r.ContentType)
	b = appendBytes(b, recData, r.Data)
	b = appendBytes(b, recRaw, r.Raw)
	b = appendBytes(b, recDigest, r.Digest)
	for i := range r.Attachments {
		b = protowire.AppendTag(b, recAttachments, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(attachmentSize(&r.Attachments[i])))
		b = appendAttachment(b, &r.Attachments[i])
	}
	b = appendString(b, recAmends, r.Amends)
	b = appendUint(b, recUnassigned, protowire.EncodeBool(r.Unassigned))
	return appendString(b, recPatient, r.Patient)
}

// RecordSize is the number of bytes that AppendRecord adds.
func RecordSize(r *sdk.Record) int {
	n := sizeString(recID, r.ID) + sizeString(recKind, r.Kind) + sizeString(recContentType, r.ContentType) +
		sizeBytes(recData, r.Data) + sizeBytes(recRaw, r.Raw) + sizeBytes(recDigest, r.Digest) +
		sizeString(recAmends, r.Amends) + sizeUint(recUnassigned, protowire.EncodeBool(r.Unassigned)) + sizeString(recPatient, r.Patient)
	if !r.Time.IsZero() {
		n += protowire.SizeTag(recTime) + 8 + sizeUint(recOffset, zigzag(r.Time))
	}
	for k, v := range r.Labels {
		n += protowire.SizeTag(recLabels) + protowire.SizeBytes(sizeString(1, k)+sizeString(2, v))
	}
	for i := range r.Attachments {
		n += protowire.SizeTag(recAttachments) + protowire.SizeBytes(attachmentSize(&r.Attachments[i]))
	}
	return n
}

func appendAttachment(b []byte, a *sdk.Attachment) []byte {
	b = appendString(b, attName, a.Name)
	b = appendString(b, attContentType, a.ContentType)
	b = appendString(b, attStaged, a.Path)
	b = appendUint(b, attSize, uint64(a.Size))
	b = appendString(b, attHash, a.Hash)
	return appendString(b, attRole, a.Role)
}

func attachmentSize(a *sdk.Attachment) int {
	return sizeString(attName, a.Name) + sizeString(attContentType, a.ContentType) + sizeString(attStaged, a.Path) +
		sizeUint(attSize, uint64(a.Size)) + sizeString(attHash, a.Hash) + sizeString(attRole, a.Role)
}

func sizeBytes(num protowire.Number, b []byte) int {
	if len(b) == 0 {
		return 0
	}
	return protowire.SizeTag(num) + protowire.SizeBytes(len(b))
}

func zigzag(t time.Time) uint64 {
	_, offset := t.Zone()
	return protowire.EncodeZigZag(int64(offset))
}

// Decoder turns records' bytes into Records whose strings and slices are parts of those bytes, which must therefore
// never change or be reused. The zero Decoder is ready; it is not safe for concurrent use.
type Decoder struct {
	offset int64
	zone   *time.Location
}

// Record decodes one record into r, which is overwritten.
func (d *Decoder) Record(body []byte, r *sdk.Record) error {
	*r = sdk.Record{}
	var nanos, offset int64
	err := fields(body, func(num protowire.Number, v uint64, b []byte) error {
		switch num {
		case recID:
			r.ID = text(b)
		case recKind:
			r.Kind = text(b)
		case recTime:
			nanos = int64(v)
		case recOffset:
			offset = protowire.DecodeZigZag(v)
		case recLabels:
			return addLabel(r, b)
		case recContentType:
			r.ContentType = text(b)
		case recData:
			r.Data = b
		case recRaw:
			r.Raw = b
		case recAttachments:
			a, err := decodeAttachment(b)
			r.Attachments = append(r.Attachments, a)
			return err
		default:
			decodeRare(r, num, v, b)
		}
		return nil
	})
	if nanos != 0 {
		r.Time = time.Unix(0, nanos).In(d.location(offset))
	}
	return err
}

func decodeRare(r *sdk.Record, num protowire.Number, v uint64, b []byte) {
	switch num {
	case recDigest:
		r.Digest = b
	case recAmends:
		r.Amends = text(b)
	case recSource:
		r.Source = text(b)
	case recReceived:
		r.Received = time.Unix(0, int64(v)).UTC()
	case recSeq:
		r.Seq = v
	case recUnassigned:
		r.Unassigned = v != 0
	case recPatient:
		r.Patient = text(b)
	}
}

func (d *Decoder) location(offset int64) *time.Location {
	if offset == 0 {
		return time.UTC
	}
	if d.zone == nil || d.offset != offset {
		d.offset, d.zone = offset, time.FixedZone("", int(offset))
	}
	return d.zone
}

func addLabel(r *sdk.Record, b []byte) error {
	var k, val string
	err := fields(b, func(num protowire.Number, _ uint64, b []byte) error {
		switch num {
		case 1:
			k = text(b)
		case 2:
			val = text(b)
		}
		return nil
	})
	if r.Labels == nil {
		r.Labels = map[string]string{}
	}
	r.Labels[k] = val
	return err
}

func decodeAttachment(b []byte) (a sdk.Attachment, err error) {
	err = fields(b, func(num protowire.Number, v uint64, b []byte) error {
		switch num {
		case attName:
			a.Name = text(b)
		case attContentType:
			a.ContentType = text(b)
		case attStaged:
			a.Path = text(b)
		case attSize:
			a.Size = int64(v)
		case attHash:
			a.Hash = text(b)
		case attRole:
			a.Role = text(b)
		}
		return nil
	})
	return a, err
}

// text shares the bytes, which live and stay unchanged as long as the string does.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// Head is what the host reads of a record on its way: parts of the record's bytes.
type Head struct {
	ID, Kind    []byte
	Patient     []byte      // of an exam, for the index
	Amends      []byte      // id of the record that this one corrects or completes
	Unassigned  bool        // an exam that names no patient
	Labels      [][2][]byte // name and value
	Attachments []sdk.Attachment
}

// Scan reads a record's head into h, reusing its slices, and checks the limits of the contract. The error says which
// one is broken, without any content.
func Scan(body []byte, h *Head) error {
	*h = Head{Labels: h.Labels[:0]}
	if len(body) > sdk.MaxRecord {
		return fmt.Errorf("record of %d bytes, the limit is %d", len(body), sdk.MaxRecord)
	}
	if err := fields(body, h.field); err != nil {
		return err
	}
	switch {
	case len(h.ID) == 0:
		return fmt.Errorf("record without an id")
	case len(h.ID) > sdk.MaxID:
		return fmt.Errorf("record id of %d bytes, the limit is %d", len(h.ID), sdk.MaxID)
	case !utf8.Valid(h.ID) || !utf8.Valid(h.Kind):
		return fmt.Errorf("record id or kind is not UTF-8")
	case len(h.Kind) == 0:
		return fmt.Errorf("record without a kind")
	}
	return h.check()
}

// check holds the limits of labels and attachments. A sink in another language would refuse the whole batch for a text
// that is not UTF-8.
func (h *Head) check() error {
	for _, l := range h.Labels {
		if !utf8.Valid(l[0]) || !utf8.Valid(l[1]) {
			return fmt.Errorf("label of a record is not UTF-8")
		}
	}
	for i := range h.Attachments {
		a := &h.Attachments[i]
		if !utf8.ValidString(a.Name) || !utf8.ValidString(a.ContentType) {
			return fmt.Errorf("name or type of an attachment is not UTF-8")
		}
		if a.Size < 0 || a.Size > sdk.MaxAttached {
			return fmt.Errorf("attachment of %d bytes, the limit is %d", a.Size, int64(sdk.MaxAttached))
		}
	}
	return nil
}

// Label looks a label up.
func (h *Head) Label(name string) (string, bool) {
	for _, l := range h.Labels {
		if string(l[0]) == name {
			return string(l[1]), true
		}
	}
	return "", false
}

func (h *Head) field(num protowire.Number, v uint64, b []byte) error {
	switch num {
	case recID:
		h.ID = b
	case recKind:
		h.Kind = b
	case recPatient:
		h.Patient = b
	case recAmends:
		h.Amends = b
	case recUnassigned:
		h.Unassigned = v != 0
	case recLabels:
		var l [2][]byte
		if err := fields(b, func(num protowire.Number, _ uint64, b []byte) error {
			if num == 1 || num == 2 {
				l[num-1] = b
			}
			return nil
		}); err != nil {
			return err
		}
		h.Labels = append(h.Labels, l)
	case recAttachments:
		a, err := decodeAttachment(slices.Clone(b))
		if err != nil {
			return err
		}
		h.Attachments = append(h.Attachments, a)
	}
	return nil
}
