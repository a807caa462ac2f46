package host

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/internal/admin"
	"github.com/hostd/hostd/core/internal/dbpool"
	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/internal/logs"
	"github.com/hostd/hostd/core/internal/pluginstore"
	"github.com/hostd/hostd/core/internal/spool"
)

func TestFillingNamesTheSinkThatHoldsTheSpool(t *testing.T) {
	h := New(Options{Config: &config.Config{Spool: config.Spool{MaxSizeMB: 100}}})
	sinks := []spool.SinkStats{{Name: "emr", Cursor: 70, Backlog: 5}, {Name: "archive", Cursor: 12, Backlog: 63}, {Name: "idle", Cursor: 1}}
	for _, c := range []struct {
		megabytes int64
		want      []string
	}{
		{49, nil},
		{50, []string{"50 %", "archive", "63 records"}},
		{81, []string{"80 %", "archive"}},
		{99, []string{"95 %", "archive"}},
	} {
		got := h.filling(&spool.Stats{Bytes: c.megabytes << 20, Sinks: sinks})
		for _, w := range c.want {
			if !strings.Contains(got, w) {
				t.Errorf("%d MiB: %q does not say %q", c.megabytes, got, w)
			}
		}
		if c.want == nil && got != "" {
			t.Errorf("%d MiB: %q", c.megabytes, got)
		}
	}
	kept := []spool.SinkStats{{Name: "emr", Backlog: 1}, {Name: "ehr", Held: 40_000}}
	if got := h.filling(&spool.Stats{Bytes: 10 << 20, Letters: 45 << 20, Sinks: kept}); !strings.Contains(got, "50 %") || !strings.Contains(got, "40000 exams") || !strings.Contains(got, "sink ehr") {
		t.Errorf("full of what is held: %q", got)
	}
	if got := h.filling(&spool.Stats{Bytes: 60 << 20}); !strings.Contains(got, "keep") {
		t.Errorf("without a backlog: %q", got)
	}
	if got := New(Options{Config: &config.Config{}}).filling(&spool.Stats{Bytes: 1 << 40}); got != "" {
		t.Errorf("without a cap: %q", got)
	}
}

// An alarm keeps its time while it stands, and a new one gets its own.
func TestAlarmsKeepTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(Options{Config: &config.Config{}})
		broken := errors.New("disk image is malformed")
		first := h.alarms.of(&admin.Status{}, troubles{database: broken})
		time.Sleep(time.Hour)
		second := h.alarms.of(&admin.Status{Sinks: []admin.Sink{{Name: "emr", Dead: 1}}}, troubles{database: broken})
		if len(first) != 1 || len(second) != 2 || !second[0].Since.Equal(first[0].Since) || !second[1].Since.After(first[0].Since) {
			t.Fatalf("%+v, then %+v", first, second)
		}
		if gone := h.alarms.of(&admin.Status{}, troubles{}); len(gone) != 0 {
			t.Fatalf("%+v", gone)
		}
		time.Sleep(time.Hour)
		if again := h.alarms.of(&admin.Status{}, troubles{database: broken}); again[0].Since.Equal(first[0].Since) {
			t.Fatal("an alarm that ended and came again has the old time")
		}
	})
}

