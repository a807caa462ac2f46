package host

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/internal/admin"
	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/sdk/share"
)

// examined is what Examine says; it must change nothing.
func examined(t *testing.T, c *config.Config) []Finding {
	t.Helper()
	before := tree(t, filepath.Dir(c.DataDir))
	list, err := Examine(t.Context(), c, nil)
	if err != nil {
		t.Error(err)
	}
	if after := tree(t, filepath.Dir(c.DataDir)); !slices.Equal(before, after) {
		t.Errorf("something was changed:\n%q\n%q", before, after)
	}
	for _, f := range list {
		if f.Probe == "" || f.Text == "" || (f.Verdict == VerdictOK) != (f.Do == "") {
			t.Errorf("unfinished: %+v", f)
		}
	}
	return list
}

// of are the findings of a probe, and of the verdict where one is given.
func of(list []Finding, probe string, v Verdict) (out []Finding) {
	for _, f := range list {
		if f.Probe == probe && (v == "" || f.Verdict == v) {
			out = append(out, f)
		}
	}
	return out
}

// patient is a machine with a plugin folder and two devices: what the second one says is up to the test.
func patient(t *testing.T) *config.Config {
	t.Helper()
	c := machine(t)
	if err := os.MkdirAll(c.Plugins.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	c.Spool.MaxSizeMB = 256
	return c
}

// plugin is the path of a program in the plugin folder.
func plugin(c *config.Config, name string) string {
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	return filepath.Join(c.Plugins.Dir, name)
}

func device(c *config.Config, plugin, key, value string) {
	c.Devices = append(c.Devices, config.Device{Name: "dev-1", Plugin: plugin, Settings: map[string]any{key: value}})
}

// Each thing that is wrong is a fault of its own probe, with what to do; all the others look all the same, and find nothing.
func TestExamineFindsWhatIsWrong(t *testing.T) {
	otherSystem := peFor(t, 0x8664)
	foreignPort := "COM3"
	if runtime.GOOS == "windows" {
		otherSystem, foreignPort = elfFor(t, 62, binary.LittleEndian, 120), "/dev/ttyS0"
	}
	for name, c := range map[string]struct {
		spoil func(t *testing.T, c *config.Config)
		probe string // empty: nothing is wrong
		says  string
		do    string
	}{
		"nothing":     {spoil: func(*testing.T, *config.Config) {}},
		"data_dir":    {func(t *testing.T, c *config.Config) { put(t, c.DataDir, "a file") }, probeFolder, "data_dir cannot be written", "change data_dir"},
		"admin.token": {func(t *testing.T, c *config.Config) { put(t, c.DataDir+"/admin.token/x", "") }, probeFolder, "admin.token", "the right to write"},
		"plugins.dir": {func(_ *testing.T, c *config.Config) { os.Remove(c.Plugins.Dir) }, probeFolder, "plugins.dir cannot be read", "as plugins.dir"},
		"log folder":  {func(t *testing.T, c *config.Config) { put(t, filepath.Dir(c.Logging.File.Path), "a file") }, probeLog, "log file cannot be written", "change logging.file.path"},
		"lock":        {func(t *testing.T, c *config.Config) { put(t, c.DataDir+"/hostd.lock/x", "") }, probeHost, "open data folder", "hostd.lock"},
		"port":        {func(t *testing.T, c *config.Config) { c.Admin.Listen = takenPort(t) }, probePort, "in use by another program", "as admin.listen"},
		"port of a device": {func(t *testing.T, c *config.Config) {
			device(c, "", "listen", takenPort(t))
		}, probeListen, "in use by another program", "as settings.listen of device dev-1"},
		"port at which a device listens": {func(t *testing.T, c *config.Config) {
			device(c, "", "port", "listen://"+takenPort(t))
		}, probeListen, "in use by another program", "settings.port of device"},
		"address of a device": {func(_ *testing.T, c *config.Config) { device(c, "", "listen", "192.0.2.1:2575") }, probeListen, "does not have the address", "0.0.0.0"},
		"serial port":         {func(_ *testing.T, c *config.Config) { device(c, "", "port", absentPort) }, probeSerial, "there is no serial port " + absentPort, "plugged in"},
		"serial port of another system": {func(_ *testing.T, c *config.Config) {
			device(c, "", "port", foreignPort)
		}, probeSerial, foreignPort + " is the name of a serial port of another system", "serial port"},
		"folder of a device": {func(t *testing.T, c *config.Config) {
			device(c, "", "dir", filepath.Join(t.TempDir(), "none"))
		}, probeShare, "is not there", "as settings.dir"},
		"no key":   {func(t *testing.T, c *config.Config) { sealed(t, filepath.Join(c.DataDir, "spool")) }, probeSpool, "spool.key is not given", "write the key"},
		"database": {func(t *testing.T, c *config.Config) { put(t, c.DataDir+"/hostd.db", strings.Repeat("noise", 99)) }, probeDatabase, "is not a database", "put back a backup"},
		"server": {func(t *testing.T, c *config.Config) {
			c.Database.Driver, c.Database.DSN = "postgres", config.Secret("postgres://hostd:hunter2@"+noPort(t)+"/clinic")
		}, probeDatabase, "nobody listens there", "database.dsn"},
		"disk": {func(_ *testing.T, c *config.Config) { c.Spool.ReserveMB = 1 << 30 }, probeDisk, "no records are taken", "make room"},
		"program of another system": {func(t *testing.T, c *config.Config) {
			put(t, plugin(c, "topcon"), otherSystem)
			device(c, "topcon", "dir", ".")
		}, probeProgram, "and this computer is", runtime.GOOS + "/" + runtime.GOARCH},
		"empty program": {func(t *testing.T, c *config.Config) {
			put(t, plugin(c, "topcon"), "")
			device(c, "topcon", "dir", ".")
		}, probeProgram, "its file is empty: copy it anew; used by dev-1", "whole build"},
		"no plugin": {func(_ *testing.T, c *config.Config) { device(c, "topcon", "dir", ".") }, probeSettings, "there is no plugin topcon", "docs/configuration.md"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := patient(t)
			c.spoil(t, cfg)
			list := examined(t, cfg)
			for _, p := range []string{
				probeConfig, probeAccount, probeFolder, probeRights, probeLog, probeDisk, probeSpool, probeClock, probePort, probeLink, probeDatabase, probeSettings, probeHost,
			} {
				if len(of(list, p, "")) == 0 && (p != probeRights || name != "plugins.dir") {
					t.Errorf("nobody has looked at %s", p)
				}
			}
			for _, f := range list {
				if strings.Contains(f.Text+f.Do+f.Subject, "hunter2") {
					t.Errorf("a secret is shown: %+v", f)
				}
				if f.Verdict == VerdictFault && f.Probe != c.probe && !follows[name+" "+f.Probe] {
					t.Errorf("another fault: %+v", f)
				}
			}
			if c.probe == "" {
				return
			}
			found := of(list, c.probe, VerdictFault)
			if len(found) != 1 || !strings.Contains(found[0].Text, c.says) || !strings.Contains(found[0].Do, c.do) {
				t.Errorf("%+v", found)
			}
		})
	}
}

