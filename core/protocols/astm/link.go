package astm

import (
	"bytes"
	"errors"
	"time"

	"github.com/hostd/hostd/core/sdk/exam"
)

// Times of the link (E1381 sections 6.2.4, 6.2.7 and 6.5.2).
const (
	AnswerTime     = 15 * time.Second // a sender waits for an answer
	ReceiveTime    = 30 * time.Second // a receiver waits for a frame or EOT
	BusyTime       = 10 * time.Second // a sender waits after NAK to its ENQ
	InstrumentTime = time.Second      // after a contention the instrument waits,
	ComputerTime   = 20 * time.Second // and the computer
)

const (
	attempts  = 6                      // times that a frame is sent (E1381 section 6.5.1.2), and that ENQ is
	pauseTime = 100 * time.Millisecond // after CR for the LF of a frame
	hearTime  = 5 * time.Second        // within which EOT comes from a sender that has heard our ACK
	againTime = time.Second            // until a message without frames that was not taken is delivered again
)

// Limits of what is kept.
const (
	MaxMessage  = 16 << 20 // bytes of a message, where LinkOptions say nothing else
	MaxEvidence = 64 << 10 // bytes of what could not be read
)

// LinkOptions of a Link. The zero value is a computer's.
type LinkOptions struct {
	// Instrument makes it the instrument's end, which waits shorter after a contention.
	Instrument bool
	// MaxMessage is the most bytes of a message; 0 is MaxMessage.
	MaxMessage int
	// NeedSum refuses frames without checksum.
	NeedSum bool
	// MaxText is the most characters of a frame that is sent; 0 is MaxText.
	MaxText int
	// Grow is asked before a message grows by n bytes, and told when it has shrunk (n below 0): false makes it NAK the frame.
	// Nil is always true.
	Grow func(n int) bool
}

// ActionKind says what is to be done.
type ActionKind byte

// Kinds of actions.
const (
	ActionWrite   ActionKind = iota + 1 // send Data
	ActionDeliver                       // Data is a whole message: store it, then call Safe or NotSafe
	ActionReject                        // Data is what could not be read, at most MaxEvidence of it; Reject says why
	ActionHeard                         // the sender goes on behind the answer to the message that was delivered last: it has heard it
	ActionSent                          // the message of Send has been acknowledged
	ActionFailed                        // it has not, and was given up; Err says why
)

// Why a message was not sent.
var (
	ErrBusy    = errors.New("it answered NAK to ENQ six times")
	ErrRefused = errors.New("it took a frame in none of six tries")
	ErrSilent  = errors.New("it did not answer")
	ErrLost    = errors.New("the line has ended")
)

// Action is what a Link wants done, in order.
type Action struct {
	Kind     ActionKind
	Data     []byte
	Reject   exam.Reject
	Warnings []string // of the message: words of package exam
	Loose    bool     // the message came without frames: its sender hears no answer
	Err      error    // of ActionFailed: ErrBusy, ErrRefused, ErrSilent or ErrLost
}

// state of a Link.
type state byte

const (
	idle      state = iota
	receiving       // between ACK to their ENQ and EOT
	loose           // records without frames
	asking          // our ENQ waits for its answer
	sending         // our frame waits for its answer
)

// Link is one end of a line (the state tables of E1381, annex A1 of LIS01-A2). It does nothing by itself: each call says what has
// happened, and Take what is to be done. It is not for several goroutines at once.
type Link struct {
	o       LinkOptions
	dec     Decoder
	state   state
	busy    bool
	actions []Action
	given   []Action  // by the last Take
	due     time.Time // of the state; zero is never
	pause   time.Time // when a frame without its LF is whole

	// receiving
	text     []byte
	began    int64  // offset of the transfer's first byte
	last     int    // number of the frame that was taken last, or -1
	lastSum  uint32 // of its content, see Token.sum
	record   int    // where the last record of text begins
	newLine  bool   // it was ended by the frame
	refused  bool   // the message was whole, and not taken
	drop     bool   // the message is too large: nothing is taken up to EOT
	told     bool   // a reject was given for the frame that is awaited
	heard    bool   // the message before is answered, and nothing has come since
	ackedAt  time.Time
	warnings []string
	noise    noise

	pending bool   // delivered, and neither Safe nor NotSafe
	before  undo   // the frame that waits for it
	number  int    // of that frame
	sum     uint32 // of its content
	gone    bool   // the sender has given up meanwhile
	again   time.Time

	// sending
	queued []byte // the message that is to be sent, or nil
	frames [][]byte
	tries  int
	askAt  time.Time // when ENQ is sent, where the line is not free before
	resend time.Time // when the frame is sent again: something came that is no answer
}

// undo is what a frame has changed.
type undo struct {
	text, record int
	newLine      bool
}

// NewLink makes an idle end.
func NewLink(o LinkOptions) *Link {
	if o.MaxMessage == 0 {
		o.MaxMessage = MaxMessage
	}
	if o.MaxText == 0 {
		o.MaxText = MaxText
	}
	if o.Grow == nil {
		o.Grow = func(int) bool { return true }
	}
	return &Link{o: o, last: -1}
}

// Take gives the actions since the last call; the list is valid until the next one. What ActionDeliver gives stays as it is
// until Safe or NotSafe.
func (l *Link) Take() []Action {
	l.given, l.actions = l.actions, l.given[:0]
	return l.given
}

