package nidekrs

import (
	"encoding/binary"
	"math/bits"
	"strings"

	"github.com/hostd/hostd/core/sdk/exam"
)

// measured reads the blocks of an AR, ARK, TONOREF, NT or LM unit.
func (d *draft) measured(text string) {
	for head, body := range blocks(text) {
		b := section{draft: d, method: methodOf(head)}
		if b.method == noMethod {
			d.exam.Warn(exam.WarnUnknownSegment)
			continue
		}
		b.night = b.method&night != 0
		for body != "" {
			if body[0] == cr || body[0] == lf {
				body = body[1:]
				continue
			}
			seg, rest, ok := segment(body, etb)
			if body = rest; seg != "" && !d.broken(!ok) && !b.common(seg) && !b.read(seg) {
				d.exam.Warn(exam.WarnUnknownSegment)
			}
		}
		b.placeholders()
	}
}

// methodOf is the method of the block with the head.
func methodOf(head string) method {
	switch head {
	case "DRM":
		return autoref
	case "Drm":
		return autoref | night
	case "DKM":
		return kerato
	case "Dkm":
		return kerato | night
	case "DNT":
		return tono
	case "DPM":
		return pachy
	case "DLM":
		return lensmeter
	}
	return noMethod
}

// segment cuts off what stands before the next end byte. Ok says that it is visible ASCII and blanks.
func segment(s string, end byte) (seg, rest string, ok bool) {
	n := visible(s)
	if ok = n == len(s) || s[n] == end; !ok {
		if n = strings.IndexByte(s, end); n < 0 {
			n = len(s)
		}
	}
	return s[:n], s[min(n+1, len(s)):], ok
}

// visible is how many bytes at the beginning of s are visible ASCII and blanks. It looks at eight at once: bit 7 of a byte is set
// by what is less than a blank, by DEL, or was; a carry spoils only what is behind the first such.
func visible(s string) (n int) {
	const each = 0x0101010101010101
	for ; n+8 <= len(s); n += 8 {
		eight := binary.LittleEndian.Uint64([]byte(s[n : n+8]))
		if other := ((eight - ' '*each) | (eight + each) | eight) & (0x80 * each); other != 0 {
			return n + bits.TrailingZeros64(other)/8
		}
	}
	for n < len(s) && s[n]-' ' <= '~'-' ' {
		n++
	}
	return n
}

// section is a block in the making.
type section struct {
	*draft
	method   method
	night    bool
	measured [3]bool // eyes with a refraction of their own
	added    [3]bool // eyes with an addition
	zero     []string
	shots    [3]int // of a refraction, by eye
	radii    [3]int // readings in mm
	powers   [3]int // readings in dioptres
}

// read reads the segments that not all blocks may have. False is that it is none of them.
func (b *section) read(s string) bool {
	switch b.method &^ night {
	case autoref:
		return b.refraction(s)
	case kerato:
		return b.keratometry(s)
	case tono, pachy:
		return b.cells(s)
	default:
		return b.spectacles(s)
	}
}

// side is the eye of a letter; a blank is a lens of unknown side.
func side(letter byte) (e eye, ok bool) {
	switch letter {
	case 'L':
		return left, true
	case 'R':
		return right, true
	case ' ':
		return both, true
	}
	return 0, false
}

// common reads the segments that all blocks may have. False is that it is none of these.
func (b *section) common(s string) bool {
	if len(s) < 2 {
		return false
	}
	e := b.exam
	switch s[:2] {
	case "ID":
		if e.Device.Model == "" {
			maker, model, ok := strings.Cut(s[2:], "/")
			b.broken(!ok)
			e.Device.Make, e.Device.Model = strings.TrimSpace(maker), strings.TrimSpace(model)
		}
	case "NO":
		b.runningNumber(s[2:])
	case "IP":
		if e.Patient.ID = strings.TrimSpace(s[2:]); e.Patient.ID == "" {
			e.Warn(exam.WarnPatientIDBlank)
		}
	case "DA":
		if e.TakenAt == "" {
			var ok bool
			e.TakenAt, ok = takenAt(s[2:])
			b.broken(!ok)
		}
	case "VD":
		b.number(vertex, place{both, b.method, 0}, s[2:])
	case "WD":
		b.number(working, place{both, b.method, 0}, s[2:])
	default:
		return false
	}
	return true
}

