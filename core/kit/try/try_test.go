package try

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hostd/hostd/core/internal/wire"
	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
	"github.com/hostd/hostd/core/sdk/sdktest"
)

// screen keeps what is shown, and ends the try when it shows the words.
type screen struct {
	until string
	stop  context.CancelFunc
	mu    sync.Mutex
	text  bytes.Buffer // guarded by mu
}

// Write is io.Writer's.
func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text.Write(b)
	if s.until != "" && strings.Contains(s.text.String(), s.until) {
		s.stop()
	}
	return len(b), nil
}

// run tries until the words are shown, and gives all that was shown.
func run(t *testing.T, o Options, until string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s := &screen{until: until, stop: cancel}
	o.Out = s
	if o.State == "" {
		o.State = t.TempDir()
	}
	if err := Run(ctx, o); err != nil {
		t.Fatalf("try: %v\n%s", err, s.text.String())
	}
	if !strings.Contains(s.text.String(), until) {
		t.Fatalf("%q was not shown:\n%s", until, s.text.String())
	}
	return s.text.String()
}

func generator(t *testing.T) Options {
	return Options{
		Binary: sdktest.Build(t, "../../../plugins/devices/generator"), Answer: Ack, State: t.TempDir(), Settings: map[string]any{"count": 5000},
	}
}

// TestDevice tries one binary in every way.
func TestDevice(t *testing.T) {
	o := generator(t)
	t.Run("goes on where it was", func(t *testing.T) { goesOn(t, o) })
	t.Run("answers", func(t *testing.T) { answers(t, o) })
	t.Run("wrong settings are refused before open", func(t *testing.T) { wrongSettings(t, o) })
	t.Run("attach", func(t *testing.T) { attach(t, o) })
	t.Run("no debug mode in a host", func(t *testing.T) { noDebug(t, o) })
}

func goesOn(t *testing.T, o Options) {
	o.State = t.TempDir()
	first := run(t, o, "\nacknowledged ")
	for _, want := range []string{"generator", "a device", "open at the beginning", "autoref", "closed; nothing was open"} {
		if !strings.Contains(first, want) {
			t.Errorf("%q is not shown:\n%s", want, first)
		}
	}
	position, err := os.ReadFile(filepath.Join(o.State, "position"))
	if err != nil || len(position) == 0 {
		t.Fatalf("the position is not kept: %q, %v", position, err)
	}
	o.JSON = true
	if second := run(t, o, `"event":"open"`); !strings.Contains(second, `"position":"`+string(position)+`"`) {
		t.Errorf("does not go on at %q:\n%s", position, second)
	}
}

func answers(t *testing.T, o Options) {
	t.Run(Refuse, func(t *testing.T) {
		o := o
		o.Answer, o.State = Refuse, t.TempDir()
		run(t, o, "refused 1: full")
		if _, err := os.Stat(filepath.Join(o.State, "position")); !os.IsNotExist(err) {
			t.Errorf("a refused batch moved the position: %v", err)
		}
	})
	t.Run(Ask, func(t *testing.T) {
		in, answer, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		defer answer.Close()
		if _, err := answer.WriteString("what\nr\na\n"); err != nil {
			t.Fatal(err)
		}
		o := o
		o.Answer, o.State, o.In = Ask, t.TempDir(), in
		shown := run(t, o, "\nacknowledged ")
		if !strings.Contains(shown, "refused") || strings.Count(shown, "a, r, n") < 3 {
			t.Errorf("the answers were not taken one after the other:\n%s", shown)
		}
	})
	t.Run(None, func(t *testing.T) {
		o := o
		o.Answer, o.State = None, t.TempDir()
		if shown := run(t, o, "batch 1"); !strings.Contains(shown, "without an answer: [1") {
			t.Errorf("the open batch is not named:\n%s", shown)
		}
	})
}

func wrongSettings(t *testing.T, o Options) {
	var shown bytes.Buffer
	o.Out, o.Settings = &shown, map[string]any{"no_such_setting": 1}
	if err := Run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "no_such_setting") {
		t.Errorf("error %v does not name the setting", err)
	}
	if strings.Contains(shown.String(), "open at") {
		t.Error("the device was opened")
	}
}

