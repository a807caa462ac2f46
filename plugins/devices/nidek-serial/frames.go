package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/hostd/hostd/core/protocols/nidekrs"
)

// unit makes the frames of an instrument, with exams of invented people.
type unit struct {
	profile  string
	numbered bool // the patient id is K- and the exam's number; else invented, and blank for one in four
	seed     uint64
}

// numberedID is the patient id of exam n where the units number them.
func numberedID(n int) string { return fmt.Sprintf("K-%06d", n) }

// frame is exam n, 1 and up, the same each time.
func (u *unit) frame(n int) string {
	r := rand.New(rand.NewPCG(u.seed, uint64(n)))
	id := fmt.Sprintf("S-%06d", r.IntN(1_000_000))
	switch {
	case u.numbered:
		id = numberedID(n)
	case r.IntN(4) == 0:
		id = ""
	}
	at := time.Date(2025, 3, 24, 8, 0, 0, 0, time.UTC).Add(time.Duration(n) * 5 * time.Minute)
	if strings.HasPrefix(u.profile, "rt-") {
		return refractorFrame(r, id, at)
	}
	b := blocks{head: fmt.Sprintf("NO%04d\x17IP%s\x17DA%s\x17", n%10000, id, strings.ToUpper(at.Format("02/Jan/2006.15:04"))), rand: r}
	switch u.profile {
	case "ar":
		b.begin("DRM", "NIDEK/AR-1").refraction()
	case "ark":
		b.begin("DRM", "NIDEK/ARK-1a").refraction()
		b.begin("DKM", "").keratometry()
	case "tonoref":
		b.begin("DRM", "NIDEK/TONOREF3").refraction()
		b.begin("DKM", "").keratometry()
		b.begin("DNT", "").pressure()
	case "nt":
		b.begin("DNT", "NIDEK/NT-530").pressure()
	default:
		b.begin("DLM", "NIDEK/LM-7P").spectacles()
	}
	b.text += "\x04"
	return fmt.Sprintf("%s%04X\r", b.text, nidekrs.Sum([]byte(b.text)))
}

// blocks are a frame in the making.
type blocks struct {
	text, head string
	rand       *rand.Rand
}

func (b *blocks) begin(head, unit string) *blocks {
	b.text += "\x01" + head + "\x02"
	if unit != "" {
		b.text += "ID" + unit + "\x17" + b.head
	}
	return b
}

func (b *blocks) add(format string, args ...any) {
	b.text += fmt.Sprintf(format, args...) + "\x17"
}

// lens is SPH, CYL and AXIS.
func (b *blocks) lens() string {
	return fmt.Sprintf("%+06.2f%+06.2f%03d", float64(b.rand.IntN(81)-40)/4, -float64(b.rand.IntN(9))/4, b.rand.IntN(180))
}

func (b *blocks) refraction() {
	b.add("VD12.00")
	for _, eye := range []string{"L", "R"} {
		median := b.lens()
		b.add("O%s%s", eye, median)
		b.add("O%s%s9 ", eye, median)
		b.add("O%s%s8 ", eye, b.lens())
	}
	b.add("PD%02d????%02d", 58+b.rand.IntN(10), 55+b.rand.IntN(10))
}

func (b *blocks) keratometry() {
	for _, eye := range []string{"L", "R"} {
		flat := 42 + float64(b.rand.IntN(12))/4
		steep, axis := flat+float64(b.rand.IntN(6))/4, b.rand.IntN(180)
		b.add(" %s%05.2f%05.2f%03d%05.2f", eye, 337.5/flat, 337.5/steep, axis, 675/(flat+steep))
		b.add("D%s%05.2f%05.2f%03d%05.2f%+06.2f", eye, flat, steep, axis, (flat+steep)/2, flat-steep)
	}
}

func (b *blocks) pressure() {
	for _, eye := range []string{"R", "L"} {
		p := 10 + b.rand.IntN(12)
		kPa := float64(p) * 0.1333
		b.add(" %s01%6d/%.1f  AV%.1f/%.2f", eye, p, kPa, float64(p), kPa)
	}
}

func (b *blocks) spectacles() {
	for _, eye := range []string{"R", "L"} {
		b.add(" %s%s", eye, b.lens())
		b.add("A%s+%05.2f", eye, float64(b.rand.IntN(9))/4)
	}
}

// refractorFrame is the final data of a refractor, far and near.
func refractorFrame(r *rand.Rand, id string, at time.Time) string {
	power := func(v float64) string {
		sign := byte(' ')
		if v < 0 {
			sign, v = '-', -v
		} else if v > 0 {
			sign = '+'
		}
		return fmt.Sprintf("%c%5.2f", sign, v)
	}
	text := fmt.Sprintf("\x01NIDEK RT-5100 ID%-12s DA%4d/%2d/%2d\r\x02@RT\r", id, at.Year(), at.Month(), at.Day())
	for _, eye := range []string{"R", "L"} {
		text += fmt.Sprintf("\x02F%s%s%s%3d\r", eye, power(float64(r.IntN(81)-40)/4), power(-float64(r.IntN(9))/4), r.IntN(180))
	}
	return text + fmt.Sprintf("\x02PD%4.1f        \r\x02TT%4d\r\x04\r", 58+float64(r.IntN(20))/2, 100+r.IntN(60))
}
