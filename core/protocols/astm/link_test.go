package astm_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hostd/hostd/core/protocols/astm"
)

// message is a whole one.
const message = "H|\\^&|||LAB\rP|1|S-1\rO|1|SP\rR|1|^^^GLU|98\rL|1|N\r"

// frame is one frame as it is sent.
func frame(number int, text string, last bool) string {
	return string(astm.AppendFrame(nil, number, []byte(text), last))
}

// end is a link at a time of its own.
type end struct {
	t    *testing.T
	l    *astm.Link
	now  time.Time
	last astm.Action // the last message delivered
}

func newEnd(t *testing.T, o astm.LinkOptions) *end {
	return &end{t: t, l: astm.NewLink(o), now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
}

// do does one step, and says what came of it in words: "@15s" lets time pass, and what is no word below is heard.
func (e *end) do(what string) string {
	switch what {
	case "safe":
		e.l.Safe(e.now)
	case "not safe":
		e.l.NotSafe(e.now)
	case "busy", "ready":
		e.l.SetBusy(what == "busy")
	case "lost":
		e.l.Lost(e.now)
	case "send":
		e.l.Send(e.now, []byte(message))
	default:
		if d, ok := strings.CutPrefix(what, "@"); ok {
			return e.pass(d)
		}
		e.l.Receive(e.now, []byte(what))
	}
	return e.said()
}

// pass lets time pass, and ticks when something is due.
func (e *end) pass(d string) string {
	wait, err := time.ParseDuration(d)
	if err != nil {
		e.t.Fatal(err)
	}
	var said []string
	for until := e.now.Add(wait); ; {
		due := e.l.Deadline()
		if len(said) > 10000 {
			e.t.Fatal("it never ends")
		}
		if due.IsZero() || due.After(until) {
			e.now = until
			return strings.Join(strings.Fields(strings.Join(said, " ")), " ")
		}
		e.now = due
		e.l.Tick(e.now)
		said = append(said, e.said())
	}
}

var words = map[string]string{"\x05": "ENQ", "\x06": "ACK", "\x15": "NAK", "\x04": "EOT"}

var fails = map[error]string{astm.ErrBusy: "busy", astm.ErrRefused: "refused", astm.ErrSilent: "silent", astm.ErrLost: "lost"}

func (e *end) said() string {
	var list []string
	for _, a := range e.l.Take() {
		switch a.Kind {
		case astm.ActionWrite:
			word := words[string(a.Data)]
			if word == "" {
				word = fmt.Sprintf("frame%c", a.Data[1])
			}
			list = append(list, word)
		case astm.ActionDeliver:
			e.last = a
			list = append(list, "deliver")
		case astm.ActionReject:
			list = append(list, a.Reject.Reason)
		case astm.ActionHeard:
			list = append(list, "heard")
		case astm.ActionSent:
			list = append(list, "sent")
		case astm.ActionFailed:
			list = append(list, fails[a.Err])
		}
	}
	return strings.Join(list, " ")
}

const (
	stx                = "\x02"
	enq, ack, nak, eot = "\x05", "\x06", "\x15", "\x04"
	spoilt             = "\x022O|1|SP\r\x0300\r\n"
)

var (
	head  = frame(1, "H|\\^&|||LAB\rP|1|S-1\r", true)
	other = frame(2, "O|1|SP\r", true)
	bye   = frame(3, "R|1|^^^GLU|98\rL|1|N\r", true)
)

// TestStates holds every row of the state table, for both roles; a step and what comes of it stand side by side.
func TestStates(t *testing.T) {
	for name, steps := range map[string][]string{
		"idle: ENQ, ready": {enq, "ACK"},
		"idle: ENQ, busy":  {"busy", "", enq, "NAK", "ready", "", enq, "ACK"},
		"idle: ENQ while the last message is pending": {enq + head + other + bye, "ACK ACK ACK deliver", eot, "", enq, "NAK", "safe", "", enq, "ACK"},
		"idle: have data":      {"send", "ENQ", ack, "frame1"},
		"idle: have data, NAK": {"send", "ENQ", nak, "", "@9999ms", "", "@1ms", "ENQ", ack, "frame1"},
		"idle: have data, NAK for ever": {
			"send", "ENQ", nak, "", "@10s", "ENQ", nak, "", "@10s", "ENQ", nak, "", "@10s", "ENQ", nak, "", "@10s", "ENQ", nak, "", "@10s", "ENQ", nak, "busy", "@1h", "",
		},
		"idle: have data, contention as computer":   {"send", "ENQ", enq, "", "@19999ms", "", "@1ms", "ENQ", ack, "frame1"},
		"idle: have data, contention, they go on":   {"send", "ENQ", enq, "", "@1s", "", enq, "ACK", head + other + bye, "ACK ACK deliver", "safe", "ACK", eot, "heard", "@19s", "ENQ"},
		"idle: have data, contention, long message": {"send", "ENQ", enq, "", "@1s", "", enq, "ACK", "@21s", "", head, "ACK", eot, "truncated ENQ"},
		"idle: have data, no answer":                {"send", "ENQ", "@14999ms", "", "@1ms", "EOT silent", "@1h", ""},
		"idle: have data, they begin without ENQ":   {"send", "ENQ", head, "ACK", other + bye, "ACK deliver", "safe", "ACK", eot, "heard", "@20s", "ENQ"},
		"idle: have data, they have no frames":      {"send", "ENQ", "\r\nH", "", message[1:], "deliver", "safe", "", "@20s", "ENQ"},
		"idle: have data, junk for an answer":       {"send", "ENQ", "xyH", "", ack, "frame1"},
		"idle: have data while receiving":           {enq, "ACK", "send", "", head, "ACK", other + bye, "ACK deliver", "safe", "ACK", eot, "heard ENQ"},
		"idle: ACK, NAK and EOT":                    {ack + nak + eot, ""},

		"receiving: good frame": {enq + head, "ACK ACK", other, "ACK", bye, "deliver", "@14s", "", "safe", "ACK"},
		"receiving: the last frame is acknowledged when it is safe, and not again": {enq + head + other + bye, "ACK ACK ACK deliver", bye, "", "safe", "ACK", eot, "heard"},
		"receiving: good frame of the last number":                                 {enq + head, "ACK ACK", head, "ACK", other, "ACK"},
		"receiving: last frame again, ACK lost":                                    {enq + head + other + bye, "ACK ACK ACK deliver", "safe", "ACK", bye, "ACK", eot, "heard"},
		"receiving: ACK lost, the sender gives up":                                 {enq + head + other + bye, "ACK ACK ACK deliver", "safe", "ACK", "@15s", "", eot, ""},
		"receiving: not safe, again":                                               {enq + head + other + bye, "ACK ACK ACK deliver", "not safe", "NAK", bye, "deliver", "safe", "ACK", eot, "heard"},
		"receiving: not safe, given up":                                            {enq + head + other + bye, "ACK ACK ACK deliver", "not safe", "NAK", bye, "deliver", "not safe", "NAK", eot, "", enq, "ACK"},
		"receiving: pending, the sender has given up":                              {enq + head + other + bye, "ACK ACK ACK deliver", "@15s", "", eot, "", "safe", "", enq, "ACK"},
		"receiving: pending, it has begun again":                                   {enq + head + other + bye, "ACK ACK ACK deliver", "@15s", "", eot + enq, "NAK", "@1s", "", "safe", "", "@10s", "", enq, "ACK"},
		"receiving: pending, not safe, given up":                                   {enq + head + other + bye, "ACK ACK ACK deliver", eot, "", "not safe", "", enq, "ACK"},
		"receiving: frames behind a pending message":                               {enq + head + other + bye + frame(4, message, true) + eot, "ACK ACK ACK deliver", "safe", "ACK heard deliver", "safe", ""},
		"receiving: bad checksum, six times": {
			enq + head, "ACK ACK", spoilt, "checksum NAK", spoilt, "NAK", spoilt, "NAK", spoilt, "NAK", spoilt, "NAK", spoilt, "NAK", eot, "truncated", enq, "ACK",
		},
		"receiving: bad checksum, then good":               {enq + head, "ACK ACK", spoilt, "checksum NAK", other, "ACK", spoilt, "checksum NAK", bye, "deliver"},
		"receiving: wrong number":                          {enq + head, "ACK ACK", bye, "bad_length NAK", other, "ACK"},
		"receiving: another frame under the last number":   {enq + head, "ACK ACK", frame(1, "O|1|SP\r", true), "bad_length NAK", frame(1, "O|1|SP\r", true), "NAK", head, "ACK", other, "ACK"},
		"receiving: another end under the last number":     {enq + head, "ACK ACK", frame(1, "H|\\^&|||LAB\rP|1|S-1\r", false), "bad_length NAK"},
		"receiving: another message under the last number": {enq + frame(1, message, true), "ACK deliver", "safe", "ACK", frame(1, message+"\r", true), "heard bad_length NAK"},
		"receiving: another message behind one that pends": {enq + frame(1, message, true) + frame(1, message+"\r", true), "ACK deliver", "safe", "ACK heard bad_length NAK"},
		"receiving: number 0 first":                        {enq, "ACK", frame(0, "H|\\^&\r", true), "bad_length NAK"},
		"receiving: no number":                             {enq, "ACK", "\x02xH|\r\x0300\r\n", "bad_length NAK"},
		"receiving: empty frame":                           {enq, "ACK", "\x02\x0303\r\n", "bad_length NAK"},
		"receiving: frame too long":                        {enq, "ACK", "\x021" + strings.Repeat("x", astm.MaxLongText+1), "too_large NAK"},
		"receiving: EOT before the L record":               {enq + head + other, "ACK ACK ACK", eot, "truncated", enq, "ACK"},
		"receiving: EOT at once":                           {enq, "ACK", eot, ""},
		"receiving: ENQ":                                   {enq + head, "ACK ACK", enq, "truncated ACK", head, "ACK"},
		"receiving: silence":                               {enq + head, "ACK ACK", "@29999ms", "", "@1ms", "truncated", enq, "ACK"},
		"receiving: silence after ENQ":                     {enq, "ACK", "@30s", "", other, "", "@30s", "noise"},
		"receiving: silence in a frame":                    {enq + head + other[:5], "ACK ACK", "@31s", "truncated truncated"},
		"receiving: the line ends in a frame":              {enq + head + other[:5], "ACK ACK", "lost", "truncated truncated"},
		"receiving: a frame begun anew":                    {enq + head + other[:5] + other, "ACK ACK truncated ACK"},
		"receiving: noise between frames":                  {enq + head + "xyz", "ACK ACK", other, "noise ACK"},
		"receiving: no CR before ETX":                      {enq, "ACK", frame(1, "H|\\^&", true) + frame(2, "L|1", true), "ACK deliver"},
		"receiving: no LF":                                 {enq, "ACK", strings.TrimSuffix(head, "\n"), "", "@100ms", "ACK", "\n" + strings.TrimSuffix(other, "\n"), "", "\n", "ACK"},
		"receiving: nothing behind the sum":                {enq, "ACK", strings.TrimSuffix(head, "\r\n"), "", "@100ms", "ACK", "\r\n" + other, "ACK"},
		"receiving: nothing behind ETX":                    {enq, "ACK", head[:len(head)-4], "", "@1s", "", other, "ACK ACK"},

		"sending: ACK":               {"send", "ENQ", ack, "frame1", ack, "frame2", ack, "frame3", ack, "frame4", ack, "frame5", ack, "EOT sent", "@1h", ""},
		"sending: NAK":               {"send", "ENQ", ack, "frame1", nak, "frame1", ack, "frame2"},
		"sending: anything else":     {"send", "ENQ", ack, "frame1", "xy", "", "z", "", "@100ms", "frame1", enq, "", "@1s", "frame1", ack, "frame2"},
		"sending: six NAKs":          {"send", "ENQ", ack, "frame1", nak, "frame1", nak, "frame1", nak, "frame1", nak, "frame1", nak, "frame1", nak, "EOT refused", "send", "ENQ"},
		"sending: five NAKs twice":   {"send", "ENQ", ack, "frame1", nak + nak + nak + nak + nak, "frame1 frame1 frame1 frame1 frame1", ack, "frame2", nak + nak + nak + nak + nak, "frame2 frame2 frame2 frame2 frame2", ack, "frame3"},
		"sending: EOT":               {"send", "ENQ", ack, "frame1", eot, "EOT", "@14s", "", enq, "ACK", eot, "", "@1s", "ENQ"},
		"sending: EOT, and no ENQ":   {"send", "ENQ", ack, "frame1", eot, "EOT", "@15s", "ENQ"},
		"sending: EOT for the last":  {"send", "ENQ", ack + ack + ack + ack + ack, "frame1 frame2 frame3 frame4 frame5", eot, "EOT sent", "send", "", "@15s", "ENQ"},
		"sending: silence":           {"send", "ENQ", ack, "frame1", "@14999ms", "", "@1ms", "EOT silent", "@1h", ""},
		"sending: the line has gone": {"send", "ENQ", ack, "frame1", "lost", "lost"},

		"no ENQ":                       {head, "ACK", other + bye, "ACK deliver", "safe", "ACK"},
		"no ENQ, not the first":        {other, "", bye, "", enq, "noise ACK"},
		"no ENQ, bad":                  {spoilt, "checksum", spoilt + spoilt, "", enq, "noise ACK"},
		"junk before ENQ":              {"junk\x00\xff", "", enq, "noise ACK"},
		"line ends before ENQ":         {"\r\n\r\n\x00", "", enq, "ACK"},
		"wrong parity":                 {strings.Repeat("\x82\xb1\xc8", 5), "", "@30s", "parity"},
		"records without frames":       {message, "deliver", "@10s", "", "safe", "", message, "deliver"},
		"two messages without frames":  {message + message, "deliver", "safe", "deliver", "safe", ""},
		"without frames, not safe":     {message, "deliver", "not safe", "", "@999ms", "", "@1ms", "deliver", "safe", "", message, "deliver"},
		"without frames and final CR":  {message[:len(message)-1], "", "@30s", "deliver", "safe", ""},
		"without frames, CR LF":        {strings.ReplaceAll(message, "\r", "\r\n") + message, "deliver", "safe", "deliver"},
		"without frames, cut":          {message[:20], "", "lost", "truncated"},
		"without frames, silent":       {message[:20], "", "@29s", "", message[20:30], "", "@30s", "truncated"},
		"without frames, then ENQ":     {message[:20], "", enq, "truncated ACK"},
		"without frames, pending, ENQ": {message[:len(message)-1] + enq, "deliver", "safe", "ACK"},
		"a word, no header":            {"H", "", "ELLO", "", enq, "noise ACK"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnd(t, astm.LinkOptions{})
			for i := 0; i < len(steps); i += 2 {
				if got := e.do(steps[i]); got != steps[i+1] {
					t.Fatalf("step %d, %q: %q, want %q", i/2, steps[i], got, steps[i+1])
				}
			}
		})
	}
}

