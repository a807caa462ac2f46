package host

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/internal/admin"
	"github.com/hostd/hostd/core/internal/dbpool"
)

// statusText is the status in lines of at most a screen's width, alarms first.
func statusText(s *admin.Status) string {
	var b strings.Builder
	state := "ready"
	if !s.Ready {
		state = "starting"
	}
	fmt.Fprintf(&b, "%s: hostd %s, %s, up %s\n", s.Clinic, s.Version, state, time.Since(s.StartedAt).Round(time.Second))
	for _, a := range s.Alarms {
		fmt.Fprintf(&b, "ALARM %s %s: %s\n", a.Code, a.Subject, a.Text)
	}
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row(t, "\nDEVICE", "PLUGIN", "STATE", "RECORDS", "LAST", "ERROR")
	for _, d := range s.Devices {
		last := "never"
		if d.LastRecordAt != nil {
			last = d.LastRecordAt.Local().Format(time.DateTime)
		}
		row(t, d.Name, d.Plugin, string(d.State), fmt.Sprint(d.Records), last, d.Error)
	}
	row(t, "\nSINK", "PLUGIN", "STATE", "DELIVERED", "WAITING", "HELD", "DEAD", "ERROR")
	for _, k := range s.Sinks {
		held := fmt.Sprint(k.Held)
		if k.HeldSince != nil {
			held += " since " + k.HeldSince.Local().Format(time.DateTime)
		}
		row(t, k.Name, k.Plugin, string(k.State), fmt.Sprint(k.Delivered), fmt.Sprint(k.Backlog), held, fmt.Sprint(k.Dead), k.Error)
	}
	_ = t.Flush() // a strings.Builder does not fail
	p := s.Pool
	fmt.Fprintf(&b, "\ndatabase: %d of %d connections open, %d in use, %d operations wait\n", p.Open, p.MaxOpen, p.InUse, p.Waiting)
	for _, h := range p.Holders {
		fmt.Fprintf(&b, "  %s holds %d, the oldest for %.1f s: %s\n", h.Name, h.InUse, h.Oldest, h.Statement)
	}
	fmt.Fprintf(&b, "spool: %d records ever, %d bytes now; workers: %d of %d busy, %d jobs wait\n",
		s.Spool.Records, s.Spool.Bytes, s.Workers.Busy, s.Workers.Size, s.Workers.Queued)
	fmt.Fprintf(&b, "configuration: loaded %s; %d reloads\n", s.Config.LoadedAt.Local().Format(time.DateTime), s.Config.Reloads)
	if at := s.Config.RefusedAt; at != nil {
		fmt.Fprintf(&b, "  the newest was refused %s:\n", at.Local().Format(time.DateTime))
		for _, f := range s.Config.Faults {
			fmt.Fprintf(&b, "  %s\n", f)
		}
	}
	return b.String()
}

func row(t *tabwriter.Writer, cells ...string) {
	fmt.Fprintln(t, strings.Join(cells, "\t"))
}

// Exam is one line of the newest exams.
type Exam struct {
	RecordID     string    `json:"record_id"`
	Device       string    `json:"device"`
	ReceivedAt   time.Time `json:"received_at"` // UTC
	TakenAt      string    `json:"taken_at"`    // as the instrument said it
	PatientID    string    `json:"patient_id"`
	Make         string    `json:"make"`
	Model        string    `json:"model"`
	Observations int       `json:"observations"`
}

// Exams reads the newest exams of the database, at most limit, newest first. It works beside a running host.
func Exams(ctx context.Context, c *config.Config, limit int) ([]Exam, error) {
	return exams(ctx, c, func(ctx context.Context, r *dbpool.Reader) ([]dbpool.ExamRow, error) { return r.Exams(ctx, limit) })
}
