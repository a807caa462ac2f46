package lineprofile

import (
	"fmt"
	"regexp"
	"slices"
	"time"
)

// MaxFrame is the most bytes of a frame: no instrument on a serial line sends more.
const MaxFrame = 64 << 10

// Words of Profile.Status.
const (
	Verified  = "verified"  // a capture of a real unit went through this profile
	Simulated = "simulated" // only documentation, or this project's own samples, did
)

// Profile declares one instrument's protocol. Texts that stand for bytes may name control characters as <STX>. A Profile
// that Load returned is not changed any more, and may be used from several goroutines at once.
type Profile struct {
	Name       string        `yaml:"name"`        // lower-case letters, digits, dashes
	About      string        `yaml:"about"`       // makers and models, for people
	Status     string        `yaml:"status"`      // Verified or Simulated
	Line       Line          `yaml:"line"`        // as the instrument's manual has it
	Encoding   string        `yaml:"encoding"`    // a name of package textenc; empty is us-ascii
	Frame      Frame         `yaml:"frame"`       // where an exam begins and ends
	Checksum   Checksum      `yaml:"checksum"`    // none where it has no kind
	Ack        string        `yaml:"ack"`         // sent when an exam is stored; empty is nothing
	Nak        string        `yaml:"nak"`         // sent for a frame that arrived damaged, or could not be stored; empty is nothing
	Repeat     time.Duration `yaml:"repeat"`      // equal frames without a time of their own that come within it are one measurement
	Make       string        `yaml:"make"`        // of the instrument, where it does not say it
	Model      string        `yaml:"model"`       // the same
	Date       string        `yaml:"date"`        // form of taken_at and patient.birth: YYYY YY MM DD hh mm ss and what is between
	EyeOrder   string        `yaml:"eye_order"`   // which eye is "first" in a field: left or right
	ErrorWords []string      `yaml:"error_words"` // stand in the place of a value: the shot has failed
	Split      string        `yaml:"split"`       // each of these characters parts the text
	Rules      []Rule        `yaml:"rules"`       // tried in this order at each place of the text
	Sample     []string      `yaml:"sample"`      // a frame for the simulated instrument, in pieces, see Play

	start, end, ack, nak []byte
	begin                []begins  // of the rules
	slots                int       // of the rule with the most groups
	codes                []string  // that an observation can have
	form                 []int     // of Date
	splits               [256]bool // the characters of Split
	bytes                int       // of a letter that is not ASCII: 1, 2, or 0 for those of UTF-8
	textual              bool      // a start mark or no columns: blanks before a frame say nothing
	eyes                 [2]string // the first and the second
	confirmed            bool      // somebody has said which eye is first
}

// Line is how the port is set: 0 and empty are 9600 8 none 1.
type Line struct {
	Baud     int     `yaml:"baud"`
	DataBits int     `yaml:"data_bits"`
	Parity   string  `yaml:"parity"`
	StopBits float64 `yaml:"stop_bits"`
}

// Frame is what parts one exam from the next: a mark at its end, or silence; and a mark at its beginning where there is one.
type Frame struct {
	Start   string        `yaml:"start"`
	End     string        `yaml:"end"`
	Silence time.Duration `yaml:"silence"`
}

// Checksum stands right before or right behind the end mark, and is of the bytes between the marks, and of the marks that
// are named.
type Checksum struct {
	Kind   string   `yaml:"kind"`   // sum or xor; empty is none
	Place  string   `yaml:"place"`  // before or behind the end mark
	Digits int      `yaml:"digits"` // hex digits: 2 or 4; 0 is the bare byte
	Over   []string `yaml:"over"`   // start, end: marks that count, too
}

// Rule reads the text at one place. One without fields says what holds from there on (a section, an eye, a method), or,
// with nothing at all, that the text is known and says nothing.
type Rule struct {
	Match   string   `yaml:"match"`   // regular expression; its groups are the fields, but those named eye and seq
	In      []string `yaml:"in"`      // only in these sections
	Section string   `yaml:"section"` // begins it
	Eye     string   `yaml:"eye"`     // R, L or B
	Method  string   `yaml:"method"`  // a method of package exam
	Fields  []Field  `yaml:"fields"`  // with widths they are the columns behind what matches, up to the end of the part

	match   *matcher
	prefix  string // every match begins with it, behind blanks
	columns int    // sum of the widths
	eyeAt   int    // group of that name, or -1
	seqAt   int
	groups  []int // of the fields
}

