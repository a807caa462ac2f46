package sim

import "time"

// Noise says n random bytes that stand for a bad cable. None is a control character, so no frame begins or ends in them.
func (l *Line) Noise(n int) {
	b := make([]byte, n)
	for i := range b {
		if b[i] = byte(0x21 + l.rand.IntN(0xde)); b[i] == 0x7f {
			b[i] = 0xff
		}
	}
	l.Say(string(b))
}

// Split says the text in pieces of random length, with a pause after each but the last.
func (l *Line) Split(text string, pause time.Duration) {
	for len(text) > 1 && l.err == nil {
		n := 1 + l.rand.IntN(len(text)-1)
		l.Say(text[:n])
		l.Wait(pause)
		text = text[n:]
	}
	l.Say(text)
}

// Cut says only the beginning of the text, at least its first byte and never all of it: a plug pulled in the middle.
func (l *Line) Cut(text string) {
	if len(text) > 1 {
		l.Say(text[:1+l.rand.IntN(len(text)-1)])
	}
}

// Spoil says the text with one letter, digit or other visible character changed, so that its checksum is wrong. Where it
// has none, it is said as it is.
func (l *Line) Spoil(text string) { l.Say(l.Spoiled(text)) }

// Spoiled is what Spoil says.
func (l *Line) Spoiled(text string) string {
	b := []byte(text)
	var at []int
	for i, c := range b {
		if c >= ' ' && c != '~' && c != 0x7f { // none becomes a control character
			at = append(at, i)
		}
	}
	if len(at) > 0 {
		b[at[l.rand.IntN(len(at))]] ^= 1
	}
	return string(b)
}

// Silence says nothing for d, and drops what the driver says meanwhile: the instrument is off, or its cable is out.
func (l *Line) Silence(d time.Duration) {
	b := make([]byte, 4096)
	l.heard = l.heard[:0]
	for end := time.Now().Add(d); ; {
		wait := time.Until(end)
		if wait <= 0 || !l.ready(wait) {
			return
		}
		if _, err := l.conn.Read(b); err != nil && time.Now().Before(end) {
			l.Wait(time.Until(end)) // nothing can be heard any more
			return
		}
	}
}

// Deliver says the text, and once more after each answer of again; at most tries times in all. It is true when the driver
// has said ok, and false when the tries are used up, which is no failure: what an instrument does then is its script's.
func (l *Line) Deliver(text, ok, again string, tries int) bool {
	for range tries {
		l.Say(text)
		if l.Expect(ok, again) == ok {
			return !l.Failed()
		}
	}
	return false
}
