package bench

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

var (
	messages = flag.Int("messages", 20_000, "HL7 messages of each round of BenchmarkHL7 with several connections; a round with one has a fifth of them")
	nodeDir  = flag.String("node", "", "folder in which `npm install simple-hl7` was run: BenchmarkHL7Peer compares with it")
)

const (
	rawSyncs  = 2000
	messageKB = 1 << 10
)

// BenchmarkHL7 sends HL7 messages of 1 KiB over MLLP from a process of its own, with one in flight on each connection, through
// hl7-mllp and hostd, which syncs before it acknowledges, into a file sink, where each is counted. Beside it, in the same round,
// the disk's own rate of appends of as many bytes, each synced.
func BenchmarkHL7(b *testing.B) {
	for _, connections := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("connections=%d", connections), func(b *testing.B) {
			program(b)
			parent := workDir(b)
			var rates, ratios, p50, p99, cpu []float64
			for b.Loop() {
				raw := syncRate(b, parent)
				r := hl7Flow(b, inside(b, parent), connections, rounds(connections))
				raw = (raw + syncRate(b, parent)) / 2
				b.Logf("%.0f messages/s, p50 %.2f ms, p99 %.2f ms, max %.2f ms, CPU %.0f s/M and the client's %.0f; %.0f synced appends/s; load %s",
					r["rate"], r["p50"], r["p99"], r["max"], r["cpu"], r["client"], raw, loadavg(b))
				cpu = append(cpu, r["cpu"])
				rates, ratios = append(rates, r["rate"]), append(ratios, r["rate"]/raw)
				p50, p99 = append(p50, r["p50"]), append(p99, r["p99"])
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(rates), "messages/s")
			b.ReportMetric(median(ratios), "raw-ratio")
			b.ReportMetric(median(p50), "p50-ms")
			b.ReportMetric(median(p99), "p99-ms")
			b.ReportMetric(median(cpu), "cpu-s/M")
		})
	}
}

// BenchmarkHL7Peer is the flow on 16 connections beside a server of simple-hl7 which appends and syncs before it acknowledges, with the
// same client, turn by turn.
func BenchmarkHL7Peer(b *testing.B) {
	if _, err := exec.LookPath("node"); err != nil || *nodeDir == "" {
		b.Skip("needs node, and -node DIR where `npm install simple-hl7` was run")
	}
	program(b)
	parent := workDir(b)
	const connections = 16
	var ratios []float64
	for b.Loop() {
		peer := peerFlow(b, inside(b, parent), connections, *messages/2)
		ours := hl7Flow(b, inside(b, parent), connections, *messages)
		b.Logf("hostd %.0f messages/s, p99 %.2f ms; simple-hl7 with fdatasync %.0f, p99 %.2f ms", ours["rate"], ours["p99"], peer["rate"], peer["p99"])
		ratios = append(ratios, ours["rate"]/peer["rate"])
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(ratios), "peer-ratio")
}

// BenchmarkHL7Slowloris is the flow on 16 connections, alone and beside a thousand connections that never end their message, which
// the limit of connections of one address does not keep out.
func BenchmarkHL7Slowloris(b *testing.B) {
	program(b)
	parent := workDir(b)
	const connections, loris = 16, 1000
	var ratios, grown []float64
	for b.Loop() {
		alone := hl7Flow(b, inside(b, parent), connections, *messages)
		beside := hl7FlowBeside(b, inside(b, parent), connections, *messages, loris)
		b.Logf("p99 %.2f ms, alone %.2f ms; the plugin has %.1f MB, alone %.1f MB", beside["p99"], alone["p99"], beside["peak"], alone["peak"])
		ratios, grown = append(ratios, beside["p99"]/alone["p99"]), append(grown, beside["peak"]-alone["peak"])
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(ratios), "p99-ratio")
	b.ReportMetric(median(grown), "grown-MB")
}

func rounds(connections int) int {
	if connections == 1 {
		return *messages / 5
	}
	return *messages
}