// absentPort is the name of a serial port that is not there.
var absentPort = map[bool]string{true: "COM251", false: "/dev/ttyNobody"}[runtime.GOOS == "windows"]

// follows are faults that come with another one.
var follows = map[string]bool{
	"data_dir lock": true, "data_dir host": true, "data_dir spool": true, "data_dir database": true, "data_dir disk": true,
}

// A warning keeps nothing from working.
func TestExamineWarns(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, c *config.Config)
		probe string
		says  string
	}{
		"a small disk": {func(_ *testing.T, c *config.Config) { c.Spool.MaxSizeMB = 1 << 30 }, probeDisk, "before the spool is at its"},
		"a large file": {func(_ *testing.T, c *config.Config) { c.Spool.SegmentSizeMB = 1 << 30 }, probeDisk, "the next file of the spool"},
		"half a program that nobody uses": {func(t *testing.T, c *config.Config) {
			put(t, plugin(c, "topcon"), peFor(t, 0x8664)[:66])
		}, probeProgram, "cut off"},
		"a program that nobody uses": {func(t *testing.T, c *config.Config) {
			put(t, plugin(c, "topcon"), "\xcf\xfa\xed\xfe and so on") // of a Mac
		}, probeProgram, "a program for darwin/"},
	} {
		cfg := patient(t)
		c.spoil(t, cfg)
		list := examined(t, cfg)
		if found := of(list, c.probe, VerdictWarning); len(found) != 1 || !strings.Contains(found[0].Text, c.says) {
			t.Errorf("%s: %+v", name, found)
		}
		if slices.ContainsFunc(list, func(f Finding) bool { return f.Verdict == VerdictFault }) {
			t.Errorf("%s: a fault: %+v", name, list)
		}
	}
}

