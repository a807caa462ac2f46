package nidekrs_test

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/protocols/examtest"
	"github.com/hostd/hostd/core/protocols/nidekrs"
	"github.com/hostd/hostd/core/sdk/exam"
)

// stream is every sample behind the other, as one line says it.
func stream(t testing.TB) []byte {
	t.Helper()
	var all []byte
	for _, dir := range []string{"nidek-rs232", "nidek-rs232/handshake", "nidek-rt"} {
		files, err := filepath.Glob("testdata/" + dir + "/*.bin")
		if err != nil || len(files) == 0 {
			t.Fatalf("no samples: %v", err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, b...)
		}
	}
	return all
}

// piece is what a Framer gave.
type piece struct {
	kind   nidekrs.Kind
	summed bool
	raw    uint32 // checksum
	reject exam.Reject
}

// cut is what a Framer makes of the pieces.
func cut(pieces ...[]byte) (list []piece) {
	var framer nidekrs.Framer
	note := func(f nidekrs.Frame) {
		list = append(list, piece{f.Kind, f.Summed, crc32.ChecksumIEEE(f.Raw), f.Reject()})
	}
	for _, b := range pieces {
		for len(b) > 0 {
			f, n, ok := framer.Next(b)
			if b = b[n:]; ok {
				note(f)
			}
		}
	}
	for {
		f, ok := framer.Silence()
		if !ok {
			return list
		}
		note(f)
	}
}

func bytewise(data []byte) [][]byte { return slices.Collect(slices.Chunk(data, 1)) }

// TestSplit holds that it does not matter how bytes come: one by one, in two pieces parted anywhere, in pieces of any size.
func TestSplit(t *testing.T) {
	data := stream(t)
	whole := cut(data)
	if len(whole) < 43 {
		t.Fatalf("%d frames", len(whole))
	}
	if got := cut(bytewise(data)...); !slices.Equal(got, whole) {
		t.Errorf("byte by byte: %d frames, whole %d", len(got), len(whole))
	}
	step := 1
	if testing.Short() {
		step = 41
	}
	for at := 0; at < len(data); at += step {
		if got := cut(data[:at], data[at:]); !slices.Equal(got, whole) {
			t.Fatalf("parted at %d: %d frames, whole %d", at, len(got), len(whole))
		}
	}
	r := rand.New(rand.NewPCG(1, 1))
	for range 50 {
		var pieces [][]byte
		for rest := data; len(rest) > 0; {
			n := 1 + r.IntN(min(len(rest), 100))
			pieces, rest = append(pieces, rest[:n]), rest[n:]
		}
		if got := cut(pieces...); !slices.Equal(got, whole) {
			t.Fatal("in random pieces: other frames")
		}
	}
}

const (
	lens  = "\x01DLM\x02IDNIDEK/LM-7P\x17 R+02.25-00.75095\x17 L+02.50-00.50084\x17\x04"
	short = "\x01NIDEK RT-5100 ID             DA2025/ 3/ 4\r\x02@RT\r\x02FR- 1.25- 0.75 85\r\x04"
)

