package sim_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostd/hostd/core/sdk/sim"
)

// TestSocket is of both directions: the driver dials, and the driver listens.
func TestSocket(t *testing.T) {
	script := func(l *sim.Line) {
		l.Say("\x05")
		l.Expect("\x06")
	}
	answer := func(conn net.Conn) error {
		defer conn.Close()
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			return err
		}
		_, err := conn.Write([]byte("\x06"))
		return err
	}
	driver := make(chan error, 2)
	play := func(conn sim.Conn, err error) {
		if err == nil {
			err = sim.Play(t.Context(), conn, sim.Options{}, script)
			conn.Close()
		}
		if err := errors.Join(err, <-driver); err != nil {
			t.Error(err)
		}
	}
	ln, err := sim.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		conn, err := net.Dial("tcp", ln.Addr())
		if err == nil {
			err = answer(conn)
		}
		driver <- err
	}()
	play(ln.Accept(t.Context()))
	gone, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := ln.Accept(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("accept whose context ends: %v", err)
	}
	addr := ln.Addr()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	go func() { // the instrument dials before this driver listens
		host, err := net.Listen("tcp", addr)
		if err != nil {
			driver <- err
			return
		}
		defer host.Close()
		conn, err := host.Accept()
		if err == nil {
			err = answer(conn)
		}
		driver <- err
	}()
	play(sim.Dial(t.Context(), addr))
}

func TestDialEndsWithItsContext(t *testing.T) {
	ln, err := sim.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr()
	ln.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := sim.Dial(ctx, addr); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// TestPTY sends every byte there is through a line, both ways: nothing is echoed, translated or taken as a command.
func TestPTY(t *testing.T) {
	pty, err := sim.OpenPTY()
	if runtime.GOOS != "linux" {
		if !errors.Is(err, sim.ErrNoPTY) {
			t.Error(err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer pty.Close()
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	for range 2 { // a driver that comes back finds the line as it was
		driver := make(chan error, 1)
		go func() {
			port, err := os.OpenFile(pty.Path(), os.O_RDWR, 0)
			if err != nil {
				driver <- err
				return
			}
			defer port.Close()
			got := make([]byte, len(all))
			if _, err = io.ReadFull(port, got); err == nil && !bytes.Equal(got, all) {
				err = errors.New("other bytes came")
			}
			if err == nil {
				_, err = port.Write(all)
			}
			driver <- err
		}()
		err = sim.Play(t.Context(), pty, sim.Options{}, func(l *sim.Line) {
			l.Say(string(all))
			l.Expect(string(all))
		})
		if err := errors.Join(err, <-driver); err != nil {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := sim.Play(ctx, pty, sim.Options{}, func(l *sim.Line) { l.Expect("never") }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a step on a silent line does not end with its context: %v", err)
	}
}

func TestFolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		f, path := sim.Folder(dir), filepath.Join(dir, "exam.xml")
		want := func(name, text string) {
			t.Helper()
			if b, err := os.ReadFile(filepath.Join(dir, name)); string(b) != text || err != nil {
				t.Errorf("%s is %q, %v; want %q", name, b, err, text)
			}
		}
		if err := f.Write("exam.xml", []byte("plain")); err != nil {
			t.Fatal(err)
		}
		want("exam.xml", "plain")
		done := make(chan error, 1)
		go func() { done <- f.WriteSlowly(t.Context(), "exam.xml", []byte("abcdefgh"), 4, time.Minute) }()
		for _, so := range []string{"ab", "abcd", "abcdef", "abcdefgh"} {
			synctest.Wait()
			want("exam.xml", so)
			time.Sleep(time.Minute)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := f.WriteSlowly(ctx, "cut.xml", []byte("abcdefgh"), 4, time.Minute); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		want("cut.xml", "ab")
		before, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.RenameIn("exam.xml", []byte("over")); err != nil {
			t.Fatal(err)
		}
		want("exam.xml", "over")
		if after, err := os.Stat(path); err != nil || os.SameFile(before, after) {
			t.Errorf("it was written in place, not renamed over: %v", err)
		}
		if left, err := filepath.Glob(filepath.Join(dir, "*.part")); len(left) > 0 || err != nil {
			t.Errorf("left: %v, %v", left, err)
		}
		for _, err := range []error{
			sim.Folder(path).Write("a", nil), sim.Folder(path).RenameIn("a", nil), sim.Folder(path).WriteSlowly(t.Context(), "a", nil, 1, 0),
		} {
			if err == nil {
				t.Error("a folder that is none takes files")
			}
		}
	})
}
