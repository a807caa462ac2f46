package main

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/hostd/hostd/core/sdk/exam"
)

// firstDay is when the invented clinic opened; record n is taken n seconds later.
var firstDay = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// names are invented and equally long, so that one takes another's place.
var names = [...]string{"Muster Anna", "Probe Benno", "Dummy Carla", "Modell Dora", "Beispiel Jo", "Attrape Mia", "Test Gustav", "Entwurf Ida"}

// sheet is an exam's JSON with marks where the values go: making a record is overwriting digits of a fixed width.
type sheet struct {
	text                   []byte
	id, name, birth, day   int // where they stand in text
	hour                   int
	sphere, cylinder, axis []int // of the right and the left eye
	iop                    []int
	dayNumber              int64 // whose date dayText is
	dayText                [10]byte
}

// Marks in the sheet. They are valid values themselves, and occur nowhere else.
const (
	markID       = "P-000000"
	markBirth    = "1940-01-01"
	markDay      = "2020-01-01"
	markHour     = "00:00:00"
	markSphere   = -8.88
	markCylinder = -7.77
	markAxis     = 199
	markIOP      = 66
)

// newSheet makes a sheet of size bytes, or of as few as an exam can have where that is more.
func newSheet(size int) (sheet, error) {
	e := &exam.Exam{
		Patient: exam.Patient{ID: markID, Name: names[0], Birth: markBirth, Sex: "O"},
		Device:  exam.Device{Make: "hostd", Model: "generator", Serial: "0"},
		TakenAt: markDay + "T" + markHour + "Z",
	}
	eyes := append(findings(exam.Right), findings(exam.Left)...)
	note := exam.Observation{Code: exam.CodeNote, Eye: exam.Both, Value: exam.Text("-")}
	for n := len(eyes); ; n-- {
		e.Observations = append(append([]exam.Observation(nil), eyes[:n]...), note)
		text, err := exam.Encode(e)
		if err != nil {
			return sheet{}, fmt.Errorf("encode sheet: %w", err)
		}
		if len(text) > size && n > 0 {
			continue
		}
		e.Observations[n].Value = exam.Text(filler(1 + max(0, size-len(text))))
		text, err = exam.Encode(e)
		return marked(text), err
	}
}

func findings(eye string) []exam.Observation {
	return []exam.Observation{
		{Code: exam.CodeSphere, Eye: eye, Value: exam.Number(markSphere), Unit: exam.UnitDioptre, Method: exam.MethodAutoref},
		{Code: exam.CodeCylinder, Eye: eye, Value: exam.Number(markCylinder), Unit: exam.UnitDioptre, Method: exam.MethodAutoref},
		{Code: exam.CodeAxis, Eye: eye, Value: exam.Number(markAxis), Unit: exam.UnitDegree, Method: exam.MethodAutoref},
		{Code: exam.CodeIOP, Eye: eye, Value: exam.Number(markIOP), Unit: exam.UnitMMHg, Method: exam.MethodTono},
	}
}

// filler is a remark of n bytes that stands for real content: text, not one letter over and over.
func filler(n int) string {
	const words = "invented exam, made for demonstration and load; no person and no instrument stands behind it. "
	return strings.Repeat(words, n/len(words)+1)[:n]
}

func marked(text []byte) sheet {
	at := func(mark string) int { return bytes.Index(text, []byte(mark)) }
	return sheet{
		text: text, id: at(markID) + 2, name: at(names[0]), birth: at(markBirth), day: at(markDay + "T"), hour: at(markHour),
		sphere: all(text, "-8.88"), cylinder: all(text, "-7.77"), axis: all(text, "199"), iop: all(text, ":66,"), dayNumber: -1,
	}
}

func all(text []byte, mark string) (at []int) {
	for from := 0; ; from += len(mark) {
		i := bytes.Index(text[from:], []byte(mark))
		if i < 0 {
			return at
		}
		from += i
		at = append(at, from)
	}
}

// fill writes record n of the seed into data, which holds a copy of the sheet, and says when it was taken.
func (s *sheet) fill(data []byte, seed int, n int64) time.Time {
	h := mix(uint64(seed)*0x9e3779b97f4a7c15 + uint64(n))
	person := h % 1_000_000
	put(data[s.id:s.id+6], person)
	copy(data[s.name:], names[person%uint64(len(names))])
	put(data[s.birth:s.birth+4], 1940+person%80)
	put(data[s.birth+5:s.birth+7], 1+person%12)
	put(data[s.birth+8:s.birth+10], 1+person%28)
	s.fillTime(data, n)
	h >>= 20
	for i := range s.sphere {
		quarters(data[s.sphere[i]+1:], h)
		h >>= 6
	}
	for i := range s.cylinder {
		quarters(data[s.cylinder[i]+1:], h&15)
		h >>= 4
	}
	for i := range s.axis {
		put(data[s.axis[i]+1:s.axis[i]+3], h%80)
		h >>= 5
	}
	for i := range s.iop {
		put(data[s.iop[i]+1:s.iop[i]+3], 10+h%12)
		h >>= 4
	}
	return time.Unix(firstDay.Unix()+n, 0).UTC()
}

func (s *sheet) fillTime(data []byte, n int64) {
	const perDay = 24 * 60 * 60
	if day := n / perDay; day != s.dayNumber {
		s.dayNumber = day
		firstDay.AddDate(0, 0, int(day)).AppendFormat(s.dayText[:0], time.DateOnly)
	}
	copy(data[s.day:], s.dayText[:])
	second := uint64(n % perDay)
	put(data[s.hour:s.hour+2], second/3600)
	put(data[s.hour+3:s.hour+5], second/60%60)
	put(data[s.hour+6:s.hour+8], second%60)
}

// quarters writes 0.00 to 7.75 in steps of 0.25.
func quarters(data []byte, h uint64) {
	data[0] = '0' + byte(h>>2&7)
	put(data[2:4], h&3*25)
}

// put writes v with leading zeros.
func put(data []byte, v uint64) {
	for i := len(data) - 1; i >= 0; i-- {
		data[i] = '0' + byte(v%10)
		v /= 10
	}
}

// mix is the finalizer of SplitMix64: neighbouring numbers become unlike ones.
func mix(x uint64) uint64 {
	x ^= x >> 30
	x *= 0xbf58476d1ce4e5b9
	x ^= x >> 27
	x *= 0x94d049bb133111eb
	return x ^ x>>31
}