// A file of the spool that somebody deletes is an alarm within seconds, and none any more when it is back.
func TestADeletedFileOfTheSpoolIsAnAlarm(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s, err := spool.Open(dir, spool.Options{})
		if err != nil {
			t.Fatal(err)
		}
		h := New(Options{Config: &config.Config{}})
		h.spool, h.places.spool, h.log = s, dir, slog.New(slog.DiscardHandler)
		h.db, h.dropins.store = &database{why: errNotOpenYet}, &pluginstore.Store{}
		var out bytes.Buffer
		if h.logs, err = logs.Open(config.Logging{Level: "info", Format: "text"}, &out); err != nil {
			t.Fatal(err)
		}
		noisy := h.logs.Plugin(h.logs.Logger("device").With("device", "ark-1"))
		for range 5000 {
			noisy.Named("noisy").Info("flood")
		}
		defer func() { // behind the end of watch
			if text := out.String(); strings.Count(text, "lines were dropped") != 1 || !strings.Contains(text, "dropped=4000") {
				t.Errorf("what a plugin logged too fast is not told:\n%s", text[max(0, len(text)-300):])
			}
		}()
		g := life.NewGroup(t.Context())
		g.Go("spool", s.Run)
		g.Go("watch", h.watch)
		defer func() {
			g.Cancel()
			if err := errors.Join(g.Wait(), s.Close()); err != nil {
				t.Error(err)
			}
		}()
		done := make(chan error, 1)
		b := spool.Batch{Device: "ark-1", Records: []spool.Entry{{Payload: []byte("one")}}}
		if err := s.Append(t.Context(), b, func(err error) { done <- err }); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		alarms := func() []admin.Alarm {
			st := s.Stats()
			return h.alarms.of(&admin.Status{}, h.troubles(&st))
		}
		newest := s.Stats().Newest
		file := filepath.Join(dir, newest)
		b1, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * watchEvery)
		if list := alarms(); len(list) != 0 {
			t.Fatalf("all is well: %+v", list)
		}
		if err := os.Remove(file); err != nil {
			t.Skip("an open file cannot be deleted here:", err)
		}
		time.Sleep(watchEvery + time.Second)
		if list := alarms(); len(list) != 1 || list[0].Code != alarmMissing || !strings.Contains(list[0].Text, newest) || !strings.Contains(list[0].Text, "put them back") {
			t.Fatalf("%s is gone: %+v", newest, list)
		}
		if err := os.WriteFile(file, b1, 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(watchEvery + time.Second)
		if list := alarms(); len(list) != 0 {
			t.Fatalf("it is back: %+v", list)
		}
	})
}

// A plugin that was given up is an alarm of its device or sink, with the command that tries it again.
func TestAPluginThatWasGivenUpIsAnAlarm(t *testing.T) {
	h := New(Options{Config: &config.Config{}})
	list := h.alarms.of(&admin.Status{
		Devices: []admin.Device{{Name: "ark-1", Plugin: "nidek", State: admin.BreakerOpen, Error: "exit status 7"}, {Name: "tono", State: admin.Failing}},
		Sinks:   []admin.Sink{{Name: "emr", Plugin: "sql", State: admin.BreakerOpen, Error: "no licence"}, {Name: "archive", State: admin.BackingOff}},
	}, troubles{})
	if len(list) != 2 {
		t.Fatalf("%+v", list)
	}
	for i, want := range []struct{ name, plugin, why, command string }{
		{"ark-1", "nidek", "exit status 7", "hostd devices resume ark-1"}, {"emr", "sql", "no licence", "hostd sinks resume emr"},
	} {
		a := list[i]
		if a.Code != alarmBreaker || a.Subject != want.name || !strings.Contains(a.Text, want.plugin) || !strings.Contains(a.Text, want.why) || !strings.Contains(a.Text, want.command) {
			t.Errorf("%+v", a)
		}
	}
}

func TestMemoryOfAPlugin(t *testing.T) {
	c := config.Default()
	if all, own := memory(c, 0), memory(c, 64); all != 512<<20 || own != 64<<20 {
		t.Errorf("%d for all, %d for one that says so", all, own)
	}
}

// What was missing stays so when the spool has let go of the file meanwhile: its records are lost.
func TestAMissingFileStaysMissing(t *testing.T) {
	var m missing
	nowhere := func(string) bool { return false }
	if lost, back := m.note([]string{"2", "1"}, nowhere); !slices.Equal(lost, []string{"2", "1"}) || len(back) != 0 {
		t.Fatal(lost, back)
	}
	if lost, back := m.note([]string{"2"}, nowhere); len(lost)+len(back) != 0 || !slices.Equal(m.list(), []string{"1", "2"}) {
		t.Fatal(lost, back, m.list())
	}
	if lost, back := m.note(nil, func(name string) bool { return name == "2" }); len(lost) != 0 || !slices.Equal(back, []string{"2"}) || !slices.Equal(m.list(), []string{"1"}) {
		t.Fatal(lost, back, m.list())
	}
}

// A server that is away is an alarm with its time and its reason; one that is back is none.
func TestAServerThatIsAwayIsAFault(t *testing.T) {
	since := time.Date(2026, 11, 25, 8, 0, 5, 0, time.Local)
	err := down(dbpool.Breaker{Open: true, Since: since, Cause: "the server is not reached"})
	if err == nil || !strings.Contains(err.Error(), "away since 2026-11-25 08:00:05: the server is not reached; records wait") {
		t.Errorf("it says %v", err)
	}
	if err := down(dbpool.Breaker{Since: since}); err != nil {
		t.Errorf("one that is back: %v", err)
	}
}
