package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/user"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/internal/admin"
	"github.com/hostd/hostd/core/internal/life"
	"github.com/hostd/hostd/core/internal/logs"
)

// Verdict is what a look has come to.
type Verdict string

// Verdicts: a warning keeps nothing from working now.
const (
	VerdictOK      Verdict = "ok"
	VerdictWarning Verdict = "warning"
	VerdictFault   Verdict = "fault"
)

// Finding is what a look at one thing has shown. Its fields are stable, for scripts.
type Finding struct {
	Probe   string  `json:"probe"`   // which look: a stable word, such as folder or serial_port
	Subject string  `json:"subject"` // at what: a path, an address, a name or a key; empty where there is only one
	Verdict Verdict `json:"verdict"`
	Text    string  `json:"text"` // what was seen, in one sentence
	Do      string  `json:"do"`   // what to do about it; empty where all is well
}

// Names of the probes, as a Finding has them.
const (
	probeAccount  = "account"
	probeConfig   = "configuration"
	probeProgram  = "program"
	probePlugin   = "plugin"
	probeSettings = "settings"
	probeFolder   = "folder"
	probeRights   = "rights"
	probeLog      = "log"
	probeHost     = "host"
	probePort     = "port"
	probeListen   = "listen"
	probeSerial   = "serial_port"
	probeShare    = "share"
	probeLink     = "plugin_link"
	probeDatabase = "database"
	probeSpool    = "spool"
	probeClock    = "clock"
	probeDisk     = "disk"
)

// Times of a probe.
const (
	quickProbe  = 10 * time.Second
	longProbe   = 25 * time.Second // what starts plugins, or asks a server
	longestLook = 20 * time.Second // of that: the rest is for what was started to end
	probeGrace  = time.Second      // between the end of a probe's context and that of the wait for it
)

// Examine looks at everything that keeps a host of this configuration from working, or the running one from working well.
// loaded is what was wrong when it was loaded; where a file could not be read at all, or c is nil, nothing else is looked at. It
// changes nothing, shows no secret, and ends in time: what does not answer is a finding. The error is a bug of hostd's.
func Examine(ctx context.Context, c *config.Config, loaded error) ([]Finding, error) {
	var faults config.Faults
	_ = errors.As(loaded, &faults) // none is known where there are none
	list := configFindings(c, faults)
	if c == nil || faults.Unread() {
		return list, nil
	}
	p, err := newPlaces(c)
	if err != nil {
		return append(list, Finding{probeFolder, "", VerdictFault, err.Error(), "start hostd in a folder that is there"}), nil
	}
	dr := newDoctor(ctx, c, p)
	found, err := examine(ctx, dr.probes())
	return shown(append(list, found...)), err
}

// configFindings are the faults of the configuration by itself.
func configFindings(c *config.Config, faults config.Faults) []Finding {
	if len(faults) > 0 {
		return faultFindings(probeConfig, faults)
	}
	if c == nil {
		return nil
	}
	text := fmt.Sprintf("%d devices, %d sinks, %d routes", len(c.Devices), len(c.Sinks), len(c.Routes))
	return []Finding{{probeConfig, "", VerdictOK, text, ""}}
}

func faultFindings(probe string, faults config.Faults) (list []Finding) {
	for _, f := range faults {
		do := f.Hint
		switch {
		case do != "":
		case f.Key == "": // it is about the whole file
			do = "see that the file is there, that this account may read it, and that it is YAML"
		default:
			do = "mend what is written there; docs/configuration.md has every key"
		}
		key := f.Key
		f.Key, f.Hint = "", "" // they stand in their own places
		list = append(list, Finding{probe, key, VerdictFault, f.String(), do})
	}
	return list
}

// shown is the list as it may be shown: no number of a person, and each text in one line.
func shown(list []Finding) []Finding {
	for i := range list {
		for _, t := range []*string{&list[i].Subject, &list[i].Text, &list[i].Do} {
			*t = logs.Mask(strings.ReplaceAll(*t, "\n", "; "))
		}
	}
	return list
}

// doctor is one examination. What several probes need is looked at once.
type doctor struct {
	cfg    *config.Config
	places places

	running  func() (bool, error)         // whether a host has the data folder
	status   func() (admin.Status, error) // of the host at admin.listen
	database func() error                 // what is wrong with it
}

func newDoctor(ctx context.Context, c *config.Config, p places) *doctor {
	dr := &doctor{cfg: c, places: p}
	dr.running = sync.OnceValues(func() (bool, error) { return locked(p.lock) })
	dr.status = sync.OnceValues(func() (admin.Status, error) { return Status(ctx, c) })
	dr.database = sync.OnceValue(func() error {
		ctx, cancel := context.WithTimeout(ctx, longestLook)
		defer cancel()
		if !c.Database.Embedded() {
			return p.checkServer(ctx, c)
		}
		if running, _ := dr.running(); running { // what is wrong with the lock is told by its own probe
			return nil
		}
		return checkDatabase(p.database)
	})
	return dr
}

