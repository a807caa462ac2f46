package host

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/internal/admin"
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
		first := h.alarms.of(&admin.Status{}, broken, "", false)
		time.Sleep(time.Hour)
		second := h.alarms.of(&admin.Status{Sinks: []admin.Sink{{Name: "emr", Dead: 1}}}, broken, "", false)
		if len(first) != 1 || len(second) != 2 || !second[0].Since.Equal(first[0].Since) || !second[1].Since.After(first[0].Since) {
			t.Fatalf("%+v, then %+v", first, second)
		}
		if gone := h.alarms.of(&admin.Status{}, nil, "", false); len(gone) != 0 {
			t.Fatalf("%+v", gone)
		}
		time.Sleep(time.Hour)
		if again := h.alarms.of(&admin.Status{}, broken, "", false); again[0].Since.Equal(first[0].Since) {
			t.Fatal("an alarm that ended and came again has the old time")
		}
	})
}
