package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// loud is the flow under load, and quiet the same with nothing new: what is on the way comes to its end. Small segments,
// that are not kept, make the spool begin and delete files all the time.
const (
	loud = `
spool: {segment_size_mb: 1, keep: 1s, reserve_mb: 1}
devices:
  - {name: gen, plugin: generator, settings: {rate: 400, size: 400}}
  - {name: wit, plugin: witness, settings: {journal: "JOURNAL", rate: 1000, size: 600}}
  - {name: share, plugin: folder, schedule: {every: 200ms}, settings: {dir: in, format: joia, settle: 100ms}}
sinks:
  - {name: emr, plugin: sql}
  - {name: archive, plugin: file, settings: {dir: archive}}
`
	still = 0.0001 // a rate at which nothing comes while a test looks
)

func (c *clinic) loud() string { return strings.ReplaceAll(loud, "JOURNAL", c.path("wit.journal")) }

var rate = regexp.MustCompile(`rate: \d+`)

func (c *clinic) quiet() string {
	return rate.ReplaceAllString(c.flow(), fmt.Sprintf("rate: %g", still))
}

// export is an exam of an invented person as a JOIA file.
const export = `<?xml version="1.0" encoding="UTF-8"?>
<Ophthalmology><Common><Company>TOPCON</Company><ModelName>KR-800S</ModelName><MachineNo>01</MachineNo>
<Date>2025-03-24</Date><Time>10:02:15</Time><Patient><No.>1</No.><ID>P%07d</ID></Patient></Common>
<Measure type="REF"><REF><R><Median><Sphere>-1.25</Sphere><Cylinder>-0.50</Cylinder><Axis>90</Axis></Median></R></REF></Measure></Ophthalmology>
`

// drop lays n new files into the folder device's share.
func (c *clinic) drop(o *oracle, n int) {
	c.t.Helper()
	for range n {
		number := len(o.share) + 1
		name, text := fmt.Sprintf("EXAM_%07d.xml", number), fmt.Sprintf(export, number)
		o.sent(name, []byte(text))
		c.write("in/"+name, text)
	}
}

// up is true when every device and sink is.
func (s *status) up() bool {
	return !slices.ContainsFunc(s.Devices, func(d deviceStatus) bool { return d.State != "up" }) &&
		!slices.ContainsFunc(s.Sinks, func(k sinkStatus) bool { return k.State != "up" })
}

// settled is true when nothing is on the way: every device is up, no file waits, and no sink has a backlog.
func (c *clinic) settled(s *status) bool {
	return s.Ready && s.up() && len(c.names("in")) == 0 && !slices.ContainsFunc(s.Sinks, func(k sinkStatus) bool { return k.Backlog > 0 })
}

// account lets what is on the way come to its end, with nothing new, and gives the verdict.
func (c *clinic) account(o *oracle) (told int64) {
	c.t.Helper()
	c.configure(c.quiet())
	c.start()
	s := c.until("everything delivered", c.settled)
	for _, k := range s.Sinks {
		if k.Dead > 0 {
			o.fault("sink %s has given up %d records", k.Name, k.Dead)
		}
	}
	if s.Spool.Quarantined > 0 {
		c.t.Errorf("%d ranges of the spool were set aside as damaged:\n%s", s.Spool.Quarantined, c.setAside())
	}
	c.stop()
	return o.verdict(c)
}

// setAside is what the spool noted of its damaged ranges.
func (c *clinic) setAside() string {
	notes, err := filepath.Glob(filepath.Join(c.data, "spool", "quarantine", "*.txt"))
	if err != nil {
		return err.Error()
	}
	var text strings.Builder
	for _, path := range notes {
		b, err := os.ReadFile(path)
		fmt.Fprintln(&text, filepath.Base(path), string(b), err)
		raw, err := os.ReadFile(strings.TrimSuffix(path, ".txt") + ".bin")
		fmt.Fprintf(&text, "%d bytes %v, from %x\n", len(raw), err, raw[:min(len(raw), 1024)])
	}
	said, err := os.ReadFile(c.path("log/hostd.log"))
	fmt.Fprintln(&text, "what the host said of its segments:", err)
	for line := range strings.Lines(string(said)) {
		if strings.Contains(line, "msg=ready") || strings.Contains(line, "component=spool") {
			text.WriteString(line)
		}
	}
	return text.String()
}