// The spool's size is measured against its cap.
func TestExamineMeasuresTheSpool(t *testing.T) {
	cfg := patient(t)
	cfg.Spool.MaxSizeMB = 100
	dr := newDoctor(t.Context(), cfg, places{})
	for held, want := range map[int64]Verdict{0: "", mib(79): "", mib(80): VerdictWarning, mib(99): VerdictWarning, mib(100): VerdictFault} {
		got := Verdict("")
		if found := dr.cap(held); len(found) > 0 {
			got = found[0].Verdict
		}
		if got != want {
			t.Errorf("%d MiB: %q, want %q", held>>20, got, want)
		}
	}
	cfg.Spool.MaxSizeMB = 0
	if found := dr.cap(mib(1 << 20)); len(found) > 0 {
		t.Errorf("without a cap: %+v", found)
	}
}

// Ordinary users who may write a plugin are a warning.
func TestExamineLooksAtRights(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("see TestWritersInADescriptor")
	}
	cfg := patient(t)
	for _, name := range []string{"mine", "ours", "all"} {
		put(t, filepath.Join(cfg.Plugins.Dir, name), "x")
	}
	for path, mode := range map[string]os.FileMode{"all": 0o602, "ours": 0o620, ".": 0o777} {
		if err := os.Chmod(filepath.Join(cfg.Plugins.Dir, path), mode); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, f := range of(examined(t, cfg), probeRights, VerdictWarning) {
		got = append(got, filepath.Base(f.Subject))
	}
	want := []string{"plugins", "all"}
	if os.Getgid() != 0 && os.Getgid() != os.Getuid() {
		want = append(want, "ours") // else the group is the user's own
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// A clock that says what cannot be, or that is behind the last record, is a fault.
func TestExamineLooksAtTheClock(t *testing.T) {
	cfg := patient(t)
	sealed(t, filepath.Join(cfg.DataDir, "spool"))
	p, err := newPlaces(cfg)
	if err != nil {
		t.Fatal(err)
	}
	dr := newDoctor(t.Context(), cfg, p)
	now := time.Now()
	if found := (&doctor{cfg: patient(t)}).clock(t.Context(), time.Unix(0, 0)); found[0].Verdict != VerdictFault {
		t.Errorf("in 1970, without a record: %+v", found)
	}
	if found := dr.clock(t.Context(), now); found[0].Verdict != VerdictWarning || !strings.Contains(found[0].Text, "cannot be compared") {
		t.Errorf("without the key: %+v", found)
	}
	cfg.Spool.Key = config.Secret(strings.Repeat("07", 32))
	for at, want := range map[time.Time]Verdict{
		now: VerdictOK, now.Add(365 * 24 * time.Hour): VerdictOK, now.Add(-30 * time.Second): VerdictOK, now.Add(-2 * time.Hour): VerdictFault,
		time.Unix(0, 0): VerdictFault, now.AddDate(200, 0, 0): VerdictFault,
	} {
		if found := dr.clock(t.Context(), at); len(found) != 1 || found[0].Verdict != want {
			t.Errorf("%s: %+v, want %s", at, found, want)
		}
	}
}

// A host that runs is asked: its port is its own, its alarms and what is not up are told.
func TestExamineAsksTheRunningHost(t *testing.T) {
	cfg := patient(t)
	device(cfg, "nobody", "listen", "127.0.0.1:1")
	h := runs(t, cfg)
	<-h.now().devices[0].tried()
	as := *cfg
	as.Admin.Listen = h.Addr()
	list, err := Examine(t.Context(), &as, nil)
	if err != nil {
		t.Fatal(err)
	}
	about := of(list, probeHost, "")
	if len(about) != 2 || !strings.Contains(about[0].Text, "hostd 9.9.9 runs") || about[1].Subject != "device dev-1" || about[1].Verdict != VerdictFault ||
		!strings.Contains(about[1].Text, "it is failing: ") {
		t.Errorf("%+v", about)
	}
	for _, probe := range []string{probePort, probeListen, probeDatabase} {
		if found := of(list, probe, ""); len(found) != 1 || found[0].Verdict != VerdictOK || !strings.Contains(found[0].Text, "hostd") {
			t.Errorf("%s: %+v", probe, found)
		}
	}
	as.Admin.Listen = takenPort(t)
	if list, err = Examine(t.Context(), &as, nil); err != nil {
		t.Fatal(err)
	}
	if about = of(list, probeHost, VerdictFault); len(about) != 1 || !strings.Contains(about[0].Text, "does not answer at admin.listen") {
		t.Errorf("a host that does not answer: %+v", about)
	}
}

// Each state of a device that is not well says what to do.
func TestEachStateHasItsAdvice(t *testing.T) {
	for state, want := range map[admin.State]Verdict{
		admin.Up: VerdictOK, admin.Starting: VerdictWarning, admin.Paused: VerdictWarning, admin.Silent: VerdictFault, admin.Failing: VerdictFault,
		admin.BackingOff: VerdictFault, admin.BreakerOpen: VerdictFault, admin.Unapproved: VerdictFault, admin.Removed: VerdictWarning, admin.Stopped: VerdictWarning,
	} {
		if f := unitFindings("device x", state, "")[0]; f.Verdict != want || (f.Do == "") != (want == VerdictOK) || !strings.Contains(f.Text, string(state)) {
			t.Errorf("%+v, want %s", f, want)
		}
	}
	if f := unitFindings("sink x", admin.Up, "no room")[0]; f.Verdict != VerdictWarning || !strings.Contains(f.Text, "no room") || f.Do == "" {
		t.Errorf("%+v", f)
	}
}

// A probe that hangs is a finding in its place, one that panics is an error, and neither keeps the others.
func TestAProbeThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		held := make(chan struct{})
		says := func(text string) func(context.Context) []Finding {
			return func(context.Context) []Finding { return []Finding{ok(text, "", "well")} }
		}
		begin := time.Now()
		list, err := examine(t.Context(), []probe{
			{"first", time.Second, says("first")},
			{"deaf", time.Second, func(context.Context) []Finding { <-held; return nil }},
			{"slow", time.Second, func(ctx context.Context) []Finding { <-ctx.Done(); return []Finding{ok("slow", "", "half")} }},
			{"bug", time.Second, func(context.Context) []Finding { panic("bug") }},
			{"last", time.Second, says("last")},
		})
		var got []string
		for _, f := range list {
			got = append(got, f.Probe+" "+string(f.Verdict))
		}
		if want := []string{"first ok", "deaf fault", "slow ok", "slow fault", "last ok"}; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		var bug *life.Panic
		if !errors.As(err, &bug) {
			t.Errorf("the panic beside it: %v", err)
		}
		if took := time.Since(begin); took > 4*time.Second {
			t.Errorf("it took %s", took)
		}
		close(held)
		synctest.Wait()
		list, err = examine(t.Context(), []probe{{"bug", time.Second, func(context.Context) []Finding { panic("bug") }}, {"last", time.Second, says("last")}})
		if bug = nil; len(list) != 1 || !errors.As(err, &bug) {
			t.Errorf("%+v, %v", list, err)
		}
	})
}