// TestResync holds where a frame ends, what is left out between two of them, and what a SOH in a wrong place makes of them.
func TestResync(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"checksum, CR, LF":               {lens + "0B3E\r\n" + lens + "0B3E\r", "exam 0 60, exam 62 60"},
		"no CR":                          {lens + "0B3E" + lens + "0B3E", "exam 0 60, exam 60 60"},
		"a second CR is noise":           {lens + "0B3E\r\r" + lens + "0B3E", "exam 0 60, noise 61 1, exam 62 60"},
		"CR without checksum":            {lens + "\r" + lens + "\r\n", "unsummed 0 56, unsummed 57 56"},
		"LF without checksum":            {lens + "\n" + lens, "unsummed 0 56, unsummed 57 56"},
		"nothing at all behind the EOT":  {lens + lens, "unsummed 0 56, unsummed 56 56"},
		"wrong checksum, then a frame":   {lens + "0B3F\r\n" + lens + "0B3E", "checksum 0 61, exam 62 60"},
		"wrong checksum without CR":      {lens + "0B3F" + lens + "0B3E", "checksum 0 60, exam 60 60"},
		"cut in the checksum":            {lens + "0B" + lens + "0B3E", "truncated 0 58, exam 58 60"},
		"cut in the checksum, CR":        {lens + "0B\r" + lens + "0B3E", "truncated 0 58, exam 59 60"},
		"letters that are no checksum":   {lens + "xyz" + lens + "0B3E", "unsummed 0 56, noise 56 3, exam 59 60"},
		"SOH in a segment":               {lens[:30] + lens + "0B3E", "truncated 0 30, exam 30 60"},
		"SOH in a head":                  {lens[:2] + lens + "0B3E", "truncated 0 2, exam 2 60"},
		"SOH after SOH":                  {"\x01" + lens + "0B3E", "truncated 0 1, exam 1 60"},
		"SOH of the same head after ETB": {lens[:37] + lens + "0B3E", "truncated 0 37, exam 37 60"},
		"request after ETB":              {lens[:37] + "\x01C**\x02RS\x17\x04" + lens + "0B3E", "truncated 0 37, control 37 9, exam 46 60"},
		"refractor after ETB":            {lens[:37] + short, "truncated 0 37, refractor 37 68"},
		"cut refractor":                  {short[:40] + short + "\r" + short, "truncated 0 40, refractor 40 68, refractor 109 68"},
		"end without a beginning":        {"\x17\x040B3E\r" + lens + "0B3E", "noise 0 7, exam 7 60"},
		"seven bits, odd parity":         {odd(lens + "0B3E\r"), "parity 0 56, noise 56 5"},
		"seven bits, even parity":        {even(short + "\r"), "parity 0 69"},
		"many bad bytes":                 {"\x01NIDEK RT\x00\x00\x00\x00\x00\x00\x04\r", "parity 0 16"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for f := range nidekrs.Frames([]byte(c.in)) {
				word := [...]string{"", "exam", "refractor", "control", f.Reject().Reason}[f.Kind]
				if f.Kind == nidekrs.Exam && !f.Summed {
					word = "unsummed"
				}
				got = append(got, fmt.Sprintf("%s %d %d", word, f.Offset, len(f.Raw)))
				if _, bits, ok := strings.Cut(name, "seven bits, "); ok && word == "parity" && !strings.Contains(f.Reject().Detail, "7 data bits with "+bits) {
					t.Errorf("it says %q", f.Reject().Detail)
				}
			}
			if s := strings.Join(got, ", "); s != c.want {
				t.Errorf("%s, want %s", s, c.want)
			}
		})
	}
}

func even(s string) string { return parity(s, 0) }
func odd(s string) string  { return parity(s, 1) }

// parity is what a line of 7 data bits with a parity bit looks like where 8 data bits are read.
func parity(s string, want int) string {
	b := []byte(s)
	for i, c := range b {
		ones := 0
		for bit := c; bit > 0; bit >>= 1 {
			ones += int(bit & 1)
		}
		if ones%2 != want {
			b[i] |= 0x80
		}
	}
	return string(b)
}

// TestWaiting holds for what a silence is waited for after each byte.
func TestWaiting(t *testing.T) {
	for in, want := range map[string]nidekrs.Wait{
		"": nidekrs.Nothing, "\x01": nidekrs.Rest, "x": nidekrs.Rest, "\x01DLM": nidekrs.Rest, lens: nidekrs.Tail, lens + "0B": nidekrs.Rest,
		lens + "0B3F": nidekrs.Tail, lens + "0B3E": nidekrs.Nothing, lens + "0B3E\r": nidekrs.Nothing, lens + "\r": nidekrs.Nothing,
		short: nidekrs.Nothing, short[:60]: nidekrs.Rest, "\x01C**\x02RS\x17\x04": nidekrs.Nothing,
	} {
		var f nidekrs.Framer
		for b := []byte(in); len(b) > 0; {
			_, n, _ := f.Next(b)
			b = b[n:]
		}
		if got := f.Waiting(); got != want {
			t.Errorf("%q: waits for %d, want %d", in, got, want)
		}
	}
}