// TestInstrumentWaitsShorter has the instrument's role in a contention.
func TestInstrumentWaitsShorter(t *testing.T) {
	e := newEnd(t, astm.LinkOptions{Instrument: true})
	for _, step := range [][2]string{{"send", "ENQ"}, {enq, ""}, {"@999ms", ""}, {"@1ms", "ENQ"}, {ack, "frame1"}} {
		if got := e.do(step[0]); got != step[1] {
			t.Fatalf("%q: %q, want %q", step[0], got, step[1])
		}
	}
}

// TestContention lets two ends ask at once: the instrument's message goes first, then the computer's.
func TestContention(t *testing.T) {
	a, b := newEnd(t, astm.LinkOptions{Instrument: true}), newEnd(t, astm.LinkOptions{})
	a.l.Send(a.now, []byte(message))
	b.l.Send(b.now, []byte(message))
	var order []string
	for range 10000 {
		moved := carry(a, b, "instrument", &order) || carry(b, a, "computer", &order)
		if moved {
			continue
		}
		next := a.l.Deadline()
		if d := b.l.Deadline(); next.IsZero() || !d.IsZero() && d.Before(next) {
			next = d
		}
		if next.IsZero() {
			break
		}
		a.now, b.now = next, next
		a.l.Tick(next)
		b.l.Tick(next)
	}
	if got := strings.Join(order, " "); got != "computer has it instrument sent instrument has it computer sent" {
		t.Errorf("%s", got)
	}
	if a.now.Sub(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) > 21*time.Second {
		t.Errorf("over at %v", a.now)
	}
}

