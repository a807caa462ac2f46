package logs_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	hclog "github.com/hashicorp/go-hclog"
	plugin "github.com/hashicorp/go-plugin"

	"github.com/hostd/hostd/config"
)

func TestPluginLines(t *testing.T) {
	var out bytes.Buffer
	l := open(t, logging(nil), &out)
	root := l.Plugin(l.Logger("device").With("device", "ark-1"))
	nidek := root.Named("nidek.exe")
	nidek.Info("port opened", "port", "COM3", "speed", float64(9600), "id", 9001011234567.0, "timestamp", "2026-01-02T03:04:05.000+0000")
	nidek.Warn("odd", "device", "other", "component", "host", "sink", "x", "nested", map[string]any{"b": []any{1.0, 9001011234567.0}, "a": map[string]any{"c": 2.5}}, "left")
	nidek.Error("", "", map[string]any{"device": "other"}, "none", nil, "format", hclog.Fmt("%d of %d", 1, 2))
	nidek.Debug("not shown")
	nidek.Log(hclog.Info, "by level")
	root.Error("chatter of go-plugin", "error", "x")
	root.Named("stdio").Warn("chatter of go-plugin")
	root.With("stream", "stdout").Warn("plugin printed", "text", "x")
	nidek.StandardLogger(nil).Print("standard")
	want := `level=info msg="port opened" component=device device=ark-1 id="******-*******" port=COM3 speed=9600
level=warning msg=odd component=device device=ark-1 extra=left nested.a.c=2.5 nested.b="[1 ******-*******]" plugin.component=host plugin.device=other plugin.sink=x
level=error component=device device=ark-1 format="1 of 2" none=null plugin.device=other
level=info msg="by level" component=device device=ark-1
level=warning msg="plugin printed" component=device device=ark-1 stream=stdout text=x
level=info msg=standard component=device device=ark-1
`
	if got := withoutTime(t, out.String()); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if nidek.IsDebug() || !nidek.IsInfo() || root.IsError() || nidek.Name() != "nidek.exe" || nidek.GetLevel() != hclog.Trace {
		t.Error("the bridge answers wrongly for its levels or its name")
	}

	out.Reset()
	if err := l.SetLevels("info", map[string]string{"device.ark-1": "debug"}); err != nil {
		t.Fatal(err)
	}
	nidek.Debug("shown")
	nidek.Trace("shown too")
	root.Error("chatter of go-plugin")
	if n := strings.Count(out.String(), "level=debug"); n != 3 {
		t.Errorf("%d lines at debug, want 3:\n%s", n, out.String())
	}
}

func withoutTime(t *testing.T, text string) string {
	t.Helper()
	var out strings.Builder
	for line := range strings.Lines(text) {
		_, rest, ok := strings.Cut(line, `" `)
		if !ok || !strings.HasPrefix(line, `time="`) {
			t.Fatalf("a line without a time: %q", line)
		}
		out.WriteString(rest)
	}
	return out.String()
}

func TestPluginIsLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := open(t, logging(nil), &out)
		lines := func() int { return strings.Count(out.String(), "msg=flood") }
		told := func() int { return strings.Count(out.String(), "lines were dropped") }
		flood := func(log hclog.Logger, n int) {
			for range n {
				log.Info("flood")
			}
		}
		noisy := l.Plugin(l.Logger("device").With("device", "noisy")).Named("noisy")
		flood(noisy, 1500)
		if lines() != 1000 || told() != 0 || l.Dropped() != 500 {
			t.Fatalf("burst: %d lines, told %d, dropped %d", lines(), told(), l.Dropped())
		}
		flood(l.Plugin(l.Logger("device").With("device", "quiet")).Named("quiet"), 10)
		if lines() != 1010 {
			t.Fatal("another plugin is limited too")
		}
		for range 10 { // twice the rate for a second: half of it passes
			time.Sleep(100 * time.Millisecond)
			flood(noisy.With("x", 1), 40)
		}
		if lines() != 1210 || told() != 0 || l.Dropped() != 700 {
			t.Fatalf("steady: %d lines, told %d, dropped %d", lines(), told(), l.Dropped())
		}
		time.Sleep(3 * time.Second)
		flood(noisy, 1)
		if told() != 1 || !strings.Contains(out.String(), "dropped=700") || !strings.Contains(out.String(), "device=noisy dropped=700") {
			t.Fatalf("eased: told %d\n%s", told(), out.String()[max(0, out.Len()-400):])
		}
		time.Sleep(time.Minute)
		for range 250 { // it goes on for 25 s: told twice
			time.Sleep(100 * time.Millisecond)
			flood(noisy, 200)
		}
		if told() != 3 {
			t.Fatalf("going on: told %d", told())
		}
		noisy.Debug("disabled lines take nothing")

		time.Sleep(time.Minute)
		l.TellDropped()
		flood(noisy, 1001)
		before := told()
		l.TellDropped()
		time.Sleep(2 * time.Second)
		l.TellDropped()
		if told() != before {
			t.Error("told before it has eased")
		}
		time.Sleep(time.Second)
		l.TellDropped()
		l.TellDropped()
		if told() != before+1 || !strings.HasSuffix(out.String(), "device=noisy dropped=1\n") {
			t.Errorf("told %d times of a plugin that says nothing more\n%s", told()-before, out.String()[max(0, out.Len()-400):])
		}
	})
}