// Deadline is when Tick has something to do; the zero time is never.
func (l *Link) Deadline() (t time.Time) {
	for _, d := range [...]time.Time{l.due, l.pause, l.again, l.askAt, l.resend} {
		if !d.IsZero() && (t.IsZero() || d.Before(t)) {
			t = d
		}
	}
	return t
}

// SetBusy makes the link answer NAK to ENQ, or ends that: there is no room for a message.
func (l *Link) SetBusy(busy bool) { l.busy = busy }

// Pending says that a delivered message waits for Safe or NotSafe.
func (l *Link) Pending() bool { return l.pending }

// Full says that nothing more should be received before the pending message is answered.
func (l *Link) Full() bool { return l.pending && l.dec.Len() > maxFrame }

// Receive takes what came over the line.
func (l *Link) Receive(now time.Time, b []byte) {
	l.pause = time.Time{}
	l.dec.Write(b)
	l.read(now)
}

// read goes through the tokens, as far as they may be taken.
func (l *Link) read(now time.Time) {
	for {
		t, ok := l.dec.Next()
		if !ok {
			break
		}
		if l.pending && !l.waiting(&t) {
			l.dec.back(len(t.Raw))
			return
		}
		l.token(now, &t)
	}
	if l.dec.Len() > 0 && !l.dec.paused {
		l.pause = now.Add(pauseTime)
		if l.state == receiving || l.state == idle {
			l.due = now.Add(ReceiveTime)
		}
	}
}

// Tick does what is due.
func (l *Link) Tick(now time.Time) {
	if over(&l.pause, now) {
		l.dec.Pause()
		l.read(now)
	}
	if over(&l.again, now) && l.pending {
		l.deliver()
	}
	if over(&l.due, now) {
		l.silence(now)
	}
	if over(&l.resend, now) && l.state == sending {
		l.answerToFrame(now, &Token{Kind: TokenControl, Control: NAK})
	}
	if over(&l.askAt, now) {
		l.ask(now)
	}
}

// over says whether t has come, and clears it then.
func over(t *time.Time, now time.Time) bool {
	if t.IsZero() || now.Before(*t) {
		return false
	}
	*t = time.Time{}
	return true
}

// token takes one token in the state that the link is in.
func (l *Link) token(now time.Time, t *Token) {
	switch l.state {
	case asking:
		l.answerToAsk(now, t)
	case sending:
		l.answerToFrame(now, t)
	case receiving:
		l.receive(now, t)
	case loose:
		l.looseToken(now, t)
	case idle:
		l.idleToken(now, t)
	}
}

// finish ends a transfer: without its L record it is a reject, and the sender sends it again.
func (l *Link) finish(now time.Time, offset int64) {
	if l.pending { // the line is idle meanwhile
		l.flushNoise()
		return
	}
	if len(l.text) > 0 && !l.refused {
		l.reject(exam.RejectTruncated, "transfer ended before its L record", l.began, int(offset-l.began), l.text)
	}
	l.flushNoise()
	l.drops()
	l.state, l.due = idle, time.Time{}
	l.schedule(now)
}

// silence is the end of the state's time.
func (l *Link) silence(now time.Time) {
	switch l.state {
	case receiving, idle:
		l.cut(now)
	case loose:
		l.looseEnd(now)
	case asking, sending:
		l.write(EOT)
		l.fail(ErrSilent)
	}
}

// cut ends a transfer in whose middle the line was silent or has ended.
func (l *Link) cut(now time.Time) {
	end := l.dec.offset()
	if t := l.dec.Rest(); len(t.Raw) > 0 {
		l.noise.add(&t)
		end += int64(len(t.Raw))
	}
	l.finish(now, end)
}

// Lost says that the line has ended. A message that is pending stays so; what is heard of it then is of no use to anybody.
func (l *Link) Lost(now time.Time) {
	if l.pending {
		l.gone = l.state != loose
		return
	}
	l.pause, l.due = time.Time{}, time.Time{}
	l.dec.Pause()
	l.read(now)
	l.pause = time.Time{}
	switch l.state {
	case loose:
		l.looseEnd(now)
	case idle, receiving:
		l.cut(now)
	case asking, sending:
		l.fail(ErrLost)
	}
}

func (l *Link) warn(word string) {
	for _, w := range l.warnings {
		if w == word {
			return
		}
	}
	l.warnings = append(l.warnings, word)
}

// add appends to the message; its memory doubles.
func (l *Link) add(text ...byte) {
	if n := len(l.text) + len(text); n > cap(l.text) {
		l.text = append(make([]byte, 0, max(n, 2*cap(l.text))), l.text...)
	}
	l.text = append(l.text, text...)
}

func (l *Link) act(a Action) { l.actions = append(l.actions, a) }

// answers are the control characters that are sent alone.
var answers = map[byte][]byte{ENQ: {ENQ}, ACK: {ACK}, NAK: {NAK}, EOT: {EOT}}

func (l *Link) write(control byte) { l.act(Action{Kind: ActionWrite, Data: answers[control]}) }

// reject gives what could not be read, in memory of its own.
func (l *Link) reject(reason, detail string, offset int64, length int, data []byte) {
	l.rejectOwn(reason, detail, offset, length, bytes.Clone(data[:min(len(data), MaxEvidence)]))
}

func (l *Link) rejectOwn(reason, detail string, offset int64, length int, data []byte) {
	l.act(Action{
		Kind: ActionReject, Data: data,
		Reject: exam.Reject{Reason: reason, Offset: offset, Length: int64(length), Detail: detail},
	})
}
