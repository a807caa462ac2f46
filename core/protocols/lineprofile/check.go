package lineprofile

import (
	"bytes"
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hostd/hostd/core/protocols/textenc"
	"github.com/hostd/hostd/core/sdk/exam"
)

const (
	asciiName = "us-ascii"
	maxWait   = 10 * time.Second // longest silence at the end of a frame
	maxWidth  = 1 << 10          // of a column
	maxRules  = 256
	maxSeq    = 999
	repeatFor = 10 * time.Second // Profile.Repeat where it says nothing
)

var profileName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// check notes every fault, and makes ready what decoding needs.
func (c *checker) check() {
	p := c.p
	if !profileName.MatchString(p.Name) {
		c.add("name: write one of lower-case letters, digits and dashes, such as rc-5000", "name")
	}
	c.oneOf("status", p.Status, Verified, Simulated)
	c.line()
	c.encoding()
	c.frame()
	c.checksum()
	c.moment()
	if p.Repeat < 0 || p.Repeat > time.Hour {
		c.add("repeat: write 0s to 1h", "repeat")
	} else if p.Repeat == 0 && child(c.root.Content[0], "repeat") == nil {
		p.Repeat = repeatFor
	}
	if p.EyeOrder != "" {
		c.oneOf("eye_order", p.EyeOrder, "left", "right")
		p.eyes = inOrder(p.EyeOrder)
	}
	for _, b := range c.bytes("split", p.Split) {
		if p.splits[b] = true; b >= utf8.RuneSelf {
			c.add("split: write characters of ASCII", "split")
		}
	}
	if len(p.Rules) == 0 || len(p.Rules) > maxRules {
		c.add(fmt.Sprintf("rules: write 1 to %d of them, each with match and fields", maxRules), "rules")
	}
	p.textual = len(p.start) > 0
	p.codes = []string{exam.CodeError, exam.CodeVAExt} // in the place of others
	for i := range p.Rules {
		c.rule(i, &p.Rules[i])
	}
	columns := func(r Rule) bool { return r.columns > 0 }
	p.textual = p.textual || !slices.ContainsFunc(p.Rules, columns)
}

// oneOf notes a fault where the value at the path is none of the words.
func (c *checker) oneOf(key, value string, words ...string) {
	if !slices.Contains(words, value) {
		c.add(key+": write one of "+strings.Join(words, ", "), path(key)...)
	}
}

// path is the way to a key such as line.baud.
func path(key string) (steps []any) {
	for step := range strings.SplitSeq(key, ".") {
		steps = append(steps, step)
	}
	return steps
}

func (c *checker) bytes(key, text string) []byte {
	b, err := Bytes(text)
	if err != nil {
		c.add(key+": "+err.Error(), path(key)...)
	}
	return b
}

func (c *checker) line() {
	l := &c.p.Line
	if l.Baud != 0 && (l.Baud < 50 || l.Baud > 4_000_000) {
		c.add("line.baud: write the speed in bit/s, such as 9600", "line", "baud")
	}
	if l.DataBits != 0 && (l.DataBits < 5 || l.DataBits > 8) {
		c.add("line.data_bits: write 7 or 8", "line", "data_bits")
	}
	if l.Parity != "" {
		c.oneOf("line.parity", l.Parity, "none", "odd", "even", "mark", "space")
	}
	if !slices.Contains([]float64{0, 1, 1.5, 2}, l.StopBits) {
		c.add("line.stop_bits: write 1, 1.5 or 2", "line", "stop_bits")
	}
}

func (c *checker) encoding() {
	p := c.p
	if p.Encoding == "" {
		p.Encoding = asciiName
	}
	if !textenc.Known(p.Encoding) {
		c.add("encoding: write us-ascii, utf-8, cp949, cp932, gb18030, big5, windows-1252 or another code page", "encoding")
		return
	}
	p.bytes = letterSize(p.Encoding)
}

// letterSize is how many bytes a letter has that is not ASCII: 1, 2, or 0 for those of UTF-8.
func letterSize(encoding string) int {
	size := 0
	for _, pair := range []string{"\xb0\xa1", "\x88\x9f"} { // one letter in every code page of two bytes; the second one for cp932
		if text, err := textenc.Decode(encoding, []byte(pair)); err == nil {
			size = max(size, 3-utf8.RuneCount(text))
		}
	}
	return size
}

