package life_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostd/hostd/core/internal/life"
)

func TestCallTurnsAPanicIntoAnErrorWithItsStack(t *testing.T) {
	err := life.Call(func() error { panic("wires crossed") })
	var p *life.Panic
	if !errors.As(err, &p) {
		t.Fatalf("Call = %v, want a *Panic", err)
	}
	if p.Value != "wires crossed" || !strings.Contains(string(p.Stack), "life_test.go") {
		t.Fatalf("value %v, stack without this file: %s", p.Value, p.Stack)
	}
}

func TestWaitJoinsErrorsAndForgetsTheEnd(t *testing.T) {
	broken := errors.New("broken")
	g := life.NewGroup(t.Context())
	g.Go("a", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	g.Go("b", func(context.Context) error { return broken })
	if err := <-g.Failed(); !errors.Is(err, broken) || !strings.HasPrefix(err.Error(), "b: ") {
		t.Fatalf("Failed gave %v", err)
	}
	g.Cancel()
	err := g.Wait()
	if !errors.Is(err, broken) || errors.Is(err, context.Canceled) {
		t.Fatalf("Wait = %v, want only b's error", err)
	}
}

func TestStopNamesWhatStillRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := life.NewGroup(t.Context())
		let := make(chan struct{})
		g.Go("deaf", func(context.Context) error { <-let; return nil })
		g.Go("polite", func(ctx context.Context) error { <-ctx.Done(); return nil })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := g.Stop(ctx)
		if err == nil || !strings.Contains(err.Error(), "deaf") || strings.Contains(err.Error(), "polite") {
			t.Fatalf("Stop = %v, want it to name deaf alone", err)
		}
		close(let)
		if err := g.Wait(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestBackoffDoublesToItsLongest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := life.Backoff{First: time.Second, Longest: 5 * time.Second}
		for _, want := range []time.Duration{1, 2, 4, 5, 5} {
			begin := time.Now()
			if err := b.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			want *= time.Second
			if took := time.Since(begin); took < want/2 || took > want+1 {
				t.Fatalf("waited %s, want %s to %s", took, want/2, want)
			}
		}
		b.Reset()
		if b.Pause() != 0 {
			t.Fatal("Reset did not")
		}
	})
}
