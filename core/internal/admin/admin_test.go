package admin_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hostd/hostd/core/internal/admin"
)

var update = flag.Bool("update", false, "write the golden file anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a host that answers what it was told.
type fake struct {
	now     admin.Status
	missing error
	asked   atomic.Int64
}

func (f *fake) Status() admin.Status { f.asked.Add(1); return f.now }
func (f *fake) Ready() error         { return f.missing }

// clinic is a host in which something of everything happens.
func clinic() admin.Status {
	seen := time.Date(2026, 3, 24, 10, 31, 40, 0, time.UTC)
	return admin.Status{
		Clinic: "gangnam-eye", Version: "0.2.0", DataDir: "/var/lib/hostd", StartedAt: seen.Add(-time.Hour),
		Devices: []admin.Device{
			{Name: "ark-1", Plugin: "folder", Version: "1.0.0", State: admin.Up, Records: 12345, Received: 12346, HeldMillis: 2500, LastRecordAt: &seen, Restarts: 2},
			{Name: "tono", Plugin: "folder", State: admin.Failing, Error: "open folder: <nowhere>"},
		},
		Sinks: []admin.Sink{{Name: "emr", Plugin: "sql", Version: "1.0.0", State: admin.BackingOff, Delivered: 100, Backlog: 7, Dead: 3, Held: 2, HeldSince: &seen, Error: "database is away"}},
		Pool: admin.Pool{
			Open: 8, InUse: 3, Idle: 5, WaitCount: 11, WaitDuration: 1.5, MaxOpen: 38, Waiting: 12, Abandoned: 2, Down: true,
			Holders: []admin.Holder{{Name: "emr", InUse: 3, Oldest: 4.2, Statement: "UPSERT exam"}},
		},
		Cache:   admin.Cache{Entries: 50, Hits: 40, Misses: 10, Loads: 9},
		Spool:   admin.Spool{Records: 12345, Bytes: 5 << 20, OldestAt: &seen, Quarantined: 1, Unrouted: 4, NewestFile: "0000000007-0a1b2c3d.seg", NewestSynced: 4096},
		Workers: admin.Workers{Size: 8, Busy: 2, Queued: 1},
		Config:  admin.Config{LoadedAt: seen, Reloads: 3, Refusals: 1, RefusedAt: &seen, Faults: []string{"hostd.yaml:4: workers.size: must be 1 to 256"}},
		Alarms: []admin.Alarm{
			{Code: "sink_failing", Subject: "emr", Since: seen, Text: "check the database"},
			{Code: "sink_failing", Subject: "emr", Since: seen, Text: "said twice"},
		},
	}
}

// start runs a server on a free port until the test ends and gives its address.
func start(t *testing.T, opt admin.Options) (addr string) {
	t.Helper()
	if opt.Listen == "" {
		opt.Listen = "127.0.0.1:0"
	}
	opt.Log = slog.New(slog.DiscardHandler)
	s, err := admin.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	return s.Addr()
}

// ask sends one request with the given headers and returns code, body and headers.
func ask(t *testing.T, method, url string, header ...string) (code int, body string, h http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			req.Host = header[i+1]
		}
	}
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Header
}

func TestStatusHasTheKeysThatScriptsRelyOn(t *testing.T) {
	addr := start(t, admin.Options{Source: &fake{now: clinic()}})
	code, body, h := ask(t, "GET", "http://"+addr+admin.PathStatus)
	if code != 200 || h.Get("Content-Type") != "application/json" {
		t.Fatalf("%d %s", code, h)
	}
	if *update {
		if err := os.WriteFile("testdata/status.golden.json", []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/status.golden.json")
	if err != nil {
		t.Fatal(err)
	}
	if unix := strings.ReplaceAll(string(want), "\r\n", "\n"); body != unix {
		t.Errorf("got\n%s\nwant\n%s", body, unix)
	}
}

func TestAnEmptyHostHasListsAndNoNullButTimes(t *testing.T) {
	addr := start(t, admin.Options{Source: &fake{missing: errors.New("spool is being read")}})
	_, body, _ := ask(t, "GET", "http://"+addr+admin.PathStatus)
	var got map[string]any
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"devices", "sinks", "alarms"} {
		if list, ok := got[key].([]any); !ok || len(list) != 0 {
			t.Errorf("%s is %v, want an empty list", key, got[key])
		}
	}
	if got["ready"] != false {
		t.Error("ready while something is missing")
	}
}

// No error's text shows a resident registration number, whatever a driver or plugin wrote into it; numbers that are none stay,
// and the host's own status is left as it was.
func TestTextsAreMasked(t *testing.T) {
	const number, other = "900101-1234567", "1234567890123" // made up
	said := "row (" + number + ", " + other + ", 42) was refused"
	src := &fake{missing: errors.New(said), now: admin.Status{
		Devices: []admin.Device{{Name: "ark-1", State: admin.Failing, Error: said}},
		Sinks:   []admin.Sink{{Name: "emr", State: admin.Failing, Error: said}},
		Alarms:  []admin.Alarm{{Code: "database_unavailable", Text: said}},
	}}
	file := filepath.Join(t.TempDir(), "admin.token")
	addr := start(t, admin.Options{Source: src, TokenFile: file, Operate: func(context.Context, string, []byte) (any, error) {
		return nil, errors.New(said)
	}})
	token, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		method, path string
		texts        int
	}{
		{"GET", admin.PathStatus, 3}, {"GET", "/", 3}, {"GET", admin.PathReady, 1}, {"POST", admin.PathDo + "replay", 1}, {"GET", admin.PathMetrics, 0},
	} {
		_, body, _ := ask(t, c.method, "http://"+addr+c.path, "Authorization", "Bearer "+strings.TrimSpace(string(token)))
		if strings.Contains(body, number) || strings.Contains(body, other) || strings.Count(body, "******-*******, ******-*******, 42") != c.texts {
			t.Errorf("%s %s: %s", c.method, c.path, body)
		}
	}
	if src.now.Devices[0].Error != said || src.now.Sinks[0].Error != said || src.now.Alarms[0].Text != said {
		t.Error("the source's own texts were changed")
	}
}

