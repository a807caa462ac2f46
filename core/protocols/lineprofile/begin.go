package lineprofile

import "math/bits"

// Of the rules only those are tried that can begin with the first looks bytes of a place, behind blanks.
const (
	looks   = 3
	perLook = 64 // rules, a bit for each
)

// begins has the rules that can have a byte at a place.
type begins [looks][256]uint64

// begins makes ready the look at the first bytes.
func (p *Profile) begins() []begins {
	all := make([]begins, (len(p.Rules)+perLook-1)/perLook)
	for i := range p.Rules {
		steps := []step{{word: p.Rules[i].prefix}}
		if m := p.Rules[i].match; m.blanks && m.steps != nil {
			steps = m.steps
		}
		for at, set := range firsts(steps) {
			for c := range all[0][at] {
				if set == nil || set[c] {
					all[i/perLook][at][c] |= 1 << (i % perLook)
				}
			}
		}
	}
	return all
}

// firsts are the bytes that each place can have; nil is any, or none.
func firsts(steps []step) (sets [looks]*[256]bool) {
	at := 0
	add := func(set *[256]bool) {
		if at < looks {
			sets[at] = set
			at++
		}
	}
	for i := range steps {
		s := &steps[i]
		for k := range len(s.word) {
			letter := new([256]bool)
			letter[s.word[k]] = true
			add(letter)
		}
		for range s.min {
			add(s.set)
		}
		if s.min != s.max || s.end {
			break
		}
	}
	return sets
}

// with are the rules that can begin with the text, and perhaps others where it is shorter than looks: its end counts as NUL.
func (b *begins) with(text string) uint64 {
	if len(text) >= looks {
		return b[0][text[0]] & b[1][text[1]] & b[2][text[2]]
	}
	var first [looks]byte
	copy(first[:], text)
	return b[0][first[0]] & b[1][first[1]] & b[2][first[2]]
}

// find is the first rule that fits at the beginning of text. It sets d.at to where its groups are.
func (d *draft) find(text string) *Rule {
	bare := unblank(text)
	for k := range d.p.begin {
		for set := d.p.begin[k].with(bare); set != 0; set &= set - 1 {
			r := &d.p.Rules[perLook*k+bits.TrailingZeros64(set)]
			if r.in(d.section) && r.match.find(text, len(text)-len(bare), d.at) && (d.at[1] > 0 || r.columns > 0) {
				return r
			}
		}
	}
	return nil
}
