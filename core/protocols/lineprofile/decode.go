package lineprofile

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/hostd/hostd/core/protocols/textenc"
	"github.com/hostd/hostd/core/sdk/exam"
)

// Limits of what one input can become: no instrument comes near, and they bound the memory of a forged one.
const (
	maxFields = 2048 // of one frame; a rule that fits counts as one more
	maxFound  = 1024 // observations of the exams of Decode, before the last one
	maxPieces = 256  // exams and rejects of Decode
)

// Decode reads all that came over a line, from its beginning to its end.
func (p *Profile) Decode(data []byte) exam.Result {
	var got exam.Result
	f, found := p.NewFramer(), 0
	pieces := func(next func() (Piece, bool)) bool {
		for piece, ok := next(); ok; piece, ok = next() {
			e, reject := p.Exam(&piece)
			if reject != nil {
				got.Rejects = append(got.Rejects, *reject)
			} else {
				got.Exams = append(got.Exams, e)
				found += len(e.Observations)
			}
			if found > maxFound || len(got.Exams)+len(got.Rejects) >= maxPieces {
				got.Rejects = append(got.Rejects, exam.Reject{
					Reason: exam.RejectTooLarge, Offset: piece.End(), Length: int64(len(data)) - piece.End(), Detail: "more frames than are read at once",
				})
				return false
			}
		}
		return true
	}
	for rest := data; len(rest) > 0; {
		n := min(len(rest), 32<<10)
		f.Add(rest[:n])
		rest = rest[n:]
		if !pieces(f.Next) {
			return got
		}
	}
	if pieces(f.Silence) && len(got.Exams)+len(got.Rejects) == 0 {
		got.Rejects = []exam.Reject{{Reason: exam.RejectEmpty, Length: int64(len(data)), Detail: "nothing but line ends"}}
	}
	return got
}

// Exam reads one piece of a line: either the exam or the reject is nil. A reject's offset and length are the piece's.
func (p *Profile) Exam(piece *Piece) (*exam.Exam, *exam.Reject) {
	reject := func(reason, detail string) (*exam.Exam, *exam.Reject) {
		return nil, &exam.Reject{Reason: reason, Offset: piece.Offset, Length: int64(len(piece.Data)), Detail: detail}
	}
	switch {
	case parity(piece.Data):
		return reject(exam.RejectParity, "bit 7 is set as a parity bit: check parity and data bits of the port")
	case piece.Reason != "":
		return reject(piece.Reason, details[piece.Reason])
	}
	body, ok := p.body(piece.Data)
	if !ok {
		return reject(exam.RejectChecksum, "the checksum is wrong")
	}
	text, err := textenc.Decode(p.Encoding, body)
	if err != nil {
		return reject(exam.RejectNoise, "bytes fit no character of "+p.Encoding+": check encoding, speed and parity")
	}
	d := draft{p: p, eye: exam.Both, e: &exam.Exam{
		Device: exam.Device{Make: p.Make, Model: p.Model}, Observations: make([]exam.Observation, 0, min(len(text)/6, 64)),
	}}
	if err := d.read(string(text)); err != nil {
		var f fault
		errors.As(err, &f)
		return reject(f.reason, f.detail)
	}
	return d.e, nil
}

var details = map[string]string{
	exam.RejectNoise:     "bytes outside of a frame",
	exam.RejectTruncated: "the frame has no end",
	exam.RejectTooLarge:  "no frame is longer than 64 KiB",
}

// parity says whether bit 7 of the bytes is a parity bit: the instrument sends seven bits, and the port reads eight.
func parity(b []byte) bool {
	if len(b) < 16 {
		return false
	}
	high, even := 0, 0
	for _, c := range b {
		high += int(c >> 7)
		even += 1 - bits.OnesCount8(c)&1
	}
	most := len(b) - len(b)/16
	return high >= most || 4*high >= len(b) && (even >= most || len(b)-even >= most)
}

// body is the frame without marks and checksum. It is false where the checksum is wrong.
func (p *Profile) body(frame []byte) ([]byte, bool) {
	c := &p.Checksum
	behind := c.behind()
	from, to := len(p.start), len(frame)-behind-len(p.end)
	end := to
	var sent []byte
	switch {
	case c.Kind == "":
		return frame[from:to], true
	case behind > 0:
		sent = frame[len(frame)-behind:]
	default:
		if to -= c.size(); to < from {
			return nil, false
		}
		sent = frame[to:end]
	}
	sum := p.checksumOf(frame[from:to])
	if c.Digits == 0 {
		return frame[from:to], sent[0] == byte(sum)
	}
	want, err := strconv.ParseUint(string(sent), 16, 32)
	return frame[from:to], err == nil && uint32(want) == sum&(1<<(4*c.Digits)-1)
}

// checksumOf is the checksum of what stands between the marks, with the marks that count.
func (p *Profile) checksumOf(body []byte) (sum uint32) {
	var start, end []byte
	if slices.Contains(p.Checksum.Over, "start") {
		start = p.start
	}
	if slices.Contains(p.Checksum.Over, "end") {
		end = p.end
	}
	for _, part := range [][]byte{start, body, end} {
		for _, x := range part {
			if p.Checksum.Kind == "xor" {
				sum ^= uint32(x)
			} else {
				sum += uint32(x)
			}
		}
	}
	return sum
}