func (c *checker) frame() {
	p := c.p
	p.start, p.end = c.bytes("frame.start", p.Frame.Start), c.bytes("frame.end", p.Frame.End)
	p.ack, p.nak = c.bytes("ack", p.Ack), c.bytes("nak", p.Nak)
	switch {
	case len(p.end) == 0 && p.Frame.Silence == 0:
		c.add("frame: write end, such as <ETX>, or where nothing marks the end silence, such as 200ms", "frame")
	case len(p.end) > 0 && p.Frame.Silence != 0:
		c.add("frame.silence: leave it out where end marks the end", "frame", "silence")
	case p.Frame.Silence < 0 || p.Frame.Silence > maxWait:
		c.add("frame.silence: write 1ms to 10s", "frame", "silence")
	}
	if len(p.start) > 64 || len(p.end) > 64 || len(p.ack) > 64 || len(p.nak) > 64 {
		c.add("a mark or answer has at most 64 bytes", "frame")
	}
}

func (c *checker) checksum() {
	sum := &c.p.Checksum
	if sum.Kind == "" {
		if sum.Place != "" || sum.Digits != 0 || len(sum.Over) > 0 {
			c.add("checksum.kind: write sum or xor", "checksum")
		}
		return
	}
	c.oneOf("checksum.kind", sum.Kind, "sum", "xor")
	c.oneOf("checksum.place", sum.Place, "before", "behind")
	if sum.Digits != 0 && sum.Digits != 2 && sum.Digits != 4 {
		c.add("checksum.digits: write 2 or 4 hex digits, or 0 for a bare byte", "checksum", "digits")
	}
	for i, mark := range sum.Over {
		if mark != "start" && mark != "end" {
			c.add("checksum.over: write [start], [end] or [start, end]", "checksum", "over", i)
		}
	}
	if sum.Digits == 0 && sum.Place == "before" {
		c.add("checksum.digits: before the end mark write 2 or 4, since a bare byte there may look like the mark", "checksum")
	}
	if len(c.p.end) == 0 {
		c.add("checksum: it needs frame.end, beside which it stands", "checksum")
	}
}

func (c *checker) moment() {
	form, needed := c.p.Date, false
	c.p.form = formOf(form)
	for _, r := range c.p.Rules {
		for _, f := range r.Fields {
			needed = needed || f.Code == codeMoment || f.Code == "patient.birth"
		}
	}
	switch {
	case form == "" && needed:
		c.add("date: write how dates are written, such as YYYY/MM/DD hh:mm:ss")
	case form != "" && !(strings.Contains(form, "YY") && strings.Contains(form, "MM") && strings.Contains(form, "DD")):
		c.add("date: write it with YYYY or YY, MM and DD, and hh, mm, ss where there is a time of day", "date")
	}
}

func (c *checker) rule(i int, r *Rule) {
	at := func(text string, more ...any) {
		c.add(fmt.Sprintf("rules[%d]%s", i, text), append([]any{"rules", i}, more...)...)
	}
	widths := 0
	for j := range r.Fields {
		c.field(i, j, &r.Fields[j])
		r.Fields[j].method = cmp.Or(r.Fields[j].Method, r.Method)
		if w := r.Fields[j].Width; w > 0 {
			r.columns += w
			widths++
		}
	}
	if widths > 0 && widths < len(r.Fields) {
		at(".fields: give each of them a width, or none", "fields")
	}
	if r.Eye != "" && eyeOf(r.Eye) != r.Eye {
		at(".eye: write R, L or B", "eye")
	}
	bare, err := regexp.Compile(r.Match)
	if err == nil {
		r.match, err = compile(r.Match, widths == 0) // a blank belongs to the first column
	}
	if err != nil {
		at(".match is no regular expression: "+err.Error(), "match")
		return
	}
	c.p.slots = max(c.p.slots, r.match.slots())
	r.prefix, _ = bare.LiteralPrefix()
	r.eyeAt, r.seqAt = bare.SubexpIndex("eye"), bare.SubexpIndex("seq")
	for g := 1; g <= bare.NumSubexp(); g++ {
		if g != r.eyeAt && g != r.seqAt {
			r.groups = append(r.groups, g)
		}
	}
	switch {
	case r.Match == "" && widths == 0:
		at(".match: write a regular expression of what stands there; it may be empty where the fields have widths", "match")
	case widths > 0 && len(r.groups) > 0:
		at(".match: the fields have widths, so it has no groups; write (?:...) where you need brackets", "match")
	case widths == 0 && len(r.groups) != len(r.Fields):
		at(fmt.Sprintf(".match has %d groups for %d fields: write (...) around each value, and (?:...) for other brackets", len(r.groups), len(r.Fields)), "match")
	}
}

