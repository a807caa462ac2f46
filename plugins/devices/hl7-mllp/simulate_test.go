package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

// output is what a simulator prints.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// patients are the ids of the exams that are stored, sorted, each as often as it is.
func (r *rig) patients() (list []string) {
	for _, rec := range r.records() {
		if rec.Kind != exam.Kind {
			continue
		}
		e, err := exam.Decode(rec.Data)
		must(r.t, err)
		list = append(list, e.Patient.ID)
	}
	slices.Sort(list)
	return list
}

func numbered(n int) (list []string) {
	for i := range n {
		list = append(list, numberedID(i+1))
	}
	return list
}

// TestSimulate has the device take what its simulated senders send: each message once, whatever they do besides.
func TestSimulate(t *testing.T) {
	dir := t.TempDir()
	certificate(t, dir)
	for _, c := range []struct {
		args     string
		settings map[string]any
		other    string // kinds of what is stored besides
	}{
		{"--count 50", nil, ""},
		{"--count 200 --connections 8 --rate 4000", nil, ""},
		{"--count 10 --enhanced", nil, ""},
		{"--count 10 --size 5000 --every 1ms", nil, ""},
		{"--count 10", map[string]any{"sources": []any{map[string]any{"reply": "commit"}}}, ""},
		{"--count 10 --misbehave noise,split,control,silence,cut --quiet 20ms", nil, "noise truncated noise truncated"},
		{"--count 5 --tls-ca " + filepath.Join(dir, "cert.pem"), map[string]any{"tls_cert": filepath.Join(dir, "cert.pem"), "tls_key": filepath.Join(dir, "key.pem")}, ""},
		{"--count 5 --tls-ca " + filepath.Join(dir, "cert.pem") + " --tls-cert " + filepath.Join(dir, "cert.pem") + " --tls-key " + filepath.Join(dir, "key.pem"), map[string]any{
			"tls_cert": filepath.Join(dir, "cert.pem"), "tls_key": filepath.Join(dir, "key.pem"), "tls_ca": filepath.Join(dir, "cert.pem"),
		}, ""},
	} {
		t.Run(c.args, func(t *testing.T) {
			r := newRig(t, c.settings).mustOpen()
			var out output
			args := append([]string{"--numbered", "--seed", "7", "--connect", r.d.session.at.String()}, strings.Fields(c.args)...)
			must(t, simulate(t.Context(), args, nil, &out))
			r.close()
			var count int
			fmt.Sscanf(c.args, "--count %d", &count)
			if got := r.patients(); !slices.Equal(got, numbered(count)) {
				t.Errorf("%d exams of %d: %v", len(got), count, got)
			}
			if other := strings.Join(slices.DeleteFunc(strings.Fields(r.kinds()), func(k string) bool { return k == exam.Kind }), " "); other != c.other {
				t.Errorf("stored besides: %q, want %q", other, c.other)
			}
			if n := strings.Count(out.String(), "answered K-"); n != count || !strings.Contains(out.String(), fmt.Sprintf("sent=%d acknowledged=%d negative=0 parked=0 ", count, count)) {
				t.Errorf("%d were answered:\n%s", n, out.String())
			}
			if several := strings.Contains(c.args, "--connections"); strings.Contains(out.String(), " on ") != several {
				t.Errorf("says on which of several connections:\n%s", out.String())
			}
		})
	}
}

// TestSimulateThroughRestarts closes the device again and again, and the host refuses for a while: in the end each message is
// stored, and was acknowledged when it was.
func TestSimulateThroughRestarts(t *testing.T) {
	addr := freeAddress(t)
	r := newRig(t, map[string]any{"listen": addr}).mustOpen()
	const count = 300
	var out output
	ended := make(chan error, 1)
	go func() {
		ended <- simulate(t.Context(), strings.Fields(fmt.Sprintf("--numbered --seed 7 --connections 4 --count %d --connect %s", count, addr)), nil, &out)
	}()
	for n := 1; len(ended) == 0; n++ {
		for before := len(r.records()); len(r.records()) < before+20 && len(ended) == 0; {
			time.Sleep(time.Millisecond)
		}
		if n%3 == 0 {
			r.told(sdk.ReasonFull)
		}
		must(t, r.open())
		r.told("")
	}
	must(t, <-ended)
	if got := slices.Compact(r.patients()); !slices.Equal(got, numbered(count)) {
		t.Errorf("%d exams of %d", len(got), count)
	}
	if n := strings.Count(out.String(), "answered K-"); n != count {
		t.Errorf("%d were answered", n)
	}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, ln.Close())
	return ln.Addr().String()
}

