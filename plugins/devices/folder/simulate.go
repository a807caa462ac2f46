package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/hostd/hostd/core/sdk/serve"
	"github.com/hostd/hostd/core/sdk/sim"
)

// instrument exports exams of invented people into a folder, as the maker's programs do.
type instrument struct {
	dir      sim.Folder
	format   string
	rand     *rand.Rand
	next     int    // number of the next exam
	numbered bool   // patients are K-000001 and so on
	done     string // where a file goes that was stored, where it is looked for; else empty
	waiting  []export
}

// export is a file that is not in done yet.
type export struct{ name, id string }

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
	format := flags.String("format", "joia", strings.Join(formats, ", ")+"; docs/devices/folder.md has the map of csv and json")
	count := flags.Int("count", 1, "how many exams; 0 is no end")
	every := flags.Duration("every", 2*time.Second, "pause between two exams")
	ways := flags.String("misbehave", "", "slow, partial, rename-over, malformed, in turn; separated by commas")
	seed := flags.Uint64("seed", 0, "the same seed makes the same people; 0 takes one from the clock")
	numbered := flags.Bool("numbered", false, "the patients are K-000001 and so on; it says which file is in done, and ends when all are")
	done := flags.String("done", "", "with --numbered: done_dir of the device; DIR/done where nothing is written")
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
	case !slices.Contains(formats, *format):
		return serve.Usage(errors.New("--format is one of " + strings.Join(formats, ", ")))
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
	if i.numbered = *numbered; i.numbered {
		if i.done = *done; i.done == "" {
			i.done = filepath.Join(*dir, "done")
		}
	}
	for n := 0; *count == 0 || n < *count; n++ {
		if err := i.after(ctx, n, *every); err != nil {
			return err
		}
		if err := errors.Join(i.export(ctx, turns[n%len(turns)], out), i.answered(out)); err != nil {
			return err
		}
	}
	return i.await(ctx, out)
}

// await looks until every file is in done.
func (i *instrument) await(ctx context.Context, out io.Writer) error {
	const between = 50 * time.Millisecond
	for len(i.waiting) > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(between):
		}
		if err := i.answered(out); err != nil {
			return err
		}
	}
	return nil
}

// answered says which files have come to done: their exams are on the host's disk.
func (i *instrument) answered(out io.Writer) error {
	var left []export
	for _, e := range i.waiting {
		_, err := os.Stat(filepath.Join(i.done, e.name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			left = append(left, e)
			continue
		case err == nil:
			_, err = fmt.Fprintln(out, "answered "+e.id)
		}
		if err != nil {
			return err
		}
	}
	i.waiting = left
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
	if i.numbered {
		i.waiting = append(i.waiting, export{name, numberedID(i.next - 1)})
	}
	var err error
	switch way {
	case slow:
		err = i.dir.WriteSlowly(ctx, name, content, 5, 200*time.Millisecond)
	case partial:
		err = errors.Join(i.dir.Write("cut-"+name, content[:len(content)/2]), i.dir.Write(name, content))
	case renameOver:
		err = errors.Join(i.dir.RenameIn(name, content), i.dir.RenameIn(name, content))
	case malformed:
		damaged := slices.Concat(bytes.Repeat([]byte{1}, len(content)/2), content[len(content)/2:])
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