// What cannot be listened at is told apart.
func TestWhyNobodyCanListen(t *testing.T) {
	for err, want := range map[error]string{
		nil: "the port is free", syscall.EADDRINUSE: "in use by another program", windowsInUse: "in use by another program",
		windowsRefused: "Windows keeps the port", syscall.EACCES: "below 1024", windowsNotOwned: "does not have the address", errors.New("odd"): "odd",
	} {
		if f := listenFinding(probePort, "127.0.0.1:80", "admin.listen", err); !strings.Contains(f.Text, want) || (f.Do == "") != (err == nil) {
			t.Errorf("%v: %+v", err, f)
		}
	}
}

// Plugins on Windows take the first port of a range that they can have.
func TestLoopback(t *testing.T) {
	var taken []int
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		taken = append(taken, l.Addr().(*net.TCPAddr).Port)
	}
	for _, port := range taken {
		if f := loopback(t.Context(), port, port)[0]; f.Verdict != VerdictFault || !strings.Contains(f.Text, "1 are in use") || f.Do == "" {
			t.Errorf("%+v", f)
		}
	}
	if f := loopback(t.Context(), pluginPortFirst, pluginPortLast)[0]; f.Verdict == VerdictFault {
		t.Errorf("%+v", f)
	}
}

// A path of sockets that is too long for the system, or that another one's file blocks, is a fault.
func TestSocketsOfPlugins(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("plugins have no sockets there")
	}
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	put(t, dir+"/file", "")
	for path, want := range map[string]string{
		dir + "/new": "", dir: "", dir + "/file": "it is not a folder", dir + "/" + strings.Repeat("x", 100): "too long",
	} {
		dr := &doctor{places: places{sockets: path}}
		f := dr.sockets(t.Context())[0]
		if (want == "") != (f.Verdict == VerdictOK) || !strings.Contains(f.Text, want) {
			t.Errorf("%s: %+v", path, f)
		}
	}
}

