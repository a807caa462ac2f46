package lineprofile

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
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
	f, at, found := p.NewFramer(), make([]int, p.slots), 0
	pieces := func(next func() (Piece, bool)) bool {
		for piece, ok := next(); ok; piece, ok = next() {
			r := Reader{draft: draft{p: p, at: at}} // a new one, since the exam is its own
			e, reject := r.Exam(&piece)
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
func (p *Profile) Exam(piece *Piece) (*exam.Exam, *exam.Reject) { return p.NewReader().Exam(piece) }

// Reader reads pieces one by one.
type Reader struct {
	draft draft
	exam  exam.Exam
}

// NewReader begins; one that is kept does not allocate anew for each exam.
func (p *Profile) NewReader() *Reader {
	return &Reader{draft: draft{p: p, at: make([]int, p.slots), warnings: make([]string, 0, 4)}}
}

// Exam is Profile.Exam; the exam is the Reader's own until it is asked again.
func (r *Reader) Exam(piece *Piece) (*exam.Exam, *exam.Reject) {
	p := r.draft.p
	reject := func(reason, detail string) (*exam.Exam, *exam.Reject) {
		return nil, &exam.Reject{Reason: reason, Offset: piece.Offset, Length: int64(len(piece.Data)), Detail: detail}
	}
	high := highs(piece.Data)
	switch {
	case parity(piece.Data, high):
		return reject(exam.RejectParity, "bit 7 is set as a parity bit: check parity and data bits of the port")
	case piece.Reason != "":
		return reject(piece.Reason, details[piece.Reason])
	}
	body, ok := p.body(piece.Data)
	if !ok {
		return reject(exam.RejectChecksum, "the checksum is wrong")
	}
	var err error
	text := ""
	if high == 0 {
		text = string(body) // ASCII, which every encoding has
	} else if text, err = textenc.String(p.Encoding, body); err != nil {
		return reject(exam.RejectNoise, "bytes fit no character of "+p.Encoding+": check encoding, speed and parity")
	}
	list := r.exam.Observations[:0]
	if list == nil {
		list = make([]exam.Observation, 0, min(len(text)/6, 64))
	}
	r.exam = exam.Exam{Device: exam.Device{Make: p.Make, Model: p.Model}, Observations: list}
	r.draft = draft{p: p, e: &r.exam, eye: exam.Both, at: r.draft.at, warnings: r.draft.warnings, ascii: high == 0}
	if f := r.draft.read(text); f.reason != "" {
		return reject(f.reason, f.detail)
	}
	return &r.exam, nil
}

var details = map[string]string{
	exam.RejectNoise:     "bytes outside of a frame",
	exam.RejectTruncated: "the frame has no end",
	exam.RejectTooLarge:  "no frame is longer than 64 KiB",
}

// highs is how many bytes have bit 7.
func highs(b []byte) (n int) {
	for ; len(b) >= 8; b = b[8:] {
		n += bits.OnesCount64(binary.LittleEndian.Uint64(b) & 0x8080808080808080)
	}
	for _, c := range b {
		n += int(c >> 7)
	}
	return n
}

// parity says whether bit 7, which so many of the bytes have, is a parity bit: the instrument sends seven bits, and the port
// reads eight.
func parity(b []byte, high int) bool {
	if len(b) < 16 || 4*high < len(b) {
		return false
	}
	even := 0
	for _, c := range b {
		even += 1 - bits.OnesCount8(c)&1
	}
	most := len(b) - len(b)/16
	return high >= most || even >= most || len(b)-even >= most
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
	xor := p.Checksum.Kind == "xor"
	for _, part := range [][]byte{start, body, end} {
		for _, x := range part {
			if xor {
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

// fault is why a frame is no exam; it has no reason where the frame is one.
type fault struct{ reason, detail string }

// draft is an exam in the making.
type draft struct {
	p        *Profile
	e        *exam.Exam
	at       []int    // of the groups of the rule that was found last
	warnings []string // room for those of the exam
	section  string
	eye      string // that holds where no rule says another
	method   string
	sign     string // letter of the next value
	moment   string // all of taken_at
	ascii    bool   // all of the text
	unknown  bool
	ordered  bool // it was warned that eyes are told by their order
	found    bool // a value that is no number of an exam or the like
	fields   int
	seen     [64]uint64 // by place, see word; the bits of the codes that were there
}

// read goes through the text of a frame.
func (d *draft) read(text string) fault {
	for text != "" {
		n := 0
		for n < len(text) && !d.p.splits[text[n]] {
			n++
		}
		if f := d.part(text[:n]); f.reason != "" {
			return f
		}
		text = text[min(n+1, len(text)):]
	}
	return d.finish()
}

// part reads what stands between two separators.
func (d *draft) part(text string) fault {
	for unblank(text) != "" {
		rule := d.find(text)
		if rule == nil {
			d.unknown = true
			text = d.skip(text)
			continue
		}
		if d.fields += 1 + len(rule.Fields); d.fields > maxFields {
			return fault{exam.RejectTooLarge, "more fields than an exam can have"}
		}
		used, f := d.apply(rule, text, d.at)
		if f.reason != "" {
			return f
		}
		text = text[used:]
	}
	return fault{}
}

// unblank is s without the blanks before it.
func unblank(s string) string {
	for s != "" && s[0] == ' ' {
		s = s[1:]
	}
	return s
}

// skip passes over what no rule knows: the part, or where nothing parts the text, up to the next blank.
func (d *draft) skip(text string) string {
	if d.p.Split != "" {
		return ""
	}
	text = unblank(text)
	if at := strings.IndexByte(text, ' '); at >= 0 {
		return text[at:]
	}
	return ""
}

func (r *Rule) in(section string) bool { return len(r.In) == 0 || slices.Contains(r.In, section) }

// apply does what a rule says of the text, and tells how much of it is read.
func (d *draft) apply(r *Rule, text string, at []int) (used int, f fault) {
	eye, seq := r.Eye, 0
	if r.eyeAt >= 0 && at[2*r.eyeAt] >= 0 {
		if eye = eyeOf(text[at[2*r.eyeAt]:at[2*r.eyeAt+1]]); eye == "" {
			d.unknown = true
			return at[1], fault{}
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
		return at[1], fault{}
	case r.columns > 0:
		return len(text), d.cut(r, text[at[1]:], eye, seq)
	}
	for i := range r.Fields {
		if g := r.groups[i]; at[2*g] >= 0 {
			d.put(&r.Fields[i], text[at[2*g]:at[2*g+1]], eye, seq)
		}
	}
	return at[1], fault{}
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
func (d *draft) cut(r *Rule, text, eye string, seq int) fault {
	if unblank(text) == "" {
		return fault{} // the instrument measured nothing here
	}
	for i := range r.Fields {
		n := r.Fields[i].Width
		if !d.ascii {
			n = d.p.column(text, n)
		}
		if n < 0 || n > len(text) {
			return fault{exam.RejectBadLength, "the columns are not as long as they should be"}
		}
		d.put(&r.Fields[i], text[:n], eye, seq)
		text = text[n:]
	}
	if unblank(text) != "" {
		return fault{exam.RejectBadLength, "the columns are longer than they should be"}
	}
	return fault{}
}

// column is how long the first column of text is, which has width bytes in the instrument's encoding; -1 is that it ends elsewhere.
func (p *Profile) column(text string, width int) (n int) {
	for n < len(text) && n < width && text[n] < utf8.RuneSelf {
		n++
	}
	for at := n; at < width; {
		if n == len(text) {
			return -1
		}
		c, size := utf8.DecodeRuneInString(text[n:])
		n += size
		if at += p.columnsOf(c); at > width {
			return -1
		}
	}
	return n
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
