package nidekrs

import (
	"strings"

	"github.com/hostd/hostd/core/sdk/exam"
)

// refractor reads the lines of an RT refractor: a header, sections that begin with @, and in these a line for each value.
func (d *draft) refractor(text string) {
	text = strings.TrimSuffix(text[1:], "\x04")
	head, rest, _ := strings.Cut(text, "\r")
	d.header(head)
	s := lines{draft: d}
	for rest != "" {
		if rest[0] == lf {
			rest = rest[1:]
			continue
		}
		line, after, ok := segment(strings.TrimPrefix(rest, "\x02"), cr)
		if rest = after; !ok {
			line = strings.TrimRight(line, "\n")
			ok = visible(line) == len(line)
		}
		switch {
		case line == "", d.broken(!ok):
		case line[0] == '@':
			s.enter(line[1:])
		case s.name == "" && strings.HasPrefix(line, "ID"):
			d.patient(line[2:])
		case s.name == "" && strings.HasPrefix(line, "DA"):
			d.dated(line[2:])
		case !s.read(line):
			d.exam.Warn(exam.WarnUnknownSegment)
		}
	}
	if d.exam.Patient.ID == "" {
		d.exam.Warn(exam.WarnPatientIDBlank)
	}
}

// header reads NIDEK RT-5100 ID<12 characters> DA<date>[ SN], or NIDEK_RT-5100, behind which ID and DA are lines.
func (d *draft) header(s string) {
	if d.broken(visible(s) < len(s) || len(s) < 6) {
		return
	}
	d.exam.Device.Make = s[:5]
	rest := s[6:]
	if at := strings.LastIndex(rest, " DA"); at >= 0 {
		d.dated(rest[at+3:])
		rest = rest[:at]
	}
	if at := strings.Index(rest, " ID"); at >= 0 {
		d.patient(rest[at+3:])
		rest = rest[:at]
	}
	d.exam.Device.Model = strings.TrimSpace(rest)
}

func (d *draft) patient(s string) { d.exam.Patient.ID = strings.TrimSpace(s) }

// dated reads YYYY/MM/DD, in which blanks may stand for zeros, and behind a blank the number of the system.
func (d *draft) dated(s string) {
	if d.broken(len(s) < 10 || s[4] != '/' || s[7] != '/') {
		return
	}
	year, month, day := natural(s[:4], 4), natural(strings.TrimLeft(s[5:7], " "), 2), natural(strings.TrimLeft(s[8:10], " "), 2)
	if !d.broken(year < 1000 || month < 1 || month > 12 || day < 1 || day > 31) {
		d.exam.TakenAt = string([]byte{
			digit(year / 1000), digit(year / 100), digit(year / 10), digit(year), '-', digit(month / 10), digit(month), '-', digit(day / 10), digit(day),
		})
	}
	if number := strings.Trim(s[10:], " _"); number != "" {
		*d.put(systemNo, place{both, noMethod, 0}, "") = exam.Text(number)
	}
}

// lines are the lines of a section.
type lines struct {
	*draft
	name  string // in capital letters; empty before the first section
	night bool   // it was written in small ones
}

func (s *lines) enter(name string) {
	s.name = strings.ToUpper(name)
	s.night = name != s.name
	switch s.name {
	case "LM", "RM", "WF", "RT", "KM", "NT":
	default:
		s.exam.Warn(exam.WarnUnknownSegment)
	}
}

// read reads a line of a section: a kind and an eye with fields, or a word of two letters with them.
func (s *lines) read(line string) bool {
	if len(line) < 2 {
		return false
	}
	kind, fields := line[0], fields(line[2:])
	switch eye := line[1]; eye {
	case 'R', 'L', 'B', 'r', 'l', 'b':
		return s.ofEye(kind, eye, fields)
	case 'D', 'd':
		if kind == 'p' || kind == 'P' {
			p := place{both, s.method(kind, eye == 'd'), 0}
			s.number(pd, p, fields.take(4))
			p.eye = right
			s.number(pd, p, fields.take(4))
			p.eye = left
			s.number(pd, p, fields.take(4))
			return true
		}
	case 'V', 'v':
		if kind == 'd' || kind == 'D' {
			return s.vergence(kind, eye, fields, divergenceBlur, divergenceBrk, divergenceRec)
		}
		if kind == 'c' || kind == 'C' {
			return s.vergence(kind, eye, fields, convergeBlur, convergeBrk, convergeRec)
		}
	}
	return s.ofSession(line[:2], string(fields))
}

// fields are what stands behind the letters of a line, in columns. What is missing at the end was blank.
type fields string

func (f *fields) take(n int) string {
	n = min(n, len(*f))
	s := (*f)[:n]
	*f = (*f)[n:]
	return string(s)
}

// method is that of the section; in RT a small letter is subjective data, a capital one final data.
func (s *lines) method(kind byte, isNear bool) (m method) {
	switch s.name {
	case "LM":
		m = lensmeter
	case "RM":
		m = autoref
	case "WF":
		m = objective
	case "KM":
		m = kerato
	case "NT":
		m = tono
	default:
		m = finalMethod
		if kind >= 'a' {
			m = subjective
		}
	}
	return m.as(isNear, s.night)
}