// probe is one look. It may be given up: it touches nothing that another one changes.
type probe struct {
	name   string
	within time.Duration
	look   func(ctx context.Context) []Finding
}

// late is what is said of a probe that was not through in time.
func (p *probe) late() Finding {
	return Finding{
		p.name, "", VerdictFault, fmt.Sprintf("the look did not come to its end within %s", p.within),
		"see whether a disk, a network share or a server that the configuration names has stopped answering, and whether this computer is very busy",
	}
}

func (dr *doctor) probes() []probe {
	link := dr.sockets
	if runtime.GOOS == "windows" {
		link = func(ctx context.Context) []Finding { return loopback(ctx, pluginPortFirst, pluginPortLast) }
	}
	return []probe{
		{probeAccount, quickProbe, account},
		{probeFolder, quickProbe, dr.folders},
		{probeRights, quickProbe, dr.rights},
		{probeLog, quickProbe, dr.log},
		{probeDisk, quickProbe, dr.disk},
		{probeSpool, quickProbe, dr.spool},
		{probeClock, quickProbe, func(ctx context.Context) []Finding { return dr.clock(ctx, time.Now()) }},
		{probePort, quickProbe, dr.port},
		{probeListen, quickProbe, dr.listens},
		{probeSerial, quickProbe, dr.serial},
		{probeShare, longProbe, dr.shares},
		{probeLink, quickProbe, link},
		{probeDatabase, longProbe, dr.lookAtDatabase},
		{probeProgram, quickProbe, dr.programs},
		{probePlugin, longProbe, dr.plugins},
		{probeHost, quickProbe, dr.host},
	}
}

// examine lets all probes look at once, and gives what they found in their order. One that does not come back in time is a
// finding, and is left behind: a system call cannot be ended. The error is a probe's panic.
func examine(ctx context.Context, probes []probe) (list []Finding, err error) {
	g := life.NewGroup(ctx)
	started, answers := time.Now(), make([]chan []Finding, len(probes))
	for i, p := range probes {
		answers[i] = make(chan []Finding, 1)
		g.Go("probe "+p.name, func(ctx context.Context) error {
			defer close(answers[i])
			ctx, cancel := context.WithTimeout(ctx, p.within)
			defer cancel()
			found := p.look(ctx)
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				found = append(found, p.late())
			}
			answers[i] <- found
			return nil
		})
	}
	late := false
	for i, p := range probes {
		found, there := answer(answers[i], started.Add(p.within+probeGrace))
		if !there {
			late, found = true, []Finding{p.late()}
		}
		list = append(list, found...)
	}
	if !late {
		return list, g.Wait()
	}
	g.Cancel() // who does not hear of it stays behind
	select {
	case err = <-g.Failed():
	default:
	}
	return list, err
}

// answer waits for what a probe has found, none where it has panicked; what came in time counts also when nobody has looked yet.
func answer(from <-chan []Finding, until time.Time) (found []Finding, there bool) {
	wait := time.NewTimer(time.Until(until))
	defer wait.Stop()
	select {
	case found = <-from:
		return found, true
	case <-wait.C:
	}
	select {
	case found = <-from:
		return found, true
	default:
		return nil, false
	}
}

func ok(probe, subject, format string, args ...any) Finding {
	return Finding{probe, subject, VerdictOK, fmt.Sprintf(format, args...), ""}
}

// faulty is a fault by its error: the error's own advice wins over do.
func faulty(probe, subject string, err error, do string) Finding {
	f := Finding{probe, subject, VerdictFault, err.Error(), do}
	var own *advised
	if errors.As(err, &own) {
		f.Text, f.Do = own.error.Error(), own.do
	}
	return f
}

func account(context.Context) []Finding {
	u, err := user.Current()
	if err != nil {
		return []Finding{{probeAccount, "", VerdictWarning, "the name of this account is not known: " + err.Error(), "run doctor under the account that runs hostd"}}
	}
	return []Finding{ok(probeAccount, u.Username, "rights were looked at as this account has them: they tell of hostd where it runs under the same one")}
}

// WriteFindings prints a list for people.
func WriteFindings(w io.Writer, list []Finding) error {
	var b strings.Builder
	count := map[Verdict]int{}
	for _, f := range list {
		count[f.Verdict]++
		mark := string(f.Verdict)
		if f.Verdict == VerdictFault {
			mark = "FAULT"
		}
		fmt.Fprintf(&b, "%-8s %s: %s\n", mark, strings.TrimSpace(f.Probe+" "+f.Subject), f.Text)
		if f.Do != "" {
			fmt.Fprintf(&b, "         do: %s\n", f.Do)
		}
	}
	fmt.Fprintf(&b, "%d looks, faults: %d, warnings: %d\n", len(list), count[VerdictFault], count[VerdictWarning])
	_, err := io.WriteString(w, b.String())
	return err
}