func (c *checker) field(i, j int, f *Field) {
	at := func(text, key string) {
		c.add(fmt.Sprintf("rules[%d].fields[%d].%s: %s", i, j, key, text), "rules", i, "fields", j, key)
	}
	unit, known := exam.UnitOf(f.Code)
	if f.unit = unit; f.Unit != nil {
		f.unit = *f.Unit
	}
	if !slices.Contains(c.p.codes, f.Code) {
		c.p.codes = append(c.p.codes, f.Code)
	}
	f.bit = c.p.bitOf(f.Code)
	f.order = slices.Index(orders[:], f.Eye) + 1
	f.head, f.identifier = slices.Contains(heads, f.Code), exam.IsIdentifier(f.Code)
	known = known || f.head
	switch {
	case f.Code == "":
		at("write what the value is, such as sphere, or skip", "code")
	case known && f.Unit != nil:
		at(f.Code+" has its unit already: leave it out", "unit")
	case !known && f.Unit == nil:
		at("unknown"+near(f.Code)+`; for one of the instrument's own write its unit beside it, or unit: ""`, "code")
	}
	switch f.Eye {
	case "", exam.Right, exam.Left, exam.Both:
	case orders[0], orders[1]:
		if c.p.EyeOrder == "" {
			at("write eye_order: left or right at the top, which says which eye is first", "eye")
		}
	default:
		at("write R, L, B, first or second", "eye")
	}
	if f.Width < 0 || f.Width > maxWidth {
		at(fmt.Sprintf("write 1 to %d", maxWidth), "width")
	}
	if f.Seq < 0 || f.Seq > maxSeq {
		at(fmt.Sprintf("write 0 for a summary, 1 to %d for a single shot", maxSeq), "seq")
	}
	scales := []float64{1e-4, 1e-3, 1e-2, 1e-1, 0, 10, 100, 1000, 1e4}
	if f.shift = slices.Index(scales, f.Scale) - 4; f.shift < -4 {
		at("write a power of ten, such as 0.01", "scale")
	}
	if f.Warn != "" && strings.Trim(f.Warn, "abcdefghijklmnopqrstuvwxyz_") != "" {
		at("write a word of letters and _, such as prism_sign_undocumented", "warn")
	}
}

// inOrder are the eyes in their order.
func inOrder(eyeOrder string) [2]string {
	if eyeOrder == "left" {
		return [2]string{exam.Left, exam.Right}
	}
	return [2]string{exam.Right, exam.Left}
}

// near names the code that is spelt most alike.
func near(code string) string {
	best, most := "", 0
	for _, known := range append(exam.Codes(), heads...) {
		n := 0
		for i := range min(len(known), len(code)) {
			if known[i] == code[i] || i+1 < len(known) && known[i+1] == code[i] {
				n++
			}
		}
		if 2*n > len(known) && n > most {
			best, most = known, n
		}
	}
	if best == "" {
		return ""
	}
	return ", perhaps " + best
}

// checkSample holds that the profile reads its own sample.
func (c *checker) checkSample() {
	if len(c.p.Sample) == 0 {
		return
	}
	frame, err := c.p.Play(Values{No: "0001", ID: "S-000001", Time: time.Date(2025, 3, 24, 9, 5, 0, 0, time.UTC), Digit: func() byte { return '1' }})
	if err != nil {
		c.add("sample: "+err.Error(), "sample")
		return
	}
	got := c.p.Decode(bytes.Clone(frame))
	switch {
	case len(got.Rejects) > 0:
		c.add("sample: the profile does not read it: "+got.Rejects[0].Detail, "sample")
	case len(got.Exams) != 1:
		c.add("sample: write one frame", "sample")
	case slices.Contains(got.Exams[0].Warnings, exam.WarnUnknownSegment):
		c.add("sample: the profile has no rule for a part of it", "sample")
	}
}

// With is the profile with what a clinic has set for its own unit; empty leaves it as it is. Ack and nak may be "none".
func (p *Profile) With(ack, nak, encoding, eyeOrder string) (*Profile, error) {
	q := *p
	var faults []string
	answer := func(key, text string, into *[]byte) {
		b, err := Bytes(text)
		switch {
		case text == "none":
			*into = nil
		case err != nil || len(b) > 64:
			faults = append(faults, key+": write none, or at most 64 bytes such as <ACK>")
		case text != "":
			*into = b
		}
	}
	answer("ack", ack, &q.ack)
	answer("nak", nak, &q.nak)
	if encoding != "" {
		if !textenc.Known(encoding) {
			faults = append(faults, "encoding: write us-ascii, utf-8, cp949, cp932, gb18030, big5, windows-1252 or another code page")
		} else {
			q.Encoding, q.bytes = encoding, letterSize(encoding)
		}
	}
	switch {
	case eyeOrder == "":
	case p.EyeOrder == "":
		faults = append(faults, "eye_order: the profile names the eyes itself")
	case eyeOrder != "left" && eyeOrder != "right":
		faults = append(faults, "eye_order: write left or right")
	default:
		q.EyeOrder, q.eyes, q.confirmed = eyeOrder, inOrder(eyeOrder), true
	}
	if len(faults) > 0 {
		return nil, fmt.Errorf("%s", strings.Join(faults, "\n"))
	}
	return &q, nil
}
