package logs_test

import (
	"strings"
	"testing"

	"github.com/hostd/hostd/core/internal/logs"
)

// TestPanicIsShownWithoutItsValue takes what Go prints, and holds that no line of a value is shown, and every other one is.
func TestPanicIsShownWithoutItsValue(t *testing.T) {
	const stack = "goroutine 7 [running]:\nmain.decode(0x1, {0xc000, 0x2})\n\t/src/main.go:12 +0x1d\n"
	hidden := "panic: (its 15 bytes are not shown: they may quote a record)"
	for _, c := range []struct{ name, in, want string }{
		{"a text", "panic: row of Hong Gil\n\n" + stack, hidden + "\n\n" + stack},
		{"lines", "panic: row of Hong Gil\n\tborn 1899\n\tgoroutine of Hong\n\n" + stack, hidden + "\n\n" + stack},
		{"a signal", "panic: row of Hong Gil\n[signal SIGSEGV]\n\n" + stack, hidden + "\n[signal SIGSEGV]\n\n" + stack},
		{"panicked again", "panic: row of Hong Gil\n\tpanic: row of Hong Gil\n\n" + stack, hidden + "\n" + hidden + "\n\n" + stack},
		{"the runtime's", "panic: runtime error: index out of range [5] with length 3\n\n" + stack, "panic: runtime error: index out of range [5] with length 3\n\n" + stack},
		{"fatal", "fatal error: all goroutines are asleep - deadlock!\n\n" + stack, "fatal error: all goroutines are asleep - deadlock!\n\n" + stack},
		{"no panic", "open COM3\n\tpanic: indented\n", "open COM3\n\tpanic: indented\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var p logs.Panic
			var got strings.Builder
			for line := range strings.Lines(c.in) {
				text := strings.TrimSuffix(line, "\n")
				if show, _ := p.Line(text); show != "" || text == "" {
					got.WriteString(show + "\n")
				}
			}
			if got.String() != c.want {
				t.Errorf("got\n%s\nwant\n%s", got.String(), c.want)
			}
		})
	}
}
