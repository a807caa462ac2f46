package astm

import (
	"bytes"
	"hash/crc32"
	"time"

	"github.com/hostd/hostd/core/sdk/exam"
)

// idleToken waits for ENQ, for a first frame whose sender does not ask, or for a header without a frame.
func (l *Link) idleToken(now time.Time, t *Token) {
	switch {
	case t.Kind == TokenControl && t.Control == ENQ:
		l.flushNoise()
		if l.busy || l.pending {
			l.write(NAK)
			return
		}
		l.write(ACK)
		l.begin(now, t.Offset+1)
	case t.Kind == TokenControl:
	case t.Kind == TokenFrame && t.Number == 1 && !l.pending && isHeader(t.Text):
		l.flushNoise()
		l.begin(now, t.Offset)
		l.receive(now, t)
	case t.Kind == TokenBad && !l.told:
		l.flushNoise()
		l.told = true // the next ones are noise
		l.reject(t.Reason, "frame without ENQ before it", t.Offset, len(t.Raw), t.Raw)
	case t.Kind == TokenLoose && !l.pending && !l.noise.loud:
		l.looseBegin(now, t)
	default:
		l.noise.add(t)
		l.due = now.Add(ReceiveTime)
	}
}

func isHeader(text []byte) bool {
	_, ok := Header(text)
	return ok
}

// begin begins a transfer from them to us.
func (l *Link) begin(now time.Time, offset int64) {
	l.drops()
	l.state, l.began, l.last, l.due = receiving, offset, -1, now.Add(ReceiveTime)
	l.refused, l.drop, l.told, l.heard = false, false, false, false
}

// drops forgets the message.
func (l *Link) drops() {
	if len(l.text) > 0 {
		l.o.Grow(-len(l.text))
	}
	if cap(l.text) > maxFrame {
		l.text = nil
	}
	l.text, l.record, l.newLine, l.warnings = l.text[:0], 0, false, nil
}

// receive is the row "receiving" of the table.
func (l *Link) receive(now time.Time, t *Token) {
	switch {
	case t.Kind == TokenFrame:
		l.goesOn(t.Number != l.last || t.sum() != l.lastSum)
		l.frame(now, t)
	case t.Kind == TokenBad:
		l.refuse(now, t, t.Reason, "frame")
	case t.Kind == TokenCut || t.Kind == TokenLoose:
		l.noise.add(t) // no answer: what comes next gets it
	case t.Control == EOT:
		l.goesOn(now.Sub(l.ackedAt) < hearTime) // later it may be that of a sender which has waited in vain
		l.finish(now, t.Offset)
	case t.Control == ENQ: // it has begun again
		l.finish(now, t.Offset)
		l.idleToken(now, t)
	}
}

// goesOn says that the sender has heard the answer to its message, where what comes first behind it is a sign of that.
func (l *Link) goesOn(sign bool) {
	if l.heard && sign {
		l.heard = false
		l.act(Action{Kind: ActionHeard})
	}
}

// frame takes a good frame.
func (l *Link) frame(now time.Time, t *Token) {
	l.due = now.Add(ReceiveTime)
	switch {
	case !t.Summed && l.o.NeedSum:
		l.refuse(now, t, exam.RejectChecksum, "frame has none")
		return
	case l.drop:
		l.write(NAK)
		return
	case t.Number == l.last && t.sum() == l.lastSum: // our ACK got lost
		l.warn(exam.WarnDuplicateFrame)
		l.write(ACK)
		return
	case t.Number != (max(l.last, 0)+1)&7:
		l.refuse(now, t, exam.RejectBadLength, "frame number is not the next one")
		return
	case len(l.text)+grows(t) > l.o.MaxMessage:
		l.reject(exam.RejectTooLarge, "message is larger than allowed", l.began, int(t.Offset-l.began)+len(t.Raw), l.text)
		l.drops()
		l.drop = true
		l.write(NAK)
		return
	}
	if !l.o.Grow(grows(t)) {
		l.write(NAK)
		return
	}
	l.flushNoise()
	l.take(t)
}

// grows is by how much a frame makes the message longer: its text, and a CR where it ends a record that has none.
func grows(t *Token) int {
	if t.Last && len(t.Text) > 0 && t.Text[len(t.Text)-1] != CR {
		return len(t.Text) + 1
	}
	return len(t.Text)
}