// carry brings what one end writes to the other. A message is safe at once.
func carry(from, to *end, name string, order *[]string) (moved bool) {
	for _, a := range from.l.Take() {
		moved = true
		switch a.Kind {
		case astm.ActionWrite:
			to.l.Receive(to.now, a.Data)
		case astm.ActionDeliver:
			*order = append(*order, name+" has it")
			if string(a.Data) != message {
				to.t.Errorf("%q", a.Data)
			}
			from.l.Safe(from.now)
		case astm.ActionSent:
			*order = append(*order, name+" sent")
		case astm.ActionReject, astm.ActionFailed:
			to.t.Errorf("%+v", a)
		case astm.ActionHeard:
		}
	}
	return moved
}

// TestDelivered looks at what is delivered: the records byte for byte, joined, and what is to be known of the transfer.
func TestDelivered(t *testing.T) {
	long := "H|\\^&|||LAB\rR|1|^^^N|" + strings.Repeat("x", 600) + "\rL|1|N\r"
	var split string
	for _, f := range astm.Frames([]byte(long), astm.MaxText) {
		split += string(f)
	}
	for name, c := range map[string]struct{ in, want, warnings string }{
		"a record a frame":          {head + other + bye, message, ""},
		"records over frames":       {split, long, ""},
		"all in one":                {frame(1, message+"\r", true), message + "\r", ""},
		"64,000 characters":         {frame(1, "H|\\^&\rC|1|"+strings.Repeat("x", 63980)+"\r", true) + frame(2, "L|1\r", true), "H|\\^&\rC|1|" + strings.Repeat("x", 63980) + "\rL|1\r", ""},
		"no checksums":              {"\x021H|\\^&\r\x03\r\n\x022L|1\r\x03\r\n", "H|\\^&\rL|1\r", "checksum_missing"},
		"no checksums, no end":      {"\x021H|\\^&\r\x03\x022L|1\r\x03\x04", "H|\\^&\rL|1\r", "checksum_missing"},
		"checksum in small letters": {strings.Replace(frame(1, "H|\\^&\rC|1|f\rL|1\r", true), "\x03CA", "\x03ca", 1), "H|\\^&\rC|1|f\rL|1\r", ""},
		"L in the middle":           {frame(1, "H|\\^&\rC|1|L|", false) + frame(2, "1|N\rL", false) + frame(3, "|1\r", true), "H|\\^&\rC|1|L|1|N\rL|1\r", ""},
		"twice":                     {head + head + other + bye, message, "duplicate_frame"},
		"no final CR":               {frame(1, "H|\\^&\rL|1", true), "H|\\^&\rL|1\r", ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnd(t, astm.LinkOptions{})
			e.do(enq)
			if got := e.do(c.in); !strings.Contains(got, "deliver") {
				t.Fatal(got)
			}
			if string(e.last.Data) != c.want || strings.Join(e.last.Warnings, " ") != c.warnings {
				t.Errorf("%q %q", e.last.Data, e.last.Warnings)
			}
		})
	}
}