func TestHealthAndReadiness(t *testing.T) {
	src := &fake{missing: errors.New("device ark-1 was not tried yet")}
	addr := start(t, admin.Options{Source: src})
	if code, _, _ := ask(t, "GET", "http://"+addr+admin.PathHealth); code != 200 {
		t.Errorf("health %d", code)
	}
	if code, body, _ := ask(t, "GET", "http://"+addr+admin.PathReady); code != 503 || !strings.Contains(body, "ark-1") {
		t.Errorf("not ready: %d %q", code, body)
	}
	ready := &fake{}
	addr = start(t, admin.Options{Source: ready})
	if code, _, _ := ask(t, "GET", "http://"+addr+admin.PathReady); code != 200 {
		t.Errorf("ready: %d", code)
	}
}

// sample is one line of the text format: a name, labels, a value.
var sample = regexp.MustCompile(`^([a-z_:][a-z0-9_:]*)(?:\{(.*)\})? (\S+)$`)

func TestMetricsAreTheStatus(t *testing.T) {
	src := &fake{now: clinic()}
	addr := start(t, admin.Options{Source: src})
	code, body, _ := ask(t, "GET", "http://"+addr+admin.PathMetrics)
	if code != 200 {
		t.Fatalf("%d %s", code, body)
	}
	if n := src.asked.Load(); n != 1 {
		t.Errorf("a scrape asked the host %d times, want once", n)
	}
	got := map[string]string{}
	for line := range strings.Lines(body) {
		line = strings.TrimSuffix(line, "\n")
		m := sample.FindStringSubmatch(line)
		switch {
		case strings.HasPrefix(line, "#"):
		case m == nil:
			t.Errorf("not a sample: %q", line)
		default:
			got[strings.TrimSpace(m[1]+" "+m[2])] = m[3]
		}
	}
	for name, want := range map[string]string{
		`hostd_records_received_total device="ark-1"`:               "12346",
		`hostd_records_spooled_total device="ark-1"`:                "12345",
		`hostd_device_held_seconds_total device="ark-1"`:            "2.5",
		`hostd_records_delivered_total sink="emr"`:                  "100",
		`hostd_dead_letters sink="emr"`:                             "3",
		`hostd_held_exams sink="emr"`:                               "2",
		`hostd_spool_backlog sink="emr"`:                            "7",
		`hostd_plugin_restarts_total name="ark-1",plugin="folder"`:  "2",
		`hostd_device_last_record_timestamp_seconds device="ark-1"`: "1.7743483e+09",
		`hostd_records_unrouted_total`:                              "4",
		`hostd_alarm_active code="sink_failing",subject="emr"`:      "1",
		`hostd_pool_in_use`:                                         "3",
		`hostd_pool_max_open`:                                       "38",
		`hostd_pool_wait_duration_seconds_total`:                    "1.5",
		`hostd_pool_waiting`:                                        "12",
		`hostd_pool_abandoned_total`:                                "2",
		`hostd_pool_down`:                                           "1",
		`hostd_pool_holder_in_use holder="emr"`:                     "3",
		`hostd_cache_hits_total`:                                    "40",
		`hostd_workers_busy`:                                        "2",
		`hostd_workers_queued`:                                      "1",
		`hostd_device_state device="tono",state="failing"`:          "1",
		`hostd_device_last_record_timestamp_seconds device="tono"`:  "",
		`hostd_sink_state sink="emr",state="backing_off"`:           "1",
		`hostd_info clinic="gangnam-eye",version="0.2.0"`:           "1",
		`hostd_ready`: "1",
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	if !slices.ContainsFunc(strings.Split(body, "\n"), func(l string) bool { return strings.HasPrefix(l, "go_goroutines ") }) {
		t.Error("no metrics of the process")
	}
}

func TestMetricsSurviveANameThatIsNotText(t *testing.T) {
	s := clinic()
	s.Devices[0].Name = "ark\xff"
	addr := start(t, admin.Options{Source: &fake{now: s}})
	code, body, _ := ask(t, "GET", "http://"+addr+admin.PathMetrics)
	if code != 200 || !strings.Contains(body, `device="ark?"`) {
		t.Errorf("%d", code)
	}
}

func TestPageShowsEverything(t *testing.T) {
	addr := start(t, admin.Options{Source: &fake{now: clinic()}})
	code, body, h := ask(t, "GET", "http://"+addr+"/")
	if code != 200 || !strings.HasPrefix(h.Get("Content-Type"), "text/html") {
		t.Fatalf("%d %v", code, h)
	}
	for _, want := range []string{
		"gangnam-eye", "ark-1", "12\u202f345", ">failing<", ">trying again<", "open folder: &lt;nowhere&gt;",
		"database is away", "UPSERT exam", "4.2 s", "5.0 MiB", "check the database", "5 things need attention", `class="bad"`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("page lacks %q", want)
		}
	}
	for _, never := range []string{"<script", "src=", "<nowhere>", "ZgotmplZ"} {
		if strings.Contains(body, never) {
			t.Errorf("page has %q", never)
		}
	}
	if !strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("policy %q", h.Get("Content-Security-Policy"))
	}
}

