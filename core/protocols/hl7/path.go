package hl7

import "strconv"

// Get is the part of the message at path, as sent; nil where it is absent or path is none. A path is SEG-FIELD, then
// .COMPONENT and .SUBCOMPONENT as needed, all counted from 1: MSH-10, PID-3.1, OBX[2]-5[1].1.1. [n] behind the segment is
// its n-th occurrence, behind the field the n-th repetition. Without them it is the first; but a field alone is the whole
// field with all repetitions.
func (m *Message) Get(path string) []byte {
	p := pathReader{rest: path}
	if len(path) < 3 {
		return nil
	}
	id := path[:3]
	p.rest = path[3:]
	nth, _ := p.index()
	n := p.number('-')
	s, ok := m.find(id, nth)
	if p.bad || !ok {
		return nil
	}
	f := s.Field(n)
	rep, repeated := p.index()
	if p.rest == "" && !p.bad {
		if !repeated {
			return f.Bytes()
		}
		return f.Repetition(rep).Bytes()
	}
	c := f.Repetition(rep).Component(p.number('.'))
	if p.bad {
		return nil
	}
	if p.rest == "" {
		return c.Bytes()
	}
	sub := c.Sub(p.number('.'))
	if p.bad || p.rest != "" {
		return nil
	}
	return sub
}

// find is the n-th segment with the name id.
func (m *Message) find(id string, n int) (Segment, bool) {
	for i := range m.spans {
		if s := m.Segment(i); s.Is(id) {
			if n--; n == 0 {
				return s, true
			}
		}
	}
	return Segment{}, false
}

// pathReader goes through a path.
type pathReader struct {
	rest string
	bad  bool
}

// index reads [n], if it is there; it is 1 without.
func (p *pathReader) index() (n int, found bool) {
	if p.rest == "" || p.rest[0] != '[' {
		return 1, false
	}
	n = p.number('[')
	if p.rest == "" || p.rest[0] != ']' {
		p.bad = true
		return 0, true
	}
	p.rest = p.rest[1:]
	return n, true
}

// number reads mark and a number from 1.
func (p *pathReader) number(mark byte) int {
	if p.bad || p.rest == "" || p.rest[0] != mark {
		p.bad = true
		return 0
	}
	end := 1
	for end < len(p.rest) && isDigit(p.rest[end]) {
		end++
	}
	n, err := strconv.Atoi(p.rest[1:end])
	if err != nil || n < 1 {
		p.bad = true
	}
	p.rest = p.rest[end:]
	return n
}