// TestNotSafeUndoes has the frame that was not taken leave nothing behind, also where it ends a record that another one began.
func TestNotSafeUndoes(t *testing.T) {
	e := newEnd(t, astm.LinkOptions{})
	e.do(enq + frame(1, "H|\\^&\rC|1\rL", false))
	last := frame(2, "|1\r", true)
	for range 3 {
		if got := e.do(last); got != "deliver" || string(e.last.Data) != "H|\\^&\rC|1\rL|1\r" {
			t.Fatalf("%q %q", got, e.last.Data)
		}
		e.do("not safe")
	}
}

// TestLargest takes a message of 16 MiB, and refuses one byte more.
func TestLargest(t *testing.T) {
	for more, want := range []string{"deliver", "too_large NAK"} {
		e := newEnd(t, astm.LinkOptions{})
		e.do(enq)
		left := astm.MaxMessage + more - len("H|\\^&\rC|1|") - len("\rL|1\r")
		got, number := e.do(frame(1, "H|\\^&\rC|1|", false)), 2
		for ; left > 0 && got == "ACK"; number++ {
			n := min(left, astm.MaxLongText)
			got = e.do(frame(number, strings.Repeat("x", n), false))
			left -= n
		}
		if got != "ACK" || e.do(frame(number, "\rL|1\r", true)) != want {
			t.Errorf("%d bytes more: %s", more, got)
		}
	}
}