func TestPageOfAWellHost(t *testing.T) {
	s := clinic()
	s.Devices, s.Sinks, s.Alarms = s.Devices[:1], nil, nil
	addr := start(t, admin.Options{Source: &fake{now: s}})
	_, body, _ := ask(t, "GET", "http://"+addr+"/")
	if !strings.Contains(body, "All well") || strings.Contains(body, `id="alarms"`) {
		t.Error("a well host does not look well")
	}
	addr = start(t, admin.Options{Source: &fake{missing: errors.New("later")}})
	if _, body, _ = ask(t, "GET", "http://"+addr+"/"); !strings.Contains(body, "Starting") || !strings.Contains(body, "No device is configured.") {
		t.Error("an empty host does not say so")
	}
}

func TestOtherNamesAreRefused(t *testing.T) {
	addr := start(t, admin.Options{Source: &fake{now: clinic()}})
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]int{
		"127.0.0.1:" + port: 200, "localhost:" + port: 200, "LOCALHOST": 200, "[::1]:" + port: 200, "127.8.8.8": 200,
		"evil.example": 403, "evil.example:" + port: 403, "192.168.0.7:" + port: 403, "127.0.0.1.evil.example": 403, "localhost.evil.example": 403,
	} {
		if code, _, _ := ask(t, "GET", "http://"+addr+admin.PathStatus, "Host", host); code != want {
			t.Errorf("Host %s: %d, want %d", host, code, want)
		}
	}
}

func TestStopNeedsTheTokenAndNoForeignPage(t *testing.T) {
	file := filepath.Join(t.TempDir(), "data", "admin.token")
	stopped := make(chan struct{}, 10)
	addr := start(t, admin.Options{Source: &fake{}, TokenFile: file, Stop: func() { stopped <- struct{}{} }})
	token, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("token file is %v", info.Mode())
	}
	url, bearer := "http://"+addr+admin.PathStop, "Bearer "+strings.TrimSpace(string(token))
	for _, c := range []struct {
		method string
		header []string
		want   int
	}{
		{"POST", nil, 403},
		{"POST", []string{"Authorization", "Bearer guess"}, 403},
		{"POST", []string{"Authorization", bearer, "Origin", "http://evil.example"}, 403},
		{"POST", []string{"Authorization", bearer, "Origin", "null"}, 403},
		{"GET", []string{"Authorization", bearer}, 405},
		{"DELETE", []string{"Authorization", bearer}, 405},
	} {
		if code, body, _ := ask(t, c.method, url, c.header...); code != c.want {
			t.Errorf("%s %v: %d %s, want %d", c.method, c.header, code, body, c.want)
		}
	}
	if len(stopped) != 0 {
		t.Fatal("a refused call stopped the host")
	}
	if err := (admin.Client{Addr: addr}).Stop(t.Context(), string(token)); err != nil {
		t.Fatal(err)
	}
	<-stopped
}