// syncRate is how often a second a message's size can be appended and synced.
func syncRate(b *testing.B, dir string) float64 {
	b.Helper()
	f, err := os.CreateTemp(dir, "sync-")
	if err != nil {
		b.Fatal(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := make([]byte, messageKB)
	from := time.Now()
	for range rawSyncs {
		if _, err := f.Write(block); err != nil {
			b.Fatal(err)
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			b.Fatal(err)
		}
	}
	return rawSyncs / time.Since(from).Seconds()
}

// hl7Flow is one round: what the client reports, and the plugin's peak in MB.
func hl7Flow(b *testing.B, dir string, connections, n int) map[string]float64 {
	b.Helper()
	return hl7FlowBeside(b, dir, connections, n, 0)
}

func hl7FlowBeside(b *testing.B, dir string, connections, n, loris int) map[string]float64 {
	b.Helper()
	addr, out := freePort(b), filepath.Join(dir, "out")
	h := start(b, dir, fmt.Sprintf(`
devices: [{name: mllp, plugin: hl7-mllp, settings: {listen: %q, max_per_address: 2000, max_connections: 2000}}]
sinks: [{name: lines, plugin: file, settings: {dir: %q}}]
`, addr, out))
	h.awaitReady()
	h.calm()
	before := map[string]float64{}
	for _, u := range h.family() {
		before[u.name] = u.cpu
	}
	for _, conn := range hangers(b, h, addr, loris) {
		defer conn.Close()
	}
	r := client(b, addr, connections, n)
	lines := 0
	h.until("lines of all messages", look, stopWait, func() bool {
		lines = countLines(b, out)
		return lines >= n
	})
	if lines != n {
		b.Fatalf("%d lines of %d messages", lines, n)
	}
	for _, u := range h.family() {
		if u.name == "hl7-mllp" {
			r["peak"] = u.peak
		}
		cost := (u.cpu - before[u.name]) * 1e6 / float64(n)
		b.Logf("%s: CPU %.0f s/M, peak %.0f MB", u.name, cost, u.peak)
		r["cpu"] += cost
	}
	h.stop()
	return r
}

// hangers are connections that have begun a message and say nothing more.
func hangers(b *testing.B, h *running, addr string, n int) (list []net.Conn) {
	b.Helper()
	h.until("port", look, readyWait, func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	for range n {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := conn.Write([]byte("\x0bMSH|^~\\&|SLOW|")); err != nil {
			b.Fatal(err)
		}
		list = append(list, conn)
	}
	return list
}

// client sends n messages to a server, each acknowledged, and gives what it reports.
func client(b *testing.B, addr string, connections, n int) map[string]float64 {
	b.Helper()
	cmd := exec.CommandContext(context.Background(), filepath.Join(program(b), "hl7-mllp"), "simulate", "--connect", addr,
		"--connections", strconv.Itoa(connections), "--count", strconv.Itoa(n), "--size", strconv.Itoa(messageKB), "--seed", "1")
	text, err := cmd.Output()
	if err != nil {
		b.Fatalf("client: %v\n%s", err, text)
	}
	r := map[string]float64{}
	for _, field := range strings.Fields(string(text)) {
		name, value, found := strings.Cut(field, "=")
		if v, err := strconv.ParseFloat(value, 64); found && err == nil {
			r[name] = v
		}
	}
	r["client"] = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds() * 1e6 / float64(n)
	if r["acknowledged"] != float64(n) || r["resent"] != 0 {
		b.Fatalf("not every message was acknowledged once:\n%s", text)
	}
	return r
}

// countLines counts the distinct records of a file sink; one that is there twice is none.
func countLines(b *testing.B, dir string) int {
	b.Helper()
	seen := map[string]int{}
	for _, name := range lineFiles(b, dir) {
		text, err := os.ReadFile(name)
		if err != nil {
			b.Fatal(err)
		}
		for line := range bytes.Lines(text) {
			if id, _, err := quick(line); err == nil {
				seen[id]++
			}
		}
	}
	for id, times := range seen {
		if times > 1 {
			b.Fatalf("%s is there %d times", id, times)
		}
	}
	return len(seen)
}

func freePort(b *testing.B) string {
	b.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// peerFlow is one round of simple-hl7.
func peerFlow(b *testing.B, dir string, connections, n int) map[string]float64 {
	b.Helper()
	addr, out := freePort(b), filepath.Join(dir, "messages")
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		b.Fatal(err)
	}
	script, err := filepath.Abs(filepath.Join("testdata", "simple-hl7.js"))
	if err != nil {
		b.Fatal(err)
	}
	modules, err := filepath.Abs(filepath.Join(*nodeDir, "node_modules"))
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.CommandContext(context.Background(), "node", script, port, out)
	cmd.Env, cmd.Stderr = append(os.Environ(), "NODE_PATH="+modules), os.Stderr
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill() // it has no other end
		_ = cmd.Wait()
	}()
	r := client(b, addr, connections, n)
	info, err := os.Stat(out)
	if err != nil || info.Size() < int64(n)*messageKB {
		b.Fatalf("simple-hl7 has not stored all: %v", err)
	}
	return r
}
