package sim

import (
	"bytes"
	"fmt"
	"time"

	"github.com/hostd/hostd/core/sdk/capture"
)

// ReplayOptions say how a capture is played.
type ReplayOptions struct {
	// Timing keeps the pauses that the instrument made. Without it everything is said as soon as its turn comes.
	Timing bool
	// Exact wants the driver to say the same bytes. Without it letters and digits may be others (a time, a number), as long
	// as the rest and the lengths are the same; a masked capture is compared so in any case.
	Exact bool
}

// Replay is the script of the instrument in a capture of one connection (capture.Log.Of): it says what the instrument said,
// and waits for what it heard before. Its failure shows what the driver says with the letters and digits taken out: a
// capture has patients' data in it.
func Replay(l capture.Log, o ReplayOptions) Script {
	shape := capture.Mask
	if o.Exact && !l.Masked {
		shape = func(b []byte) []byte { return b }
	}
	return func(line *Line) {
		line.show = func(b []byte) string { return show(capture.Mask(b)) }
		var last time.Time
		for i, e := range l.Events {
			switch e.Kind {
			case capture.In:
				if o.Timing && !last.IsZero() {
					line.Wait(e.At.Sub(last))
				}
				line.Say(string(e.Data))
			case capture.Out:
				line.hearLike(e.Data[:len(e.Data)-unsent(l.Events[i+1:])], shape)
			case capture.Open, capture.Unsent, capture.End, capture.Close:
			}
			last = e.At
		}
	}
}

// unsent is how many bytes of an Out never left, where the events behind it say so.
func unsent(behind []capture.Event) int {
	if len(behind) > 0 && behind[0].Kind == capture.Unsent {
		return behind[0].N
	}
	return 0
}

// hearLike hears as many bytes as want has, of the same shape.
func (l *Line) hearLike(want []byte, shape func([]byte) []byte) {
	for l.err == nil {
		n := min(len(l.heard), len(want))
		if got := l.heard[:n]; !bytes.Equal(shape(got), shape(want[:n])) {
			l.Fail(fmt.Errorf("%w than in the capture: expected %s, heard %s", ErrUnexpected, l.show(want), l.show(l.heard)))
			return
		}
		if n == len(want) {
			l.take(n)
			return
		}
		l.hear(func() string { return "expect " + l.show(want) })
	}
}