// TestCap holds that a frame and noise without end are given in parts, and that the next frame is read.
func TestCap(t *testing.T) {
	const most = nidekrs.MaxFrame
	long := "\x01DLM\x02" + strings.Repeat("x", 2*most) + lens + "0B3E\r" + strings.Repeat("y", most+1) + lens + "0B3E\r"
	var got []string
	limit := examtest.MaxAlloc(len(long))
	if n := examtest.Allocated(limit, func() {
		got = nil
		for f := range nidekrs.Frames([]byte(long)) {
			got = append(got, fmt.Sprint(f.Kind, " ", f.Reject().Reason, len(f.Raw)))
		}
	}); n > limit {
		t.Errorf("%d bytes allocated", n)
	}
	want := []string{
		fmt.Sprint(4, " ", exam.RejectTooLarge, most), fmt.Sprint(4, " ", exam.RejectNoise, most), fmt.Sprint(4, " ", exam.RejectNoise, 5), "1 60",
		fmt.Sprint(4, " ", exam.RejectNoise, most), fmt.Sprint(4, " ", exam.RejectNoise, 1), "1 60",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// FuzzFramer parts the input at a place, and wants the same frames as of the whole, with every byte in one of them but for
// CR and LF behind an end.
func FuzzFramer(f *testing.F) {
	data := stream(f)
	f.Add(data[:2000], 100)
	f.Add([]byte(lens+"0B3E\r\n"+short), 57)
	f.Add([]byte(lens[:37]+"\x01C**\x02RS\x17\x04"+odd(lens)), 40)
	f.Fuzz(func(t *testing.T, data []byte, at int) {
		at = max(0, min(at, len(data)))
		before := bytes.Clone(data)
		whole := cut(data)
		if got := cut(data[:at], data[at:]); !slices.Equal(got, whole) {
			t.Fatalf("parted at %d\n%+v\nwhole\n%+v", at, got, whole)
		}
		if len(data) < 4096 {
			if got := cut(bytewise(data)...); !slices.Equal(got, whole) {
				t.Fatalf("byte by byte\n%+v\nwhole\n%+v", got, whole)
			}
		}
		end := int64(0)
		for fr := range nidekrs.Frames(data) {
			if gap := data[end:fr.Offset]; len(bytes.Trim(gap, "\r\n")) > 0 || len(gap) > 2 {
				t.Fatalf("lost %q", gap)
			}
			end = fr.Offset + int64(len(fr.Raw))
			if !bytes.Equal(data[fr.Offset:end], fr.Raw) {
				t.Fatal("a frame is not what came")
			}
		}
		if gap := data[end:]; len(bytes.Trim(gap, "\r\n")) > 0 || len(gap) > 2 {
			t.Fatalf("lost %q", gap)
		}
		if !bytes.Equal(before, data) {
			t.Fatal("input was changed")
		}
	})
}

// FuzzExam reads what frames say, with their checksum mended.
func FuzzExam(f *testing.F) {
	examtest.Seed(f, "testdata")
	f.Fuzz(func(t *testing.T, data []byte) {
		for fr := range nidekrs.Frames(data) {
			if fr.Kind == nidekrs.Control {
				fr.Control()
				continue
			}
			raw := bytes.Clone(fr.Raw)
			fr.Raw, fr.Offset = raw, 0
			examtest.Bounded(t, raw, func() (r exam.Result) {
				if fr.Kind == nidekrs.Rejected {
					return exam.Result{Rejects: []exam.Reject{fr.Reject()}}
				}
				e, reject := new(nidekrs.Reader).Read(&fr)
				if reject != nil {
					return exam.Result{Rejects: []exam.Reject{*reject}}
				}
				return exam.Result{Exams: []*exam.Exam{e}}
			})
		}
	})
}
