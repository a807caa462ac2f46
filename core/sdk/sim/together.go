package sim

import (
	"context"
	"fmt"

	"github.com/hostd/hostd/core/internal/life"
)

// Together runs n jobs beside each other, numbered from 0, until each has ended: an instrument with several lines. The first
// error ends the ctx of the others. It returns their errors; the end of ctx is none.
func Together(ctx context.Context, n int, job func(ctx context.Context, number int) error) error {
	g, over := life.NewGroup(ctx), make(chan struct{})
	for i := range n {
		g.Go(fmt.Sprintf("line %d", i), func(ctx context.Context) error { return job(ctx, i) })
	}
	ending := life.NewGroup(ctx)
	ending.Go("end of all lines", func(context.Context) error {
		select {
		case err := <-g.Failed():
			g.Cancel()
			return err
		case <-over:
			return nil
		}
	})
	err := g.Wait()
	close(over)
	_ = ending.Wait() // its error is one of g's
	return err
}
