package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"
)

const (
	look      = 200 * time.Millisecond // between looks at the state
	stopWait  = 20 * time.Second       // for hostd to drain and end
	heardWait = 5 * time.Second        // for hostd to end by a Ctrl-C of its own
	callWait  = 5 * time.Second        // for one HTTP call
	maxAnswer = 16 << 20               // bytes
)

var readyLine = regexp.MustCompile(`\bready\b`)

// host is a running hostd.
type host struct {
	cmd  *exec.Cmd
	work string
	out  *output
}

// output is what hostd prints, line by line. os/exec hands the pipe to ReadFrom and waits for its end in Wait.
type output struct {
	file  *os.File      // keeps all of it
	ready chan struct{} // closed at the line that says so
	ended chan struct{} // closed when hostd prints no more
}

// Write is never called: os/exec copies by ReadFrom.
func (o *output) Write(p []byte) (int, error) { return o.file.Write(p) }

// ReadFrom reads to the end.
func (o *output) ReadFrom(r io.Reader) (n int64, err error) {
	defer close(o.ended)
	lines, said := bufio.NewReader(r), false
	for {
		line, err := lines.ReadString('\n')
		n += int64(len(line))
		_, _ = o.file.WriteString(line) // a copy for the reader of a failure
		if !said && readyLine.MatchString(line) {
			close(o.ready)
			said = true
		}
		if err != nil {
			return n, nil
		}
	}
}

// start runs hostd with the configuration in work.
func start(ctx context.Context, program, work string) (*host, error) {
	f, err := os.Create(filepath.Join(work, "log", "hostd.out"))
	if err != nil {
		return nil, err
	}
	h := &host{work: work, out: &output{file: f, ready: make(chan struct{}), ended: make(chan struct{})}}
	h.cmd = exec.CommandContext(context.WithoutCancel(ctx), program, "run", "-c", "hostd.yaml")
	h.cmd.Dir, h.cmd.Stdout, h.cmd.Stderr = work, h.out, h.out
	if err := h.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start hostd: %w", err), f.Close())
	}
	return h, nil
}

// ready waits for the line that says so.
func (h *host) ready(ctx context.Context, patience time.Duration) error {
	select {
	case <-h.out.ready:
		return nil
	case <-h.out.ended:
		return fmt.Errorf("hostd ended at once:\n%s", h.said())
	case <-time.After(patience):
		return fmt.Errorf("hostd did not get ready within %s:\n%s", patience, h.said())
	case <-ctx.Done():
		return errors.New("interrupted")
	}
}

func (h *host) said() []byte {
	text, err := os.ReadFile(h.out.file.Name())
	if err != nil {
		return []byte(err.Error())
	}
	return text
}

// wait returns when ctx ends, or hostd.
func (h *host) wait(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-h.out.ended:
	}
}

// status is what this program reads of /api/v1/status.
type status struct {
	Devices []struct {
		Name    string
		State   string
		Records uint64
		Error   string
	}
	Sinks []struct {
		Name                     string
		State                    string
		Delivered, Backlog, Dead uint64
		Error                    string
	}
}

// arrived waits until every exported file was taken, and every sink has every exam.
func (h *host) arrived(ctx context.Context, addr, in string, want int) error {
	var s status
	var left int
	for end := time.Now().Add(arriveWait); time.Now().Before(end); {
		var failed int
		var err error
		if left, failed, err = waiting(in); err != nil {
			return err
		}
		if failed > 0 {
			return fmt.Errorf("%d of the example's files could not be read: see the folders failed below %s", failed, in)
		}
		if s, err = ask(ctx, addr); err != nil {
			return err
		}
		if left == 0 && s.whole(want) {
			return nil
		}
		select {
		case <-time.After(look):
		case <-h.out.ended:
			return fmt.Errorf("hostd ended:\n%s", h.said())
		case <-ctx.Done():
			return errors.New("interrupted")
		}
	}
	return fmt.Errorf("after %s %d files are still there; devices %+v, sinks %+v:\n%s", arriveWait, left, s.Devices, s.Sinks, h.said())
}

// whole says whether at least so many records came, and all of them are in every sink.
func (s status) whole(want int) bool {
	var records uint64
	for _, d := range s.Devices {
		records += d.Records
	}
	if records < uint64(want) || len(s.Sinks) == 0 {
		return false
	}
	for _, k := range s.Sinks {
		if k.Backlog > 0 || k.Dead > 0 || k.Delivered < uint64(want) {
			return false
		}
	}
	return true
}

func ask(ctx context.Context, addr string) (s status, err error) {
	body, err := call(ctx, http.MethodGet, "http://"+addr+"/api/v1/status", "")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(body, &s)
}

func call(ctx context.Context, method, url, token string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callWait)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err == nil && resp.StatusCode >= http.StatusBadRequest {
		err = fmt.Errorf("%s %s: %s: %s", method, url, resp.Status, body)
	}
	return body, err
}

// stop ends hostd as an operator would, and by force where that is not heard. A Ctrl-C, which ended ctx, has most often
// reached hostd as well, and a second one would cut its end short.
func (h *host) stop(ctx context.Context, addr string) error {
	if ctx.Err() != nil {
		select {
		case <-h.out.ended:
		case <-time.After(heardWait):
		}
	}
	if err := h.politely(context.WithoutCancel(ctx), addr); err != nil {
		say("hostd did not hear that it should end (%v); ending it by force", err)
		_ = h.cmd.Process.Kill() // it may have ended by now
	}
	var err error
	select {
	case <-h.out.ended:
	case <-time.After(stopWait):
		err = fmt.Errorf("hostd did not end within %s; ended by force", stopWait)
		_ = h.cmd.Process.Kill()
	}
	if ended := h.cmd.Wait(); err == nil && ended != nil {
		err = fmt.Errorf("hostd ended badly: %w\n%s", ended, h.said())
	}
	return errors.Join(err, h.out.file.Close())
}

// politely asks hostd to end. Windows has no interrupt for another process: there the page's stop call does it, with the
// token of the data folder.
func (h *host) politely(ctx context.Context, addr string) error {
	select {
	case <-h.out.ended:
		return nil
	default:
	}
	if runtime.GOOS != "windows" {
		return h.cmd.Process.Signal(os.Interrupt)
	}
	token, err := os.ReadFile(filepath.Join(h.work, "data", "admin.token"))
	if err != nil {
		return err
	}
	_, err = call(ctx, http.MethodPost, "http://"+addr+"/api/v1/stop", strings.TrimSpace(string(token)))
	return err
}