// TestSlogArrivesThroughGoPlugin lets go-plugin start a process that logs as serve does and ends before the handshake.
func TestSlogArrivesThroughGoPlugin(t *testing.T) {
	if os.Getenv(childEnv) != "" {
		speak()
		return
	}
	t.Run("parsed by go-plugin", func(t *testing.T) { arrives(t, "1", false) })
	t.Run("parsed here", func(t *testing.T) { arrives(t, `{"@level":"info","@message":5}`, true) })
}

// arrives starts the child, which writes the last line besides.
func arrives(t *testing.T, last string, lines bool) {
	var out bytes.Buffer
	l := open(t, logging(func(c *config.Logging) { c.Format = "json" }), &out)
	cmd := exec.Command(os.Args[0], "-test.run", "^TestSlogArrivesThroughGoPlugin$")
	cmd.Env = append(os.Environ(), childEnv+"="+last)
	conf := &plugin.ClientConfig{
		Cmd: cmd, Plugins: plugin.PluginSet{}, AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC}, StartTimeout: 20 * time.Second,
		HandshakeConfig: plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "LOGS_COOKIE", MagicCookieValue: "x"},
		Logger:          l.Plugin(l.Logger("sink").With("sink", "emr")),
	}
	if lines {
		conf.Stderr = conf.Logger.(interface{ Lines() io.Writer }).Lines()
	}
	client := plugin.NewClient(conf)
	if _, err := client.Start(); err == nil {
		t.Error("the child must not become a plugin")
	}
	client.Kill()
	var got []string
	for line := range strings.Lines(out.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatal(err, line)
		}
		delete(fields, "time")
		got = append(got, fmt.Sprint(fields))
	}
	want := []string{
		fmt.Sprint(map[string]any{"component": "sink", "last.ok": true, "level": "error", "msg": "port lost", "port": "COM3", "sink": "emr", "tries": 3}),
		fmt.Sprint(map[string]any{"component": "sink", "level": "info", "msg": "with ******-*******", "sink": "emr"}),
		fmt.Sprint(map[string]any{"component": "sink", "level": "error", "msg": "panic: runtime error: no wires", "sink": "emr"}),
	}
	if lines {
		want = append(want, fmt.Sprint(map[string]any{"component": "sink", "level": "error", "msg": last, "sink": "emr"}))
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

const childEnv = "LOGS_TEST_CHILD"

// speak writes what a plugin writes to its standard error.
func speak() {
	log := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		switch {
		case len(groups) > 0:
		case a.Key == slog.LevelKey:
			return slog.String("@level", strings.ToLower(a.Value.String()))
		case a.Key == slog.MessageKey:
			a.Key = "@message"
		case a.Key == slog.TimeKey:
			return slog.String("@timestamp", a.Value.Time().Format("2006-01-02T15:04:05.000000Z07:00"))
		}
		return a
	}}))
	log.Error("port lost", "port", "COM3", "tries", 3, slog.Group("last", "ok", true))
	log.Info("with 900101-1234567")
	log.Debug("not shown")
	fmt.Fprintln(os.Stderr, "plain words")
	fmt.Fprintln(os.Stderr, "panic: runtime error: no wires")
	if bad := os.Getenv(childEnv); bad != "1" {
		fmt.Fprintln(os.Stderr, bad)
	}
	os.Exit(3)
}

// TestLinesInPieces feeds a stream in parts of every size, with a line that is too long.
func TestLinesInPieces(t *testing.T) {
	stream := `{"@level":"info","@message":"one","n":1}` + "\r\n" + `{"@level":"warn","@message":"` + strings.Repeat("x", 80<<10) + `"}` + "\n" +
		"null\n5\n\n" + `{"@level":"loud","@message":"x"}` + "\n" + `{"@level":"error","@message":"last"}` + "\n"
	for _, size := range []int{1, 7, 4096, len(stream)} {
		var out bytes.Buffer
		l := open(t, logging(func(c *config.Logging) { c.Level = "debug" }), &out)
		w := l.Plugin(l.Logger("device").With("device", "ark-1")).(interface{ Lines() io.Writer }).Lines()
		for piece := range slices.Chunk([]byte(stream), size) {
			if n, err := w.Write(piece); n != len(piece) || err != nil {
				t.Fatal(n, err)
			}
		}
		text := out.String()
		for _, want := range []string{`level=info msg=one component=device device=ark-1 n=1`, `level=debug msg=null`, `level=debug msg=5`, `level=error msg=last`} {
			if !strings.Contains(text, want) {
				t.Errorf("pieces of %d: no %s", size, want)
			}
		}
		if n := strings.Count(text, "\n"); n != 7 || len(text) > 70<<10 {
			t.Errorf("pieces of %d: %d lines, %d bytes", size, n, len(text))
		}
	}
}