// Field is one value of a rule.
type Field struct {
	// Code is one of package exam; one of the instrument's own with Unit; patient.id, .name, .birth, .sex, device.make,
	// .model, .serial, taken_at (several are joined by a blank); sign: the letter of the next value's sign; or skip.
	Code   string   `yaml:"code"`
	Width  int      `yaml:"width"`  // of a column in bytes
	Eye    string   `yaml:"eye"`    // R, L, B, first or second; else the rule's, else what holds there, else B
	Method string   `yaml:"method"` // else the rule's, else what holds there
	Seq    int      `yaml:"seq"`    // 1 and up: single shots
	Unit   *string  `yaml:"unit"`   // of a code of the instrument's own
	Scale  float64  `yaml:"scale"`  // a power of ten by which the number is multiplied, such as 0.01 for 1475 that means 14.75
	None   []string `yaml:"none"`   // texts that mean that nothing was measured
	Warn   string   `yaml:"warn"`   // warning of an exam that has this value

	shift      int    // power of ten
	unit       string // of its code
	bit        uint64 // of its code; another code of the profile may have the same
	method     string // its own, or the rule's
	order      int    // 1 is the first eye, 2 the second
	head       bool   // it is no observation
	identifier bool   // it is a text that looks like a number
}

// controls are the names of the control characters (ECMA-48) in their order.
var controls = []string{
	"NUL", "SOH", "STX", "ETX", "EOT", "ENQ", "ACK", "BEL", "BS", "HT", "LF", "VT", "FF", "CR", "SO", "SI",
	"DLE", "DC1", "DC2", "DC3", "DC4", "NAK", "SYN", "ETB", "CAN", "EM", "SUB", "ESC", "FS", "GS", "RS", "US",
}

var controlName = regexp.MustCompile(`<([A-Z][A-Z0-9]{1,2})>`)

// Bytes makes bytes of a text in which control characters are named: <STX>. An error names one that there is not.
func Bytes(text string) ([]byte, error) {
	var b []byte
	for {
		at := controlName.FindStringSubmatchIndex(text)
		if at == nil {
			return append(b, text...), nil
		}
		c, err := control(text[at[2]:at[3]])
		if err != nil {
			return nil, err
		}
		b = append(append(b, text[:at[0]]...), c)
		text = text[at[1]:]
	}
}

func control(name string) (byte, error) {
	if at := slices.Index(controls, name); at >= 0 {
		return byte(at), nil
	}
	if name == "DEL" {
		return 0x7f, nil
	}
	return 0, fmt.Errorf("<%s> is no control character: they are <SOH>, <STX>, <ETX>, <EOT>, <ENQ>, <ACK>, <NAK>, <ETB>, <CR>, <LF> and the others of ASCII", name)
}

// behind is how many bytes of a frame stand behind its end mark.
func (c *Checksum) behind() int {
	switch {
	case c.Kind == "" || c.Place != "behind":
		return 0
	case c.Digits == 0:
		return 1
	}
	return c.Digits
}

// size is how many bytes the checksum has.
func (c *Checksum) size() int {
	if c.Kind == "" {
		return 0
	}
	return max(c.Digits, 1)
}

// Answers is what the instrument hears when its exam is stored; empty is nothing.
func (p *Profile) Answers() []byte { return p.ack }

// Refuses is what the instrument hears of a frame that arrived damaged or could not be stored; empty is nothing.
func (p *Profile) Refuses() []byte { return p.nak }

// Ends is how long the line is silent behind a frame; 0 where a mark ends it.
func (p *Profile) Ends() time.Duration {
	if len(p.end) > 0 {
		return 0
	}
	return p.Frame.Silence
}