// runningNumber adds the number of the print, which each block repeats.
func (b *section) runningNumber(s string) {
	for i := range b.exam.Observations {
		if o := &b.exam.Observations[i]; o.Code == exam.CodeExamNo && o.Value == exam.Text(strings.Trim(s, " ")) {
			return
		}
	}
	b.text(examNo, place{both, noMethod, 0}, s)
}

// refraction reads a segment of DRM or Drm.
func (b *section) refraction(s string) bool {
	if len(s) < 2 {
		return false
	}
	if s[:2] == "PD" {
		b.pupils(s[2:], autoref)
		return true
	}
	at, ok := side(s[1])
	if !ok || at == both {
		return false
	}
	p := place{at, b.method, 0}
	switch s[0] {
	case 'O':
		b.measured[at] = true
		b.reading(p, at, s[2:])
	case 'E':
		b.shots[at]++
		p.seq = b.shots[at]
		b.text(failure, p, word2(s))
	case 'D':
		if !b.broken(len(s) < 17) {
			p.method = autorefDiff
			b.numbers(p, s[2:], []field{{sphereDiff, 6}, {cylinderDiff, 6}, {axisDiff, 0}})
		}
	case 'C', 'T':
		if isZero(s[2:]) {
			b.zero = append(b.zero, s)
			return true
		}
		b.trial(s)
	default:
		return false
	}
	return true
}

// word2 is what stands behind the two letters of a segment, or the letters where nothing does.
func word2(s string) string {
	if strings.Trim(s[2:], " ") == "" {
		return s
	}
	return s[2:]
}

// reading adds a median, or a shot: that has a digit for its confidence behind the axis, and then a blank, a star (the unit
// is in its cataract mode) or nothing.
func (b *section) reading(p place, at eye, s string) {
	mark := ""
	if len(s) > 15 && s[15] >= '0' && s[15] <= '9' {
		b.shots[at]++
		p.seq = b.shots[at]
		mark = s[16:]
	} else if len(s) > 15 {
		mark = s[15:]
	}
	from := len(b.exam.Observations)
	b.lens(p, s)
	if p.seq > 0 {
		*b.put(confidence, p, "") = exam.Number(float64(s[15] - '0'))
	}
	switch mark {
	case "", " ", "  ":
	case "*", " *", "* ":
		for i := range b.exam.Observations[from:] {
			b.exam.Observations[from+i].Flags = []string{"*"}
		}
	default:
		b.broken(true)
	}
}

func (b *section) trial(s string) {
	method := contactLens
	if s[0] == 'T' {
		method = trialLens
	}
	at, _ := side(s[1])
	b.lens(place{at, method.as(false, b.night), 0}, s[2:])
}

func isZero(s string) bool { return strings.HasPrefix(s, "+00.00+00.00000") }

// placeholders adds the lenses of no power for eyes that were measured. For another eye they say nothing.
func (b *section) placeholders() {
	for _, s := range b.zero {
		if at, _ := side(s[1]); b.measured[at] {
			b.trial(s)
		} else {
			b.exam.Warn(exam.WarnPlaceholderEye)
		}
	}
}

// pupils reads far, right, left and near pupil distance: 2 characters each, or 4.
func (b *section) pupils(s string, m method) {
	width := 2
	if len(s) == 4 && strings.Contains(s, ".") || len(s) > 8 {
		width = 4
	}
	if b.broken(len(s) == 0 || len(s)%width != 0 || len(s) > 4*width) {
		return
	}
	for i, at := range [...]eye{both, right, left, both} {
		if i*width < len(s) {
			b.number(pd, place{at, m.as(i == 3, b.night), 0}, s[i*width:(i+1)*width])
		}
	}
}