// ofEye reads a line that is about an eye; a small letter of it means near.
func (s *lines) ofEye(kind, eye byte, f fields) bool {
	isNear := eye >= 'a'
	p := place{eye: both}
	switch eye {
	case 'R', 'r':
		p.eye = right
	case 'L', 'l':
		p.eye = left
	}
	switch {
	case s.name == "KM" && (kind == 'C' || kind == 'D'):
		s.curvature(kind, p, f)
		return true
	case s.name == "NT" && (kind == 'T' || kind == 't'):
		p.method = tono.as(isNear, s.night)
		c := iop
		if kind == 't' {
			c = iopKPa
		}
		s.number(c, p, string(f))
		return true
	case s.name == "RT" && (kind == 'W' || kind == 'M' || kind == 'K'):
		p.method = unaided.as(isNear, s.night)
		c := va
		if kind == 'M' {
			c = vaExt
		} else if kind == 'K' {
			c = vaPinhole
		}
		s.acuity(c, p, string(f))
		return true
	}
	p.method = s.method(kind, isNear)
	switch kind {
	case ' ', 'O', 'f', 'F', 'n', 'N':
		if kind|0x20 == 'n' {
			p.method = s.method(kind, true)
		}
		s.numbers(p, string(f), lensFields)
	case 'a', 'A':
		s.number(addition, p, f.take(6))
	case 'p', 'P':
		s.prism(p, f.take(6))
		s.prism(p, f.take(6))
	default:
		return s.acuities(kind, isNear, p, string(f))
	}
	return true
}

// acuities reads the corrected acuities; those with an addition are near ones, those in low light are like night.
func (s *lines) acuities(kind byte, isNear bool, p place, f string) bool {
	c := va
	switch kind {
	case 'v', 'V':
	case 'u', 'U':
		c = vaExt
	case 'h', 'H':
		c = vaPinhole
	case 'y', 'Y', 'j', 'J':
		p.method = s.method(kind, true)
		if kind|0x20 == 'j' {
			c = vaExt
		}
	case 'q', 'Q':
		c = vaExt
		dim := *s
		dim.night = true
		p.method = dim.method(kind, isNear)
	default:
		return false
	}
	s.acuity(c, p, f)
	return true
}

// acuity adds a visual acuity: a number, or with a comparison before it or letters counted behind it a text.
func (s *lines) acuity(c code, p place, field string) {
	n, word, plain := parse(field)
	v := exam.Number(n)
	if word != isNumber {
		text := strings.ReplaceAll(field, " ", "")
		if text == "" {
			return
		}
		v = exam.ParseValue(codes[c].name, text)
		plain = v.Is(field)
	}
	if plain {
		field = ""
	}
	*s.put(c, p, field) = v
}

// prism adds one of a lens's two prisms: a letter for its base, or a blank, and five characters.
func (s *lines) prism(p place, f string) {
	if strings.Trim(f, " ") == "" {
		return
	}
	if n, word, _ := parse(f[1:]); word == isNumber && n == 0 && f[0] == ' ' {
		return // no prism has no base
	}
	s.base(p, f[1:], f[0], f)
}

func (s *lines) vergence(kind, eye byte, f fields, blur, brk, recovery code) bool {
	p := place{both, s.method(kind, eye == 'v'), 0}
	s.number(blur, p, f.take(5))
	s.number(brk, p, f.take(5))
	s.number(recovery, p, f.take(6))
	return true
}

// curvature reads a line of KM: C in mm, with the axis of the flat meridian, or D in dioptres.
func (s *lines) curvature(kind byte, p place, f fields) {
	p.method = kerato.as(false, s.night)
	if kind == 'D' {
		s.numbers(p, string(f), []field{{k1, 5}, {k2, 5}})
		return
	}
	s.numbers(p, string(f), []field{{k1Radius, 5}, {k2Radius, 5}, {k1Axis, 3}})
}

// ofSession reads a word of two letters. Tests that the record has no code for keep the refractor's word and text.
func (s *lines) ofSession(word, f string) bool {
	p := place{both, refractorTest.as(false, s.night), 0}
	switch word {
	case "ME":
		s.text(dominant, p, f)
	case "WD":
		s.number(working, p, f)
	case "wd":
		p.method = finalMethod.as(false, s.night)
		s.number(working, p, f)
	case "Wd":
		p.method = lensmeter.as(false, s.night)
		s.number(working, p, f)
	case "CP":
		rest := fields(f)
		s.number(npc, p, rest.take(3))
		s.text(ownCP, p, string(rest))
	case "AP":
		rest := fields(f)
		s.text(ownAP, p, rest.take(3))
		s.number(accommodation, p, string(rest))
	case "AG":
		s.number(age, p, f)
	case "TT":
		s.testTime(p, f)
	default:
		for c := ownNA; c < ownCP; c++ {
			if codes[c].name == word {
				s.text(c, p, f)
				return true
			}
		}
		return false
	}
	return true
}

// testTime reads mmss, in which the first digit is blank if 0.
func (s *lines) testTime(p place, f string) {
	n := natural(strings.TrimLeft(f, " "), 4)
	if s.broken(n < 0 || n%100 > 59) {
		return
	}
	*s.put(testTime, p, f) = exam.Number(float64(n/100*60 + n%100))
}
