package lineprofile_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/protocols/examtest"
	"github.com/hostd/hostd/core/protocols/lineprofile"
	"github.com/hostd/hostd/core/sdk/exam"
)

// FuzzDecode reads any bytes with each shipped profile: bounded, and every byte is in an exam's frame, a reject, or a gap of
// line ends and filling.
func FuzzDecode(f *testing.F) {
	examtest.Seed(f, "testdata")
	var profiles []*lineprofile.Profile
	for _, name := range lineprofile.Shipped() {
		profiles = append(profiles, named(f, name))
	}
	profiles = append(profiles, load(f, frames+"checksum: {kind: sum, place: behind, digits: 4}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, p := range profiles {
			examtest.Bounded(t, data, func() exam.Result { return p.Decode(data) })
			accounted(t, p, data)
		}
	})
}

// accounted holds that the framer passes over nothing but filling, whatever pieces the data come in.
func accounted(t *testing.T, p *lineprofile.Profile, data []byte) {
	fr, at, lost := p.NewFramer(), int64(0), false
	take := func(next func() (lineprofile.Piece, bool)) {
		for piece, ok := next(); ok; piece, ok = next() {
			if piece.Offset < at || len(piece.Data) == 0 || !bytes.Equal(piece.Data, data[piece.Offset:piece.End()]) {
				t.Fatalf("%s: piece at %d of %d bytes", p.Name, piece.Offset, len(piece.Data))
			}
			if gap := bytes.Trim(data[at:piece.Offset], "\r\n\x00 "); len(gap) > 0 && !lost {
				t.Fatalf("%s: %d bytes are passed over before %d", p.Name, len(gap), piece.Offset)
			}
			lost = piece.Reason == exam.RejectTooLarge && p.Frame.Start == "" // its end is known to belong to it
			at = piece.End()
		}
	}
	for n := 1; len(data[fr.Received():]) > 0; n = n%7 + 1 {
		rest := data[fr.Received():]
		fr.Add(rest[:min(n, len(rest))])
		take(fr.Next)
	}
	take(fr.Silence)
	if fr.Pending() || len(bytes.Trim(data[at:], "\r\n\x00 ")) > 0 && !lost {
		t.Fatalf("%s: the end is passed over", p.Name)
	}
}

// FuzzLoad takes any bytes for a profile: it is refused with faults that name lines, or it decodes within the bounds.
func FuzzLoad(f *testing.F) {
	files, err := filepath.Glob("profiles/*.yaml")
	if err != nil || len(files) < 6 {
		f.Fatal(len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte(frames + "checksum: {kind: xor, place: behind}\nrepeat: 1s\nmake: A\nmodel: B\nack: <ACK>\n"))
	samples, err := filepath.Glob("testdata/*.bin")
	if err != nil || len(samples) == 0 {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := lineprofile.Load(text)
		if err != nil {
			var faults lineprofile.Faults
			if !errors.As(err, &faults) || len(faults) == 0 || faults[0].Line < 1 || faults[0].Text == "" {
				t.Fatal(err)
			}
			return
		}
		for _, sample := range samples {
			data, err := os.ReadFile(sample)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range p.Decode(data).Exams {
				if _, err := exam.Encode(e); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// The rates are of what comes over the line: BenchmarkFraming cuts frames and checks their sums, BenchmarkDecode is what the
// rules do.
func BenchmarkFraming(b *testing.B) {
	for sample, name := range profileOf {
		b.Run(sample, func(b *testing.B) {
			p, data := stream(b, sample, name)
			framing(b, p, data)
		})
	}
	b.Run("sum", func(b *testing.B) {
		p := load(b, frames+"checksum: {kind: sum, place: behind, digits: 4}\nsample: ['<STX>"+strings.Repeat("14 ", 60)+"<ETX>']\n")
		frame, err := p.Play(lineprofile.Values{})
		if err != nil {
			b.Fatal(err)
		}
		framing(b, p, bytes.Repeat(frame, 256<<10/len(frame)))
	})
}

func framing(b *testing.B, p *lineprofile.Profile, data []byte) {
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		f, n := p.NewFramer(), 0
		for rest := data; len(rest) > 0; {
			k := min(len(rest), 4<<10)
			f.Add(rest[:k])
			rest = rest[k:]
			for piece, ok := f.Next(); ok; piece, ok = f.Next() {
				if piece.Reason != "" || !p.Sound(&piece) {
					b.Fatal(piece.Reason)
				}
				n += len(piece.Data)
			}
		}
		if n < len(data)/2 {
			b.Fatal(n)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // as package serve has it for every plugin
	for sample, name := range profileOf {
		b.Run(sample, func(b *testing.B) {
			p, data := stream(b, sample, name)
			f := p.NewFramer()
			f.Add(data)
			piece, ok := f.Next()
			if !ok {
				b.Fatal("no frame")
			}
			b.SetBytes(int64(len(piece.Data)))
			b.ReportAllocs()
			r := p.NewReader()
			for b.Loop() {
				if e, reject := r.Exam(&piece); reject != nil || len(e.Observations) == 0 {
					b.Fatal(reject)
				}
			}
		})
	}
}

// stream is the sample again and again, 256 KiB.
func stream(b *testing.B, sample, name string) (*lineprofile.Profile, []byte) {
	data, err := os.ReadFile(filepath.Join("testdata", sample))
	if err != nil {
		b.Fatal(err)
	}
	if bytes.Contains([]byte(sample), []byte("truncated")) {
		b.Skip("no whole frame in it")
	}
	return named(b, name), bytes.Repeat(append(data, '\n'), 256<<10/len(data))
}