// keratometry reads a segment of DKM or Dkm. The first reading of an eye stands for it, the others are its shots.
func (b *section) keratometry(s string) bool {
	if len(s) < 2 {
		return false
	}
	at, ok := side(s[1])
	if !ok || at == both {
		return false
	}
	p := place{at, b.method, 0}
	switch s[0] {
	case ' ':
		if b.broken(len(s) < 20) {
			return true
		}
		p.seq = max(b.radii[at], b.powers[at]-1)
		b.radii[at] = p.seq + 1
		b.numbers(p, s[2:], []field{{k1Radius, 5}, {k2Radius, 5}, {k1Axis, 3}, {kAvgRadius, 0}})
	case 'D':
		if b.broken(len(s) < 26) {
			return true
		}
		p.seq = max(b.powers[at], b.radii[at]-1)
		b.powers[at] = p.seq + 1
		b.numbers(p, s[2:], []field{{k1, 5}, {k2, 5}, {kCylAxis, 3}, {kAvg, 5}, {kCyl, 0}})
	case 'S':
		b.number(cornealSize, p, s[2:])
	case 'P':
		end := len(s)
		for end > 2 && (s[end-1] >= 'A' && s[end-1] <= 'Z' || s[end-1] == ' ') {
			end--
		}
		b.number(pupilSize, p, s[2:end])
		b.text(lamp, p, s[end:])
	default:
		return false
	}
	return true
}

// cells reads a segment of DNT or DPM: eye, count, a cell for each shot, the average. An error stands in the place of its shot.
// The columns are not to be relied on: only blanks part the shots.
func (b *section) cells(s string) bool {
	if len(s) < 4 || s[0] != ' ' {
		return false
	}
	at, ok := side(s[1])
	if !ok || at == both {
		return false
	}
	p, cells, average := place{at, b.method, 0}, s[4:], ""
	if at := strings.LastIndex(cells, "AV"); at >= 0 {
		cells, average = cells[:at], cells[at+2:]
	}
	for cells = unblank(cells); cells != ""; cells = unblank(cells) {
		var cell string
		cell, cells, _ = strings.Cut(cells, " ")
		p.seq++
		if cell[0] >= 'A' {
			b.text(failure, p, cell)
		} else {
			b.shot(p, cell)
		}
	}
	count, word, _ := parse(s[2:4])
	b.broken(word != isNumber || int(count) != p.seq)
	p.seq = 0
	b.shot(p, average)
	return true
}

// shot adds a thickness, or a pressure in its two units, and its confidence, which stands behind a star.
func (b *section) shot(p place, cell string) {
	if b.method == pachy {
		b.number(cct, p, cell)
		return
	}
	cell, sure, _ := strings.Cut(cell, "*")
	mmHg, kPa, _ := strings.Cut(cell, "/")
	b.number(iop, p, mmHg)
	b.number(iopKPa, p, kPa)
	b.number(confidence, p, sure)
}

// spectacles reads a segment of DLM.
func (b *section) spectacles(s string) bool {
	switch {
	case len(s) < 2:
		return false
	case s[:2] == "PD":
		b.pupils(s[2:], lensmeter)
		return true
	case s[:2] == "UV":
		b.transmittance(s[2:])
		return true
	case s[:2] == "IE" || s[:2] == "DE":
		b.shots[both]++
		*b.put(failure, place{both, lensmeter, b.shots[both]}, "") = exam.Text(strings.TrimRight(s, " "))
		return true
	}
	at, ok := side(s[1])
	p, rest := place{at, lensmeter, 0}, s[2:]
	if s[0] != ' ' && s[1] != 'L' && s[1] != 'R' { // no eye behind the letter
		p.eye, rest, ok = both, s[1:], s[0] == 'A' || s[0] == 'N' || s[0] == 'P'
	}
	if p.eye == both {
		p.method = singleLens
	}
	if !ok {
		return false
	}
	switch s[0] {
	case ' ':
		b.lens(p, rest)
	case 'A':
		b.addition(p, rest)
	case 'N':
		b.number(nearSphere, p, rest)
	case 'P':
		if !b.broken(len(rest) < 2) {
			b.base(p, rest[:len(rest)-1], rest[len(rest)-1], rest)
		}
	default:
		return false
	}
	return true
}

// addition adds the first addition of a lens, or the second.
func (b *section) addition(p place, s string) {
	c, found := addition, len(b.exam.Observations)
	if b.added[p.eye] {
		c = addition2
	}
	b.number(c, p, s)
	b.added[p.eye] = b.added[p.eye] || len(b.exam.Observations) > found
}

// transmittance reads UV: an eye or none, and per cent.
func (b *section) transmittance(s string) {
	p := place{both, lensmeter, 0}
	if s != "" {
		if at, ok := side(s[0]); ok && at != both {
			p.eye, s = at, s[1:]
		}
	}
	b.number(uv, p, strings.TrimSuffix(s, "%"))
}