func TestNoTokenNoChange(t *testing.T) {
	addr := start(t, admin.Options{Source: &fake{}, Stop: func() { t.Error("stopped without a token") }})
	if err := (admin.Client{Addr: addr}).Stop(t.Context(), ""); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("Stop = %v", err)
	}
}

// TestWhatIsNoTokenIsReplaced: a power cut may have left it, and the host must start.
func TestWhatIsNoTokenIsReplaced(t *testing.T) {
	for name, text := range map[string]string{"short": "short\n", "zeros": strings.Repeat("\x00", 27), "empty": "", "blanks": "sixteen or more characters"} {
		file := filepath.Join(t.TempDir(), "admin.token")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := admin.New(admin.Options{Listen: "127.0.0.1:0", Source: &fake{}, Log: slog.New(slog.DiscardHandler), TokenFile: file})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Open(t.Context()); err != nil {
			t.Errorf("%s: Open = %v", name, err)
		}
		s.Close()
		if b, err := os.ReadFile(file); err != nil || string(b) == text || len(strings.TrimSpace(string(b))) < 16 {
			t.Errorf("%s: the file has %q, %v", name, b, err)
		}
	}
}

func TestListenAddresses(t *testing.T) {
	for addr, ok := range map[string]bool{
		"127.0.0.1:8480": true, "localhost:0": true, "[::1]:8480": true,
		":8480": false, "0.0.0.0:8480": false, "[::]:8480": false, "192.168.0.7:8480": false, "clinic.example:8480": false, "8480": false, "": false,
	} {
		_, err := admin.New(admin.Options{Listen: addr, Source: &fake{}, Log: slog.New(slog.DiscardHandler)})
		if ok != (err == nil) || err != nil && (!errors.Is(err, admin.ErrAddress) || !strings.Contains(err.Error(), "admin.listen")) {
			t.Errorf("%q: %v", addr, err)
		}
	}
}

func TestAPortInUseIsSaidPlainly(t *testing.T) {
	addr := start(t, admin.Options{Source: &fake{}})
	s, err := admin.New(admin.Options{Listen: addr, Source: &fake{}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Open(t.Context())
	if !errors.Is(err, admin.ErrListen) || !strings.Contains(err.Error(), "in use by another program") {
		t.Errorf("Open = %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close after a failed Open: %v", err)
	}
}

// CheckPort says what Open would say, and leaves the port free.
func TestCheckPort(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	if err := admin.CheckPort(t.Context(), addr); !errors.Is(err, admin.ErrListen) || !strings.Contains(err.Error(), addr+" is in use by another program") {
		t.Errorf("in use: %v", err)
	}
	free.Close()
	for range 2 {
		if err := admin.CheckPort(t.Context(), addr); err != nil {
			t.Errorf("free: %v", err)
		}
	}
	if err := admin.CheckPort(t.Context(), "0.0.0.0:0"); !errors.Is(err, admin.ErrAddress) {
		t.Errorf("open to the network: %v", err)
	}
}

func TestClient(t *testing.T) {
	addr := start(t, admin.Options{Source: &fake{now: clinic()}})
	got, err := admin.Client{Addr: addr}.Status(t.Context())
	if err != nil || got.Clinic != "gangnam-eye" || !got.Ready || got.Pool.Holders[0].Oldest != 4.2 || got.Devices[0].LastRecordAt == nil {
		t.Errorf("%+v, %v", got, err)
	}
	if err := (admin.Client{Addr: addr}).Ready(t.Context()); err != nil {
		t.Error(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := (admin.Client{Addr: dead}).Status(t.Context()); !errors.Is(err, admin.ErrUnreachable) {
		t.Errorf("nobody there: %v", err)
	}
}

// panics is a host with a bug.
type panics struct{ fake }

func (*panics) Status() admin.Status { panic("bug") }

func TestAPanicIsOneFailedCall(t *testing.T) {
	addr := start(t, admin.Options{Source: &panics{}})
	if code, _, _ := ask(t, "GET", "http://"+addr+admin.PathStatus); code != 500 {
		t.Errorf("status %d, want 500", code)
	}
	if code, body, _ := ask(t, "GET", "http://"+addr+admin.PathMetrics); code != 200 || !strings.Contains(body, "go_goroutines ") {
		t.Errorf("metrics %d without those of the process", code)
	}
	if code, _, _ := ask(t, "GET", "http://"+addr+admin.PathHealth); code != 200 {
		t.Error("the page died of one bug")
	}
}

func TestASlowPeerDoesNotHoldTheEnd(t *testing.T) {
	s, err := admin.New(admin.Options{Listen: "127.0.0.1:0", Source: &fake{}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n"); err != nil { // and never the end
		t.Fatal(err)
	}
	begin := time.Now()
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run = %v", err)
	}
	if took := time.Since(begin); took > 4*time.Second {
		t.Errorf("the end took %s", took)
	}
}