// A serial port that is there is well, and a file in its place is none. (The null device stands for one: it is a device.)
func TestSerialPorts(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("what is there depends on the computer")
	}
	cfg := patient(t)
	device(cfg, "", "port", "/dev/null")
	device(cfg, "", "port", "/dev/fd")
	device(cfg, "", "port", "104") // of another kind
	device(cfg, "", "port", `\\.\com12`)
	dr := &doctor{cfg: cfg}
	list := dr.serial(t.Context())
	if len(list) != 3 || list[0].Verdict != VerdictOK || !strings.Contains(list[1].Text, "not a device") || !strings.Contains(list[2].Text, "another system") {
		t.Errorf("%+v", list)
	}
}

// A folder that this account cannot read, one that is none, and a login where there are none are told apart.
func TestWhyAFolderCannotBeRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	put(t, file, "")
	for want, err := range map[string]error{
		"can be read by this account": readable(t.TempDir()), "is not there": readable(file + "x"), "not a directory": readable(file),
		"may not be read": &fs.PathError{Op: "open", Path: "x", Err: fs.ErrPermission}, "for Windows": share.ErrNotWindows,
	} {
		if runtime.GOOS == "windows" && want == "not a directory" {
			continue // Windows says it with words of its own
		}
		if f := shareFinding("dev-1", "D", false, err); !strings.Contains(f.Text, want) || (f.Do == "") != (err == nil) || f.Subject != "device dev-1" {
			t.Errorf("%v: %+v", err, f)
		}
	}
	const unc = `\\server\share\out`
	if mine, own := shareFinding("a", unc, false, nil), shareFinding("a", unc, true, nil); !strings.Contains(mine.Text, "LocalSystem") || !strings.Contains(own.Text, "by its user") {
		t.Errorf("%+v, %+v", mine, own)
	}
	if runtime.GOOS != "windows" {
		cfg := patient(t)
		device(cfg, "", "dir", t.TempDir())
		cfg.Devices[len(cfg.Devices)-1].Settings["user"] = "nobody"
		dr := &doctor{cfg: cfg}
		if list := dr.shares(t.Context()); len(list) != 1 || list[0].Verdict != VerdictFault || !strings.Contains(list[0].Do, "mount the share") {
			t.Errorf("%+v", list)
		}
	}
}

// No number of a person is shown, and every text is one line.
func TestFindingsAreMasked(t *testing.T) {
	const made = "900101-1234567" // of nobody
	list := shown([]Finding{{probeHost, made, VerdictFault, "duplicate key " + made + "\nof a row", "look for " + made}})
	var b bytes.Buffer
	if err := WriteFindings(&b, list); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), made) || !strings.HasPrefix(b.String(), "FAULT    host ******-*******: duplicate key ******-*******; of a row\n         do: look for ") {
		t.Errorf("%s", b.String())
	}
}

// A configuration that cannot be read is all that is told.
func TestExamineWithoutAConfiguration(t *testing.T) {
	c, err := config.Load(config.Options{Files: []string{filepath.Join(t.TempDir(), "none.yaml")}})
	list, bug := Examine(t.Context(), c, err)
	if bug != nil || len(list) != 1 || list[0].Probe != probeConfig || list[0].Verdict != VerdictFault || list[0].Do == "" {
		t.Errorf("%+v, %v", list, bug)
	}
}
