package sdk

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"strconv"
	"time"
)

// Limits of the contract. The host refuses what is larger; serve moves a Data or Raw above MaxInline to an
// attachment by itself, so that an author never meets the limit.
const (
	MaxPosition  = 4 << 10            // bytes of a Position
	MaxID        = 512                // bytes of a Record.ID
	MaxInline    = 1 << 20            // bytes of Data or Raw that travel inside a record
	MaxRecord    = MaxInline + 64<<10 // bytes of an encoded record
	MaxBatch     = 256                // records of a device's batch
	MaxBatchSize = 256 << 10          // bytes of a device's batch, unless it is one record
	MaxAttached  = 4 << 30            // bytes of an attachment
)

// KindReject is the kind of a record that carries input which a decoder could not read: the reason is in the label
// LabelReason, the evidence in Raw (size-capped). It is stored and listed, and no route matches it.
const KindReject = "reject"

// Labels that a reject carries.
const (
	LabelReason = "reason" // one of the words of docs/formats: checksum, truncated, malformed_xml, empty, too_large ...
	LabelOffset = "offset" // decimal byte offset in the input at which reading failed
	LabelLength = "length" // decimal length of the input in bytes
)

// Record is one thing that an instrument produced: an exam, a document, a message. A sink must not change it.
type Record struct {
	// ID is the identity at the source, 1 to MaxID bytes of UTF-8: same ID and same content is the same record, and a
	// sink with receipts stores it once. It must not contain patient data: it appears in logs.
	ID string
	// Kind says what the record is, not where it came from: "exam", "document", "hl7.adt", KindReject.
	Kind string
	// Time is when the instrument says that it was taken; its clock may lie. The zero time means that it did not say; so do
	// years before 1678 and after 2261, and the first instant of 1970 UTC, which the wire cannot tell from it.
	Time time.Time
	// Labels are for routing (message: ORU^R01). No patient data. Nil and empty mean the same.
	Labels map[string]string
	// ContentType is the media type of Data, for example "application/json".
	ContentType string
	// Data is the decoded form (an exam as JSON), or the source's bytes where nothing is decoded.
	Data []byte
	// Raw is the source's bytes where Data is a decoded form; it goes wherever the record goes. Nil when Data is raw.
	Raw []byte
	// Digest is a content hash of 1 to 64 bytes where the plugin knows better than SHA-256 of Raw, see ContentHash.
	Digest []byte
	// Attachments are files that belong to the record.
	Attachments []Attachment
	// Amends is the ID of the record of the same device that this one corrects or completes, or empty.
	Amends string

	// Source is the name of the device. Stamped by the host: a device leaves it empty.
	Source string
	// Received is when the host put the record on its disk, UTC. Stamped by the host.
	Received time.Time
	// Seq is the record's number in the spool, 1 and up, growing in the order of storing. Stamped by the host.
	Seq uint64

	// Unassigned is true for an exam that names no patient. Filled by serve for exams, see package exam.
	Unassigned bool
	// Patient is the patient id of an exam, for the host to hash into its index; never logged. Filled by serve.
	Patient string
}

// Attachment is a file that belongs to a record. A device names a finished file below Env.StagingDir in Path; serve
// fills Size and Hash, and the host takes the file over by rename before it acknowledges the record. A sink reads it
// by Hash through SinkEnv.Blob.
type Attachment struct {
	Name        string // file name as the source gave it; no path
	ContentType string // media type, or empty
	Path        string // device only: the staged file. Always empty at a sink
	Size        int64  // bytes, at most 4 GiB
	Hash        string // SHA-256 of the content, 64 lower-case hex digits
	Role        string // empty, or "data" or "raw" where serve moved the record's Data or Raw out of the message
}

// ContentHash is what "same content" means: Digest where the plugin gave one, else SHA-256 over Raw (or Data where
// there is no Raw) and the hashes of the attachments in their order. Host stamps and the decoded form are not part of it, so that a
// better decoder does not make a resend look different.
func (r *Record) ContentHash() [32]byte {
	if len(r.Digest) > 0 {
		return sha256.Sum256(r.Digest)
	}
	body := r.Raw
	if body == nil {
		body = r.Data
	}
	sum := sha256.New()
	sum.Write(body)
	for i := range r.Attachments {
		io.WriteString(sum, "\x00"+r.Attachments[i].Hash)
	}
	return [32]byte(sum.Sum(nil))
}

// ContentHashHex is ContentHash as 64 lower-case hex digits.
func (r *Record) ContentHashHex() string {
	h := r.ContentHash()
	return hex.EncodeToString(h[:])
}

// Position says how far a device has come in what its instrument gives: opaque to the host, at most MaxPosition
// bytes, kept per device with the records in the same fsync. The empty position is the beginning.
type Position string

// Offset makes a position of a count of bytes or records, 0 and up.
func Offset(n int64) Position { return Position(strconv.FormatInt(n, 10)) }

// Offset reads back what the function Offset made; the empty position is 0. An error means that the position was
// made by something else.
func (p Position) Offset() (int64, error) {
	if p == "" {
		return 0, nil
	}
	return strconv.ParseInt(string(p), 10, 64)
}

// Batch is what one Read returns: at most MaxBatch records, which are stored together with Next in one fsync, all or
// none (serve splits a larger one, and then only the last part carries Next). An empty batch with a Next that moved is stored too; an empty batch
// with an empty Next means "nothing now".
type Batch struct {
	Records []Record
	Next    Position
}