// TestLimits has a message that is too large refused, and no more kept than is allowed.
func TestLimits(t *testing.T) {
	held, most := 0, 0
	e := newEnd(t, astm.LinkOptions{MaxMessage: 1000, NeedSum: true, Grow: func(n int) bool {
		if held+n > 900 {
			return false
		}
		held += n
		most = max(most, held)
		return true
	}})
	for _, step := range [][2]string{
		{enq, "ACK"},
		{"\x021H|\\^&\r\x03\r\n", "checksum NAK"},
		{frame(1, "H|\\^&\rC|1|"+strings.Repeat("x", 500), false), "ACK"},
		{frame(2, strings.Repeat("x", 450), false), "NAK"},           // no room now
		{frame(2, strings.Repeat("x", 600), false), "too_large NAK"}, // never
		{frame(2, "x", false), "NAK"},
		{eot, ""},
		{message, "deliver"},
		{"safe", ""},
		{"H|\\^&\rC|1|" + strings.Repeat("x", 1000), "too_large"},
		{"\rL|1\r", ""},
		{"@30s", ""},
		{message, "deliver"},
		{"safe", ""},
	} {
		if got := e.do(step[0]); got != step[1] {
			t.Fatalf("%.20q: %q, want %q", step[0], got, step[1])
		}
	}
	if held != 0 || most < 500 {
		t.Errorf("%d bytes held, %d at most", held, most)
	}
}
