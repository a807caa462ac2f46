package try

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

// masked stands for a patient's data.
const masked = "***"

// fields are what an event says in JSON.
type fields map[string]any

// printer shows events, in words or as lines of JSON.
type printer struct {
	json bool

	mu  sync.Mutex
	out io.Writer // guarded by mu
}

// event shows one.
func (p *printer) event(name string, f fields, format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.json {
		_, _ = fmt.Fprintf(p.out, format+"\n", args...) // nobody reads what cannot be written
		return
	}
	line := fields{"event": name, "at": time.Now().UTC().Format(time.RFC3339Nano)}
	maps.Copy(line, f)
	b, err := json.Marshal(line)
	if err != nil {
		b = fmt.Appendf(nil, `{"event":%q,"err":%q}`, name, err)
	}
	_, _ = fmt.Fprintf(p.out, "%s\n", b) // as above
}

func (p *printer) manifest(m *sdk.Manifest) {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s, a %s", m.Name, m.Version, m.Role)
	for _, line := range [][2]string{{"speaks", m.Speaks}, {"identity", m.Identity}, {"loss window", m.LossWindow}} {
		if line[1] != "" {
			fmt.Fprintf(&b, "\n  %-12s %s", line[0], line[1])
		}
	}
	for i := range m.Settings {
		s := &m.Settings[i]
		how := string(s.Type)
		if s.Required {
			how += ", required"
		}
		if s.Default != "" {
			how += ", " + s.Default
		}
		fmt.Fprintf(&b, "\n  setting      %s (%s): %s", s.Name, how, s.Help)
	}
	p.event("manifest", fields{"manifest": m}, "%s", b.String())
}

func (p *printer) opening(position, state string) {
	where := "at the beginning"
	if position != "" {
		where = fmt.Sprintf("at the position %q", position)
	}
	p.event("open", fields{"position": position, "state": state}, "open %s; state is kept in %s", where, state)
}

func (p *printer) batch(number uint64, records int, next string) {
	p.event("batch", fields{"batch": number, "records": records, "position": next}, "batch %d: %d records, position %q", number, records, next)
}

func (p *printer) closed(open []uint64) {
	words := "closed; nothing was open"
	if len(open) > 0 {
		words = fmt.Sprintf("closed; without an answer: %v, which come again", open)
	}
	p.event("closed", fields{"open": open}, "%s", words)
}

// show shows a record, without what says who the patient is.
func (t *trial) show(r *sdk.Record, size int) {
	f := fields{
		"id": r.ID, "kind": r.Kind, "labels": r.Labels, "content_type": r.ContentType, "amends": r.Amends, "hash": r.ContentHashHex(),
		"bytes": size, "data_bytes": len(r.Data), "raw_bytes": len(r.Raw), "attachments": r.Attachments,
	}
	var b strings.Builder
	fmt.Fprintf(&b, "  %s %s", r.Kind, r.ID)
	if !r.Time.IsZero() {
		f["time"] = r.Time
		fmt.Fprintf(&b, ", %s", r.Time.Format(time.DateTime))
	}
	fmt.Fprintf(&b, ", %d bytes: data %d, raw %d", size, len(r.Data), len(r.Raw))
	for _, k := range slices.Sorted(maps.Keys(r.Labels)) {
		fmt.Fprintf(&b, "\n    label %s: %s", k, r.Labels[k])
	}
	for i := range r.Attachments {
		a := &r.Attachments[i]
		fmt.Fprintf(&b, "\n    attachment %s%s, %d bytes, sha256 %.12s", a.Role, t.mask(" "+a.Name), a.Size, a.Hash)
	}
	t.showExam(r, f, &b)
	if t.ShowData {
		f["data"], f["raw"] = string(r.Data), r.Raw
	} else {
		f["attachments"] = len(r.Attachments)
	}
	if t.Raw {
		raw := r.Raw
		if raw == nil {
			raw = r.Data
		}
		for line := range strings.Lines(hex.Dump(raw)) {
			b.WriteString("\n    " + strings.TrimRight(line, "\n"))
		}
	}
	t.say.event("record", f, "%s", b.String())
}

func (t *trial) mask(s string) string {
	if t.ShowData || strings.TrimSpace(s) == "" {
		return s
	}
	return masked
}

// showExam shows the observations of an exam.
func (t *trial) showExam(r *sdk.Record, f fields, b *strings.Builder) {
	if r.Kind != exam.Kind || len(r.Data) == 0 {
		return
	}
	e, err := exam.Decode(r.Data)
	if err != nil {
		f["err"] = err.Error()
		fmt.Fprintf(b, "\n    no sink can read this exam: %v", err)
		return
	}
	f["device"], f["observations"], f["warnings"] = e.Device, e.Observations, e.Warnings
	fmt.Fprintf(b, "\n    patient %s; %s", t.mask(strings.TrimSpace(e.Patient.ID+" "+e.Patient.Name)), strings.TrimSpace(e.Device.Make+" "+e.Device.Model))
	for i := range e.Observations {
		o := &e.Observations[i]
		fmt.Fprintf(b, "\n    %s %s %s", o.Eye, o.Code, o.Value)
		for _, word := range []string{o.Unit, o.Method} {
			if word != "" {
				b.WriteString(" " + word)
			}
		}
	}
}

// logLines shows what a plugin logs.
type logLines struct{ say *printer }

// Write takes one line of JSON.
func (l *logLines) Write(b []byte) (int, error) {
	f := fields{}
	if err := json.Unmarshal(b, &f); err != nil {
		f = fields{"@message": string(bytes.TrimSpace(b))}
	}
	level, message := f["@level"], f["@message"]
	if from, _ := f["@module"].(string); level == "debug" && (from == "" || strings.HasSuffix(from, "stdio")) {
		return len(b), nil // go-plugin's own
	}
	var more strings.Builder
	for _, k := range slices.Sorted(maps.Keys(f)) {
		if !strings.HasPrefix(k, "@") && k != "timestamp" {
			fmt.Fprintf(&more, " %s=%v", k, f[k])
		}
	}
	l.say.event("log", fields{"line": f}, "log %v: %v%s", level, message, more.String())
	return len(b), nil
}

// eachLine calls f for each line, without its end and blanks.
func eachLine(r io.Reader, f func(line string) error) error {
	scan := bufio.NewScanner(r)
	for scan.Scan() {
		if err := f(strings.TrimSpace(scan.Text())); err != nil {
			return err
		}
	}
	return scan.Err()
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
