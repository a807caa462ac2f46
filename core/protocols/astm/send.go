package astm

import (
	"bytes"
	"time"
)

// Send takes a message to be sent when the line is free; false while one waits already. ActionSent or ActionFailed says what
// became of it. The message is the link's until then.
func (l *Link) Send(now time.Time, message []byte) bool {
	if l.queued != nil || len(message) == 0 {
		return false
	}
	l.queued, l.tries = message, 0
	l.schedule(now)
	return true
}

// schedule asks for the line where there is something to send and it is free.
func (l *Link) schedule(now time.Time) {
	if l.queued != nil && l.state == idle && l.askAt.IsZero() {
		l.ask(now)
	}
}

// ask sends ENQ.
func (l *Link) ask(now time.Time) {
	if l.queued == nil || l.state != idle {
		return
	}
	if l.pending {
		l.askAt = now.Add(InstrumentTime)
		return
	}
	l.state, l.due = asking, now.Add(AnswerTime)
	l.tries++
	l.write(ENQ)
}

// begins says whether a message begins of a sender that does not ask for the line: with a frame, or without any. An H behind
// noise is noise, however the line cuts it.
func (l *Link) begins(t *Token) bool {
	if t.Kind == TokenLoose {
		return !l.noise.loud && bytes.HasPrefix(bytes.TrimLeft(t.Raw, blanks), []byte("H"))
	}
	return t.Kind == TokenFrame && t.Number == 1 && isHeader(t.Text)
}

// answerToAsk is what comes for our ENQ.
func (l *Link) answerToAsk(now time.Time, t *Token) {
	switch {
	case l.begins(t): // one that does not ask has begun
		l.tries = 0
		l.wait(now, ComputerTime)
		l.idleToken(now, t)
		return
	case t.Kind != TokenControl:
		l.noise.add(t)
		return
	}
	switch t.Control {
	case ACK:
		l.frames, l.tries = Frames(l.queued, l.o.MaxText), 0
		l.state = sending
		l.send(now)
	case NAK: // busy
		if l.tries >= attempts {
			l.fail(ErrBusy)
			return
		}
		l.wait(now, BusyTime)
	case ENQ: // contention: both have asked (E1381 section 6.2.7)
		l.tries = 0
		if l.o.Instrument {
			l.wait(now, InstrumentTime)
		} else {
			l.wait(now, ComputerTime)
		}
	}
}

// wait leaves the line to the other end before ENQ is sent again.
func (l *Link) wait(now time.Time, d time.Duration) {
	l.state, l.due, l.askAt = idle, time.Time{}, now.Add(d)
}

// send sends the frame whose turn it is.
func (l *Link) send(now time.Time) {
	l.tries++
	l.due = now.Add(AnswerTime)
	l.act(Action{Kind: ActionWrite, Data: l.frames[0]})
}

// answerToFrame is what comes for our frame: everything that is no ACK or EOT counts as NAK, once in a while.
func (l *Link) answerToFrame(now time.Time, t *Token) {
	if t.Kind != TokenControl || t.Control == ENQ {
		if l.resend.IsZero() {
			l.resend = now.Add(pauseTime)
		}
		return
	}
	l.resend = time.Time{}
	ack := t.Kind == TokenControl && t.Control == ACK
	end := t.Kind == TokenControl && t.Control == EOT // ACK, and they want the line (E1381 section 6.3.5)
	switch {
	case (ack || end) && len(l.frames) == 1:
		l.write(EOT)
		l.done(Action{Kind: ActionSent})
	case ack:
		l.frames, l.tries = l.frames[1:], 0
		l.send(now)
		return
	case end: // the message waits until they have had the line
		l.write(EOT)
		l.tries = 0
		l.frames = nil
	case l.tries < attempts:
		l.send(now)
		return
	default:
		l.write(EOT)
		l.fail(ErrRefused)
		return
	}
	l.state, l.due = idle, time.Time{}
	if end {
		l.askAt = now.Add(AnswerTime) // for their ENQ
	}
}

// fail gives the message up.
func (l *Link) fail(why error) {
	l.state, l.due, l.resend = idle, time.Time{}, time.Time{}
	l.done(Action{Kind: ActionFailed, Err: why})
}

func (l *Link) done(a Action) {
	l.queued, l.frames, l.tries, l.askAt = nil, nil, 0, time.Time{}
	l.act(a)
}