func TestSink(t *testing.T) {
	o := Options{Binary: sdktest.Build(t, "../../../plugins/sinks/sql"), Exams: 2, Records: []sdk.Record{{ID: "letter", Kind: "document", Data: []byte("text")}}}
	shown := run(t, o, "closed")
	if n := strings.Count(shown, "\nstored\n"); n != 3 {
		t.Errorf("%d records are stored, want 3:\n%s", n, shown)
	}
	if !strings.Contains(shown, "insert exam:") || strings.Contains(shown, "Muster") || strings.Contains(shown, "P-000000") {
		t.Errorf("the changes are not shown, or a patient is:\n%s", shown)
	}
}

func TestPatientsAreMasked(t *testing.T) {
	data, err := exam.Encode(&exam.Exam{
		Patient:      exam.Patient{ID: "P-77", Name: "Muster Anna"},
		Observations: []exam.Observation{{Code: exam.CodeIOP, Eye: exam.Right, Value: exam.Number(15), Unit: exam.UnitMMHg}},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := sdk.Record{ID: "1", Kind: exam.Kind, Data: data, Raw: []byte("Muster"), Attachments: []sdk.Attachment{{Name: "Muster.jpg"}}}
	for _, json := range []bool{false, true} {
		for _, show := range []bool{false, true} {
			var out bytes.Buffer
			tr := trial{Options: Options{ShowData: show}, say: &printer{out: &out, json: json}}
			tr.show(&r, 100)
			if got := strings.Contains(out.String(), "P-77") || strings.Contains(out.String(), "Muster"); got != show {
				t.Errorf("json %v, show data %v: the patient is shown: %v\n%s", json, show, got, out.String())
			}
		}
	}
}

// noDebug starts it as a host would that gave arguments: none does.
func noDebug(t *testing.T, o Options) {
	cmd := exec.CommandContext(t.Context(), o.Binary, "debug")
	h := wire.Handshake()
	cmd.Env = append(os.Environ(), h.MagicCookieKey+"="+h.MagicCookieValue)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), "no debug mode") {
		t.Errorf("debug mode with a host's cookie: %v, %s", err, out)
	}
}

func attach(t *testing.T, o Options) {
	o.State = t.TempDir()
	if runtime.GOOS == "windows" {
		t.Skip("skip: debug mode needs a Unix socket in a folder of the user's own")
	}
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), o.Binary, "debug")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 200)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	address, ok := strings.CutPrefix(strings.TrimSpace(string(line[:n])), "hostd plugins try --attach ")
	if !ok {
		t.Fatalf("debug mode printed %q", line[:n])
	}
	folder := filepath.Dir(strings.TrimPrefix(address, "unix:"))
	if info, err := os.Stat(folder); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the socket's folder is not the user's alone: %v, %v", info, err)
	}
	for _, until := range []string{"\nacknowledged ", "\nbatch "} { // the second try finds the process alive
		o := o
		o.Binary, o.Attach = "", address
		run(t, o, until)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("debug mode ends with %v", err)
	}
	if _, err := os.Stat(folder); !os.IsNotExist(err) {
		t.Errorf("the socket's folder stays: %v", err)
	}
}

// TestLine shows what passes over the line of a driver that offers it, and says of another that it does not.
func TestLine(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	free.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	played := make(chan error, 1)
	go func() { played <- play(ctx, addr, "\x024711 Muster^Anna R 15\x03") }()
	binary := sdktest.Build(t, "../../../cmd/hostd/testdata/plugins/teller")
	text := run(t, Options{Binary: binary, Settings: map[string]any{"listen": addr}, Answer: Ack, Wire: true}, `out    "\x06"`)
	if err := <-played; err != nil {
		t.Error(err)
	}
	if !strings.Contains(text, ` in     "\x02`) || strings.Contains(text, "Muster") {
		t.Errorf("it shows of the line\n%s", text)
	}
	o := generator(t)
	o.Wire, o.Out, o.State = true, &bytes.Buffer{}, t.TempDir()
	if err := Run(t.Context(), o); !errors.Is(err, errNoLine) {
		t.Errorf("a driver without a line: %v", err)
	}
}

// play connects as soon as somebody listens, says something, and waits for an answer.
func play(ctx context.Context, addr, says string) error {
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err == nil {
			defer conn.Close()
			_, err = io.WriteString(conn, says)
			_, end := io.ReadFull(conn, make([]byte, 1))
			return errors.Join(err, end)
		}
		if ctx.Err() != nil {
			return err
		}
		time.Sleep(10 * time.Millisecond) // between two looks for another process
	}
}
