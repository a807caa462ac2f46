package logs

import (
	"fmt"
	"slices"
	"strings"
)

// Panic reads the lines that Go prints of a panic, one after the other, and gives them without the value of the panic, which
// may quote a record. A value of the runtime's own is shown: it has types, lengths and indices, and no data. The zero
// value is outside of a panic; one Panic is for one process.
type Panic struct {
	inside bool
	value  bool // the lines of a value are not over
}

// runtimeOwn begin the values of the runtime.
var runtimeOwn = []string{
	"runtime error: ", "interface conversion: ", "assignment to entry in nil map", "send on closed channel",
	"close of closed channel", "close of nil channel", "sync: ",
}

// Line gives the line as it may be shown; empty is not at all. part says whether it belongs to a panic, as every line from
// the first one on does.
func (p *Panic) Line(line string) (show string, part bool) {
	value, begins := strings.CutPrefix(strings.TrimLeft(line, "\t "), "panic: ")
	switch {
	case begins && (line[0] == 'p' || p.inside):
		p.inside = true
		p.value = !slices.ContainsFunc(runtimeOwn, func(own string) bool { return strings.HasPrefix(value, own) })
		if p.value {
			return fmt.Sprintf("panic: (its %d bytes are not shown: they may quote a record)", len(value)), true
		}
		return line, true
	case strings.HasPrefix(line, "fatal error: "):
		p.inside, p.value = true, false
		return line, true
	case !p.inside:
		return line, false
	case p.value && line != "" && !strings.HasPrefix(line, "goroutine ") && !strings.HasPrefix(line, "[signal "):
		return "", true
	}
	p.value = false
	return line, true
}