// write is the checksum as it stands in a frame.
func (c *Checksum) write(sum uint32) []byte {
	if c.Digits == 0 {
		return []byte{byte(sum)}
	}
	b := []byte{byte(sum >> 8), byte(sum)}
	return bytes.ToUpper(hex.AppendEncode(nil, b[2-c.Digits/2:]))
}

// fault is why a frame is no exam.
type fault struct{ reason, detail string }

func (f fault) Error() string { return f.reason + ": " + f.detail }

// draft is an exam in the making.
type draft struct {
	p       *Profile
	e       *exam.Exam
	section string
	eye     string // that holds where no rule says another
	method  string
	sign    string // letter of the next value
	moment  string // all of taken_at
	unknown bool
	found   bool // a value that is no number of an exam or the like
	fields  int
}

// read goes through the text of a frame.
func (d *draft) read(text string) error {
	for text != "" {
		part := text
		if at := strings.IndexAny(text, d.p.split); at >= 0 {
			part, text = text[:at], text[at+1:]
		} else {
			text = ""
		}
		if err := d.part(part); err != nil {
			return err
		}
	}
	return d.finish()
}

// part reads what stands between two separators.
func (d *draft) part(text string) error {
	for strings.Trim(text, " ") != "" {
		rule, at := d.p.find(d.section, text)
		if rule == nil {
			d.unknown = true
			text = d.skip(text)
			continue
		}
		if d.fields += 1 + len(rule.Fields); d.fields > maxFields {
			return fault{exam.RejectTooLarge, "more fields than an exam can have"}
		}
		used, err := d.apply(rule, text, at)
		if err != nil {
			return err
		}
		text = text[used:]
	}
	return nil
}

// skip passes over what no rule knows: the part, or where nothing parts the text, up to the next blank.
func (d *draft) skip(text string) string {
	if d.p.Split != "" {
		return ""
	}
	text = strings.TrimLeft(text, " ")
	if at := strings.IndexByte(text, ' '); at >= 0 {
		return text[at:]
	}
	return ""
}

// find is the first rule that fits at the beginning of text, and where its groups are.
func (p *Profile) find(section, text string) (*Rule, []int) {
	bare := strings.TrimLeft(text, " ")
	for i := range p.Rules {
		r := &p.Rules[i]
		if !strings.HasPrefix(bare, r.prefix) || !r.in(section) {
			continue
		}
		if at := r.re.FindStringSubmatchIndex(text); at != nil && (at[1] > 0 || r.columns > 0) {
			return r, at
		}
	}
	return nil, nil
}

func (r *Rule) in(section string) bool { return len(r.In) == 0 || slices.Contains(r.In, section) }

// apply does what a rule says of the text, and tells how much of it is read.
func (d *draft) apply(r *Rule, text string, at []int) (used int, err error) {
	eye, seq := r.Eye, 0
	if r.eyeAt >= 0 && at[2*r.eyeAt] >= 0 {
		if eye = eyeOf(text[at[2*r.eyeAt]:at[2*r.eyeAt+1]]); eye == "" {
			d.unknown = true
			return at[1], nil
		}
	}
	if r.seqAt >= 0 && at[2*r.seqAt] >= 0 {
		n, err := strconv.Atoi(text[at[2*r.seqAt]:at[2*r.seqAt+1]])
		d.unknown = d.unknown || err != nil
		seq = min(max(n, 0), maxSeq)
	}
	switch {
	case len(r.Fields) == 0:
		d.hold(r, eye)
		return at[1], nil
	case r.columns > 0:
		return len(text), d.cut(r, text[at[1]:], eye, seq)
	}
	for i := range r.Fields {
		if g := r.groups[i]; at[2*g] >= 0 {
			d.put(r, &r.Fields[i], text[at[2*g]:at[2*g+1]], eye, seq)
		}
	}
	return at[1], nil
}

// hold begins a section, or says which eye or method comes.
func (d *draft) hold(r *Rule, eye string) {
	if r.Section != "" {
		d.section, d.method, d.eye = r.Section, "", exam.Both
	}
	if r.Method != "" {
		d.method = r.Method
	}
	if eye != "" {
		d.eye = eye
	}
}

// cut reads columns. Text of another length was damaged on its way, and a value would be read out of the wrong place.
func (d *draft) cut(r *Rule, text, eye string, seq int) error {
	if strings.Trim(text, " ") == "" {
		return nil // the instrument measured nothing here
	}
	for i := range r.Fields {
		at, width := 0, 0
		for at < len(text) && width < r.Fields[i].Width {
			c, size := utf8.DecodeRuneInString(text[at:])
			at += size
			width += d.p.columnsOf(c)
		}
		if width != r.Fields[i].Width {
			return fault{exam.RejectBadLength, "the columns are not as long as they should be"}
		}
		d.put(r, &r.Fields[i], text[:at], eye, seq)
		text = text[at:]
	}
	if strings.Trim(text, " ") != "" {
		return fault{exam.RejectBadLength, "the columns are longer than they should be"}
	}
	return nil
}

// columnsOf is how many bytes the character has in the instrument's encoding.
func (p *Profile) columnsOf(c rune) int {
	switch {
	case c < utf8.RuneSelf, p.bytes == 1, c >= 0xff61 && c <= 0xff9f && p.bytes == 2: // half-width katakana of code page 932
		return 1
	case p.bytes == 2:
		return 2
	}
	return utf8.RuneLen(c)
}