// take adds a frame's text to the message, and delivers that where it ends.
func (l *Link) take(t *Token) {
	if !t.Summed {
		l.warn(exam.WarnChecksumMissing)
	}
	l.told, l.number, l.sum = false, t.Number, t.sum()
	l.before = undo{len(l.text), l.record, l.newLine}
	if l.newLine {
		l.record = len(l.text)
	}
	if i := bytes.LastIndexAny(bytes.TrimRight(t.Text, "\r\n"), "\r\n"); i >= 0 {
		l.record = len(l.text) + i + 1
	}
	l.add(t.Text...)
	if l.newLine = t.Last; grows(t) > len(t.Text) {
		l.add(CR) // the end of a record that the frame's end says
	}
	if t.Last && isLast(l.text[l.record:]) {
		l.refused = false
		l.deliver()
		return
	}
	l.last, l.lastSum = t.Number, l.sum
	l.write(ACK)
}

// sum tells a frame that comes once more from another one under the same number, which must not be acknowledged as if it were
// stored.
func (t *Token) sum() uint32 {
	sum := crc32.ChecksumIEEE(t.Text)
	if t.Last {
		return ^sum
	}
	return sum
}

// isLast says whether the record is the message's last one.
func isLast(record []byte) bool {
	record = bytes.TrimLeft(record, "\r\n")
	return len(record) > 0 && record[0] == 'L' && (len(record) == 1 || punctuation(record[1]) || record[1] == CR || record[1] == LF)
}

func (l *Link) deliver() {
	l.pending, l.gone = true, false
	if l.state == receiving {
		l.due = time.Time{} // it is we who are waited for
	}
	l.act(Action{Kind: ActionDeliver, Data: l.text, Warnings: l.warnings, Loose: l.state == loose})
}

// waiting looks at what comes while a message is pending, and says whether it is to be taken. A frame behind the message waits
// until that is answered; the same frame once more, whole or not, is passed over: one answer is enough for both.
func (l *Link) waiting(t *Token) bool {
	switch {
	case l.state == loose:
		return false
	case l.gone:
	case t.Kind == TokenControl && (t.Control == EOT || t.Control == ENQ):
		l.gone, l.state = true, idle
	case t.Kind == TokenFrame && (t.Number != l.number || t.sum() != l.sum):
		return false
	case t.Kind != TokenLoose:
		*t = Token{Kind: TokenControl, Control: ACK} // nothing
	}
	return true
}

// Safe says that the message that was delivered is on the disk.
func (l *Link) Safe(now time.Time) {
	if !l.pending {
		return
	}
	l.pending, l.again = false, time.Time{}
	l.drops()
	switch {
	case l.gone:
	case l.state == loose:
		l.state, l.due = idle, time.Time{}
	default:
		l.last, l.lastSum = l.number, l.sum
		l.heard, l.ackedAt, l.due = true, now, now.Add(ReceiveTime)
		l.write(ACK)
	}
	l.schedule(now)
	l.read(now)
}

// NotSafe says that it is not, and will not be: NAK, and the sender repeats the frame. A message without frames is delivered
// again after a while, since its sender cannot be told.
func (l *Link) NotSafe(now time.Time) {
	switch {
	case !l.pending:
		return
	case l.state == loose:
		l.again = now.Add(againTime)
		return
	case l.gone:
		l.drops()
	default:
		l.o.Grow(l.before.text - len(l.text))
		l.text, l.record, l.newLine = l.text[:l.before.text], l.before.record, l.before.newLine
		l.refused, l.due = true, now.Add(ReceiveTime)
		l.write(NAK)
	}
	l.pending = false
	l.read(now)
}

// refuse answers NAK to a frame, and keeps what came; once for each frame that is awaited, since the same comes up to six times.
func (l *Link) refuse(now time.Time, t *Token, reason, detail string) {
	l.due = now.Add(ReceiveTime)
	l.flushNoise()
	if !l.told && !l.drop {
		l.told = true
		l.reject(reason, detail, t.Offset, len(t.Raw), t.Raw)
	}
	l.write(NAK)
}
