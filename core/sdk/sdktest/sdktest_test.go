package sdktest

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hostd/hostd/core/sdk"
)

// bad builds the program of the bad plugins once.
var bad struct {
	once   sync.Once
	binary string
}

func TestMain(m *testing.M) {
	code := m.Run()
	if bad.binary != "" {
		os.RemoveAll(filepath.Dir(bad.binary))
	}
	os.Exit(code)
}

// keeper is a testing.TB whose folder outlives the test.
type keeper struct{ testing.TB }

func (k keeper) TempDir() string {
	dir, err := os.MkdirTemp("", "sdktest")
	if err != nil {
		k.Fatal(err)
	}
	return dir
}

func badBinary(t *testing.T) string {
	t.Helper()
	bad.once.Do(func() { bad.binary = Build(keeper{t}, "./testdata/bad") })
	return bad.binary
}

var every = flag.Bool("every", false, "run every rule on every bad plugin, not only those that it breaks")

// record runs a rule and gives what it reports.
func record(t *testing.T, check func(t testing.TB)) (reports []string) {
	t.Helper()
	e := newExaminer(t.Context())
	e.run(check)
	return e.reports
}

// named gives the bad plugin's binary under the name that chooses its fault.
func named(t *testing.T, binary, name string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), name+filepath.Ext(binary))
	if os.Link(binary, to) == nil {
		return to
	}
	from, err := os.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	f, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o700)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(f, from); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return to
}

// prove runs the rules that a plugin breaks, or every rule, and compares.
func prove[P any](t *testing.T, rules []rule[P], p *P, broken, may []string) {
	t.Helper()
	for _, r := range rules {
		want := slices.Contains(broken, r.name)
		if !want && len(broken) > 0 && !*every {
			continue
		}
		reports := record(t, func(t testing.TB) { r.check(t, p) })
		switch {
		case want && len(reports) == 0:
			t.Errorf("rule %q does not report the plugin that breaks it", r.name)
		case want:
			t.Logf("%s: %s", r.name, reports[0])
		case len(reports) > 0 && !slices.Contains(may, r.name):
			t.Errorf("rule %q reports a plugin that keeps it: %s", r.name, strings.Join(reports, "; "))
		}
	}
	for _, name := range broken {
		if !slices.ContainsFunc(rules, func(r rule[P]) bool { return r.name == name }) {
			t.Errorf("there is no rule %q", name)
		}
	}
}

func tapeInstrument(records int) func(testing.TB) Instrument {
	return func(t testing.TB) Instrument {
		path := filepath.Join(t.TempDir(), "large")
		return Instrument{Settings: map[string]any{"large": path}, Records: records, Large: func(size int) {
			if err := os.WriteFile(path, []byte(strconv.Itoa(size)), 0o600); err != nil {
				t.Fatal(err)
			}
		}}
	}
}

