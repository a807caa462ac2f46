package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/hostd/hostd/core/sdk/serve"
	"github.com/hostd/hostd/core/sdk/sim"
)

// instrument exports exams of invented people into a folder, as the maker's programs do.
type instrument struct {
	dir    sim.Folder
	format string
	rand   *rand.Rand
	next   int // number of the next exam
}

// Ways in which an export goes wrong. Each exam is there whole in the end, once.
const (
	slow       = "slow"        // written in pieces over a second
	partial    = "partial"     // half of another file beside it, for good: the instrument was switched off
	renameOver = "rename-over" // exported twice, the second file renamed over the first
	malformed  = "malformed"   // a damaged file beside it
)

// simulate is `folder simulate`.
func simulate(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("folder simulate", flag.ContinueOnError)
	dir := flags.String("dir", "", "folder into which it exports; it must be there")
	format := flags.String("format", "joia", "joia or nidek")
	count := flags.Int("count", 1, "how many exams; 0 is no end")
	every := flags.Duration("every", 2*time.Second, "pause between two exams")
	ways := flags.String("misbehave", "", "slow, partial, rename-over, malformed, in turn; separated by commas")
	seed := flags.Uint64("seed", 0, "the same seed makes the same people; 0 takes one from the clock")
	suite := flags.Bool("conformance", false, "be the instrument of the conformance suite, in a folder of its own")
	if err := serve.ParseFlags(flags, args, out); err != nil {
		return err
	}
	if *suite {
		return conformance(ctx, in, out)
	}
	turns, err := waysOf(*ways)
	switch {
	case err != nil:
		return serve.Usage(err)
	case *dir == "":
		return serve.Usage(errors.New("--dir is missing: into which folder does it export?"))
	case *format != "joia" && *format != "nidek":
		return serve.Usage(errors.New("--format is joia or nidek"))
	case *count < 0 || *every < 0:
		return serve.Usage(errors.New("--count and --every cannot be negative"))
	}
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	if _, err := fmt.Fprintf(out, "exports to %s with seed %d\n", *dir, *seed); err != nil {
		return err
	}
	i := newInstrument(*dir, *format, *seed)
	for n := 0; *count == 0 || n < *count; n++ {
		if err := i.after(ctx, n, *every); err != nil {
			return err
		}
		if err := i.export(ctx, turns[n%len(turns)], out); err != nil {
			return err
		}
	}
	return nil
}

// waysOf are the ways to export, of which each exam takes the next one.
func waysOf(list string) ([]string, error) {
	if list == "" {
		return []string{""}, nil
	}
	ways := strings.Split(list, ",")
	for _, w := range ways {
		if !slices.Contains([]string{slow, partial, renameOver, malformed}, w) {
			return nil, errors.New("--misbehave knows slow, partial, rename-over and malformed")
		}
	}
	return ways, nil
}

func newInstrument(dir, format string, seed uint64) *instrument {
	return &instrument{dir: sim.Folder(dir), format: format, rand: rand.New(rand.NewPCG(seed, 0)), next: 1}
}

// after waits between two exams.
func (i *instrument) after(ctx context.Context, n int, every time.Duration) error {
	if n == 0 {
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(every):
		return nil
	}
}

// export writes the next exam in one of the ways, and says so.
func (i *instrument) export(ctx context.Context, way string, out io.Writer) error {
	name, content := i.exam()
	var err error
	switch way {
	case slow:
		err = i.dir.WriteSlowly(ctx, name, content, 5, 200*time.Millisecond)
	case partial:
		err = errors.Join(i.dir.Write("cut-"+name, content[:len(content)/2]), i.dir.Write(name, content))
	case renameOver:
		err = errors.Join(i.dir.RenameIn(name, content), i.dir.RenameIn(name, content))
	case malformed:
		damaged := slices.Clone(content)
		damaged[len(damaged)/2] = '<'
		err = errors.Join(i.dir.Write("bad-"+name, damaged), i.dir.Write(name, content))
	default:
		err = i.dir.Write(name, content)
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, strings.TrimSpace(name+" "+way))
	return err
}

// exam makes the next exam of an invented person, and its file's name.
func (i *instrument) exam() (name string, content []byte) {
	n := i.next
	i.next++
	at := time.Date(2025, 3, 24, 8, 0, 0, 0, time.UTC).Add(time.Duration(n) * 5 * time.Minute)
	id := fmt.Sprintf("S-%06d", i.rand.IntN(1_000_000))
	eye := func() string {
		return fmt.Sprintf("<Sphere>%+.2f</Sphere><Cylinder>%+.2f</Cylinder><Axis>%d</Axis>",
			float64(i.rand.IntN(41)-20)/4, -float64(i.rand.IntN(9))/4, i.rand.IntN(181))
	}
	right, left := eye(), eye()
	if i.format == "nidek" {
		text := fmt.Sprintf("<?xml version=\"1.0\" encoding=\"UTF-16\"?>\r\n<Data><Company>NIDEK</Company><ModelName>ARK-1s</ModelName><Date>%s</Date>"+
			"<Time>%s</Time><Patient><No.>%04d</No.><ID>%s</ID></Patient><R><AR><ARMedian>%s</ARMedian></AR></R><L><AR><ARMedian>%s</ARMedian></AR></L></Data>\r\n",
			at.Format("2006/01/02"), at.Format(time.TimeOnly), n, id, right, left)
		return fmt.Sprintf("ARK_%-14s_%s.xml", id, at.Format("20060102150405")), utf16le(text)
	}
	text := fmt.Sprintf("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<Ophthalmology><Common><Company>TOPCON</Company><ModelName>KR-800S</ModelName><Date>%s</Date>"+
		"<Time>%s</Time><Patient><No.>%04d</No.><ID>%s</ID><FirstName>Probe</FirstName><LastName>Invented</LastName></Patient></Common>"+
		"<Measure type=\"REF\"><REF><R><List No=\"1\">%s</List></R><L><List No=\"1\">%s</List></L></REF></Measure></Ophthalmology>\r\n",
		at.Format(time.DateOnly), at.Format(time.TimeOnly), n, id, right, left)
	return fmt.Sprintf("%04d_%s_TOPCON_KR-800S_.xml", n, at.Format("20060102_150405")), []byte(text)
}

// utf16le is the text with a byte order mark, as NIDEK writes it.
func utf16le(text string) []byte {
	b := []byte{0xff, 0xfe}
	for _, u := range utf16.Encode([]rune(text)) {
		b = append(b, byte(u), byte(u>>8))
	}
	return b
}

// conformance is the instrument of the suite.
func conformance(ctx context.Context, in io.Reader, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "folder-simulate-")
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	i := newInstrument(dir, "joia", 1)
	return sim.Conformance(ctx, in, out, sim.Instrument{
		Settings: map[string]any{"dir": dir, "format": "joia", "settle": "0s", "existing": "import"},
		Produce: func(n int) error {
			for range n {
				if err := i.dir.RenameIn(i.exam()); err != nil {
					return err
				}
			}
			return nil
		},
		Large: func(size int) error {
			name, content := i.exam()
			return i.dir.RenameIn(name, slices.Concat(content, []byte("<!--"), bytes.Repeat([]byte("."), size), []byte("-->")))
		},
	})
}
