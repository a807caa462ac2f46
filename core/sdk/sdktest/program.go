package sdktest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/sdk"
)

// Program is a program and its arguments that plays an instrument or a destination, in any language: docs/contract.md
// says what it prints, and what it is told. Each rule starts it anew. Its temporary folder (TMPDIR, TEMP) is its own,
// and is removed at its end.
type Program []string

// Times of a program.
const (
	programTime = 15 * time.Second // for its first line, and for each answer
	programEnd  = 2 * time.Second  // from the end of its standard input to its own
)

// Answers of a program.
const (
	answerOK = "ok"
	answerNo = "no" // it does not know the word, or cannot
)

// greeting is the first line that a program prints.
type greeting struct {
	Settings   map[string]any `json:"settings"`
	Records    int            `json:"records"`    // instrument: it has them from the beginning
	Idempotent bool           `json:"idempotent"` // destination: a record that comes again is stored once
	Receipts   bool           `json:"receipts"`   // destination: what the sink stores is what has a receipt in the host's database
	Bad        *badRecord     `json:"bad"`        // destination: a record that the sink refuses for good
}

// badRecord is such a record. The attachment is a hash that nobody has.
type badRecord struct {
	ID          string `json:"id"`
	Kind        string `json:"kind"`
	ContentType string `json:"content_type"`
	Data        string `json:"data"`
	Raw         string `json:"raw"`
	Attachment  string `json:"attachment"`
}

// make gives the record as Sink.Bad.
func (b *badRecord) make() func() sdk.Record {
	if b == nil {
		return nil
	}
	return func() sdk.Record {
		r := sdk.Record{ID: b.ID, Kind: b.Kind, ContentType: b.ContentType, Data: []byte(b.Data)}
		if b.Raw != "" {
			r.Raw = []byte(b.Raw)
		}
		if b.Attachment != "" {
			r.Attachments = []sdk.Attachment{{Name: "lost.bin", Size: 1, Hash: b.Attachment}}
		}
		return r
	}
}

// Instrument starts the program as the instrument of one rule.
func (p Program) Instrument(t testing.TB) Instrument {
	t.Helper()
	play := p.begin(t)
	in := Instrument{Settings: play.said.Settings, Records: play.said.Records}
	if play.tell("produce 0") {
		in.Produce = func(n int) { play.must(fmt.Sprintf("produce %d", n)) }
	}
	if play.tell("large 0") {
		in.Large = func(size int) { play.must(fmt.Sprintf("large %d", size)) }
	}
	return in
}

// Destination starts the program as the destination of one rule.
func (p Program) Destination(t testing.TB) Destination {
	t.Helper()
	play := p.begin(t)
	to := Destination{Settings: play.said.Settings, Stored: play.stored}
	if play.said.Receipts {
		store := &Store{}
		to.Store, to.Stored = store, func(testing.TB) []string { return store.IDs() }
	}
	if play.tell("mend") {
		to.Break = func(testing.TB) func() {
			play.must("break")
			return func() { play.must("mend") }
		}
	}
	return to
}

// player is a program that runs.
type player struct {
	t     testing.TB
	name  string
	said  greeting
	in    io.WriteCloser
	out   io.ReadCloser
	lines chan string // what it prints; closed at its end
	words *tail
}

// begin starts the program and hears what it says first. It ends with t.
func (p Program) begin(t testing.TB) *player {
	t.Helper()
	play := &player{t: t, name: strings.Join(p, " "), lines: make(chan string, 16), words: &tail{}}
	g := life.NewGroup(context.WithoutCancel(t.Context()))
	cmd := exec.CommandContext(g.Context(), p[0], p[1:]...) //nolint:gosec // the caller's own program
	dir := t.TempDir()
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "TEMP="+dir, "TMP="+dir)
	cmd.Stderr, cmd.WaitDelay = play.words, time.Second
	var err error
	if play.out, err = cmd.StdoutPipe(); err != nil {
		t.Fatalf("%s: standard output: %v", play.name, err)
	}
	if play.in, err = cmd.StdinPipe(); err != nil {
		t.Fatalf("%s: standard input: %v", play.name, err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s: start: %v", play.name, err)
	}
	g.Go("lines", func(ctx context.Context) error {
		defer close(play.lines)
		err := play.read(ctx)
		_ = cmd.Wait() // how it ends is its own affair; all that it said is there then
		return err
	})
	t.Cleanup(func() { play.end(g) })
	first := play.line()
	dec := json.NewDecoder(strings.NewReader(first))
	dec.UseNumber()
	if err := dec.Decode(&play.said); err != nil {
		t.Fatalf("%s: its first line is not one JSON object: %.200q", play.name, first)
	}
	return play
}

// read hands the lines on until the program ends.
func (p *player) read(ctx context.Context) error {
	scan := bufio.NewScanner(p.out)
	scan.Buffer(nil, 64<<20)
	for scan.Scan() {
		select {
		case p.lines <- scan.Text():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return scan.Err()
}

// end closes the program's standard input, at which it ends by itself or is killed.
func (p *player) end(g *life.Group) {
	_ = p.in.Close() // it may have ended already
	over := time.NewTimer(programEnd)
	defer over.Stop()
	for open := true; open; {
		select {
		case _, open = <-p.lines:
		case <-over.C:
			g.Cancel()
			_ = p.out.Close() // what it has started may hold the other end
		}
	}
	_ = g.Wait() // its error is how the program ended
}

// line is the next line that it prints.
func (p *player) line() string {
	p.t.Helper()
	over := time.NewTimer(programTime)
	defer over.Stop()
	select {
	case line, ok := <-p.lines:
		if ok {
			return line
		}
		p.t.Fatalf("%s: ended before it answered: %s", p.name, p.words)
	case <-over.C:
		p.t.Fatalf("%s: no answer within %v: %s", p.name, programTime, p.words)
	case <-p.t.Context().Done():
		p.t.Fatalf("%s: %v", p.name, p.t.Context().Err())
	}
	return ""
}

// ask gives the answer to a line.
func (p *player) ask(line string) string {
	p.t.Helper()
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		p.t.Fatalf("%s: say %s: %v: %s", p.name, line, err, p.words)
	}
	return p.line()
}

// tell is whether it does what it is told.
func (p *player) tell(line string) bool {
	p.t.Helper()
	switch answer := strings.TrimSpace(p.ask(line)); answer {
	case answerOK:
		return true
	case answerNo:
		return false
	default:
		p.t.Fatalf("%s: answered %.200q to %q, want ok or no", p.name, answer, line)
	}
	return false
}

// must has it do what it is told.
func (p *player) must(line string) {
	p.t.Helper()
	if !p.tell(line) {
		p.t.Fatalf("%s: it does not do %q", p.name, line)
	}
}

// stored asks a destination for the ids that it holds.
func (p *player) stored(t testing.TB) (ids []string) {
	t.Helper()
	answer := p.ask("stored")
	if err := json.Unmarshal([]byte(answer), &ids); err != nil {
		t.Fatalf("%s: answered %.200q to \"stored\", want a list of ids in JSON", p.name, answer)
	}
	return ids
}

// tail keeps the end of what a program writes to its standard error. One goroutine writes; it is read when that has ended
// or says no more.
type tail struct{ book }

// String is at most 500 bytes of it.
func (w *tail) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := bytes.TrimSpace(w.text.Bytes())
	if len(text) == 0 {
		return "it said nothing on its standard error"
	}
	return "it said: " + string(text[max(0, len(text)-500):])
}