// TestDeviceRulesAreProved holds that each rule reports the plugin that breaks it, and a good plugin breaks none.
func TestDeviceRulesAreProved(t *testing.T) {
	t.Parallel()
	binary := badBinary(t)
	const (
		back    = "brings back what was not acknowledged, and only that"
		killed  = "loses nothing when it is killed"
		refused = "reads again what was refused"
		unknown = "refuses an unknown setting by name"
		cut     = "brings back what was not acknowledged when its stream is cut"
		linux   = "linux"
	)
	for _, c := range []struct {
		fault   string
		records int
		broken  []string
		may     []string // break besides, as luck has it
		only    []string // of a good plugin, unless -every
		on      string   // the only system that shows it
	}{
		{fault: "good-device"},
		{fault: "polled", only: []string{back, refused, "ends Read when it is closed"}},
		{fault: "wide", only: []string{"keeps to its window", refused}},
		{fault: "refuser", only: []string{refused}},
		{fault: "big", records: 6, only: []string{"keeps to the limits of a batch", "gives a record the same id and content again"}},
		{fault: "no-words", broken: []string{"manifest is complete"}},
		{fault: "lax", broken: []string{unknown}},
		{fault: "mute", broken: []string{unknown, "refuses a setting of the wrong type by name"}},
		{fault: "quotes", broken: []string{unknown, "refuses a setting of the wrong type by name"}},
		{fault: "loose", broken: []string{boundsRule}},
		{fault: "twice", broken: []string{orderRule}, may: []string{"opens, closes and opens again in one process"}},
		{fault: "tires", broken: []string{"opens, closes and opens again in one process"}},
		{fault: "forgets", broken: []string{back, killed}},
		{fault: "repeats", broken: []string{back, killed}},
		{fault: "renames", broken: []string{"gives a record the same id and content again"}},
		{fault: "rewrites", broken: []string{"gives a record the same id and content again"}},
		{fault: "reads-ahead", broken: []string{"keeps to its window"}, may: []string{refused}},
		{fault: "deaf", broken: []string{"ends Read when it is closed"}},
		{fault: "swallows", broken: []string{refused}},
		{fault: "fat", records: 600, broken: []string{"keeps to the limits of a batch"}},
		{fault: "keeps-place", broken: []string{cut}},
		{fault: "locks", broken: []string{killed}},
		{fault: "impatient", broken: []string{"waits for a slow host"}},
		{fault: "inline", broken: []string{"hands over 5 MiB as an attachment"}},
		{fault: "bears", broken: []string{leftRule, "ends with its host while it works"}, on: linux},
		{fault: "spawns", broken: []string{leftRule}, on: linux},
		{fault: "hoards", broken: []string{leftRule}, on: linux},
		{fault: "gossips", broken: []string{logsRule}},
		{fault: "scribbles", broken: []string{logsRule}},
		{fault: "chatters", broken: []string{logsRule}},
		{fault: "prints", broken: []string{"prints nothing while it works"}},
		{fault: "undead", broken: []string{"ends with its host while it works"}, may: []string{"prints only its handshake, and ends with its host"}},
	} {
		t.Run(c.fault, func(t *testing.T) {
			t.Parallel()
			if testing.Short() && c.fault == "good-device" && !*every {
				t.Skip("TestExamineSaysWhatToDo runs every rule")
			}
			if c.on != "" && c.on != runtime.GOOS {
				t.Skip("only " + c.on + " shows it")
			}
			d := Device{Binary: named(t, binary, c.fault), Wait: time.Second, Instrument: tapeInstrument(max(c.records, 40))}
			if c.records > 0 {
				d.Instrument = tapeInstrument(c.records)
			}
			rules := deviceRules()
			if len(c.only) > 0 && !*every {
				rules = slices.DeleteFunc(rules, func(r rule[Device]) bool { return !slices.Contains(c.only, r.name) })
			}
			prove(t, rules, &d, c.broken, c.may)
		})
	}
}

// TestSinkRulesAreProved is the same for sinks.
func TestSinkRulesAreProved(t *testing.T) {
	t.Parallel()
	binary := badBinary(t)
	const killed = "loses nothing when it is killed"
	for _, c := range []struct {
		fault    string
		useStore bool
		broken   []string
		may      []string
		long     bool // only with -every
	}{
		{fault: "good-sink", long: true},
		{fault: "good-sink", useStore: true},
		{fault: "buffers", broken: []string{"has stored what it answers for", killed}},
		{fault: "doubles", broken: []string{"takes the same records again"}, may: []string{killed}},
		{fault: "classless", useStore: true, broken: []string{"gives a failure of store or cache its class"}},
		{fault: "shrugs", useStore: true, broken: []string{"outlasts a failure at each call of store and cache"}},
		{fault: "hasty", useStore: true, broken: []string{"waits for a slow host"}},
		{fault: "tells", useStore: true, broken: []string{logsRule}},
		{fault: "locks-sink", broken: []string{killed}},
		{fault: "check-writes", broken: []string{"changes nothing when it is checked"}},
		{fault: "all-or-none", broken: []string{"refuses a bad record alone"}},
	} {
		t.Run(fmt.Sprintf("%s store=%v", c.fault, c.useStore), func(t *testing.T) {
			t.Parallel()
			if c.long && !*every {
				t.Skip("long form")
			}
			s := Sink{
				Binary: named(t, binary, c.fault), Idempotent: true,
				Bad: func() sdk.Record { return sdk.Record{ID: "bad-1", Kind: "bad", Data: []byte("x")} },
				Destination: func(t testing.TB) Destination {
					dir := t.TempDir()
					return Destination{Settings: map[string]any{"dir": dir, "use_store": c.useStore}, Stored: func(t testing.TB) []string {
						list, err := os.ReadFile(filepath.Join(dir, "list"))
						if err != nil {
							t.Fatal(err)
						}
						return strings.Fields(string(list))
					}}
				},
			}
			prove(t, sinkRules(), &s, c.broken, c.may)
		})
	}
}