// TestSimulateListens has the device call the simulated sender, again after that has hung up.
func TestSimulateListens(t *testing.T) {
	addr := freeAddress(t)
	ended := make(chan error, 1)
	var out output
	go func() {
		ended <- simulate(t.Context(), strings.Fields("--numbered --count 10 --misbehave split,cut --listen "+addr), nil, &out)
	}()
	r := newRig(t, map[string]any{"connect": addr})
	delete(r.settings, "listen")
	for len(ended) == 0 { // as the host does
		if err := r.open(); err != nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		for r.failure() == nil && len(ended) == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	must(t, <-ended)
	r.close()
	if got := r.patients(); !slices.Equal(got, numbered(10)) {
		t.Errorf("%v\n%s", got, out.String())
	}
}

// TestCallerCountsOnlyItsReply has a receiver that answers wrongly: another control id, nothing, a negative code.
func TestCallerCountsOnlyItsReply(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	var sent []string // control ids as they came, with a slash where the connection was another
	go func() {
		answers := []string{"AA other", "", "AR", "CE", "AA", "AE", "AA"}
		for len(answers) > 0 {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			sent = append(sent, "/")
			in := bufio.NewReader(conn)
			for len(answers) > 0 {
				text, err := in.ReadString(fs[0])
				if err != nil {
					break
				}
				id := strings.Split(text, "|")[9]
				sent = append(sent, id[strings.LastIndex(id, "-")+1:])
				code, of, _ := strings.Cut(answers[0], " ")
				answers = answers[1:]
				if of == "" {
					of = id
				}
				if code != "" {
					fmt.Fprintf(conn, "%sMSH|^~\\&|||||||ACK|1|P|2.5.1\rMSA|%s|%s\r%s", vt, code, of, fs+cr)
				}
			}
			if len(answers) == 0 {
				return // the last answer is still to be read
			}
			conn.Close()
		}
	}()
	var out output
	err = simulate(t.Context(), strings.Fields("--count 3 --seed 1 --timeout 200ms --connect "+ln.Addr().String()), nil, &out)
	if err == nil || !strings.Contains(err.Error(), "1 of 3") {
		t.Errorf("the parked message is told so: %v", err)
	}
	if got := strings.Join(sent, " "); got != "/ 1 / 1 / 1 1 1 2 3" {
		t.Errorf("sent %s", got)
	}
	if !strings.Contains(out.String(), "sent=3 acknowledged=2 negative=3 parked=1 resent=4 ") {
		t.Errorf("reported %s", out.String())
	}
}

func TestSimulateRefuses(t *testing.T) {
	for args, want := range map[string]string{
		"": "one of them", "--connect a:1 --listen b:2": "one of them", "--connect a:1 --misbehave x": "--misbehave knows", "--connect a:1 --count -1": "negative",
		"--connect a:1 --connections 0": "--connections", "--listen :0 --tls-ca x": "--tls-ca", "--connect a:1 --tls-ca x --tls-cert y": "--tls-key", "--connect a:1 --tls-cert x --tls-key y": "--tls-ca",
	} {
		if err := simulate(t.Context(), strings.Fields(args), nil, io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", args, err)
		}
	}
}

// TestSimulateEnds holds that a simulator without end ends with its ctx, with a report.
func TestSimulateEnds(t *testing.T) {
	r := newRig(t, nil).mustOpen()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out output
	ended := make(chan error, 1)
	go func() {
		ended <- simulate(ctx, []string{"--count", "0", "--connections", "2", "--connect", r.d.session.at.String()}, nil, &out)
	}()
	for len(r.records()) < 10 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-ended; err != nil || !strings.Contains(out.String(), "acknowledged=") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

func TestHistogram(t *testing.T) {
	var h histogram
	for i := range 10_000 {
		h.add(time.Duration(i+1) * 100 * time.Microsecond)
	}
	for q, want := range map[float64]time.Duration{0.5: 500 * time.Millisecond, 0.9: 900 * time.Millisecond, 0.99: 990 * time.Millisecond} {
		if got := h.quantile(q); got < want*96/100 || got > want*101/100 {
			t.Errorf("quantile %v is %v", q, got)
		}
	}
	if h.quantile(1) > h.most || h.most != time.Second {
		t.Errorf("most is %v, quantile %v", h.most, h.quantile(1))
	}
	h = histogram{}
	h.add(0)
	h.add(1 << 62)
	if h.quantile(0.5) != 0 || (&histogram{}).quantile(0.5) != 0 {
		t.Error("bounds")
	}
}
