package host

import (
	"context"
	"errors"
	"slices"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/internal/admin"
	"github.com/hostd/hostd/core/internal/supervise"
)

// plugins starts each plugin of the configuration whose file fits this computer, for a moment and without Open, and compares the
// settings with what it says of itself; then the sinks that can look into the database.
func (dr *doctor) plugins(ctx context.Context) (list []Finding) {
	ctx, cancel := context.WithTimeout(ctx, longestLook)
	defer cancel()
	d, err := newDescriber(&dr.places, dr.cfg, checkFolder)
	if err != nil {
		return []Finding{faulty(probePlugin, "", err, "make room in the folder for temporary files, and let this account write it")}
	}
	defer func() {
		if err := d.close(); err != nil {
			list = append(list, Finding{probePlugin, d.sockets, VerdictWarning, err.Error(), "delete the folder"})
		}
	}()
	var start []string
	for _, name := range pluginsOf(dr.cfg) {
		if path, err := dr.places.program(name); err == nil {
			if err := supervise.Diagnose(path); err != nil {
				d.put(name, described{started: true, err: err}) // the probe of programs says why
				continue
			}
		}
		start = append(start, name)
	}
	d.all(ctx, start)
	for _, name := range d.names {
		f := d.found[name]
		switch {
		case f.started && f.err != nil:
			list = append(list, faulty(probePlugin, name, f.err,
				"start the program by hand: it must say that it is a plugin; exclude the plugin folder from the antivirus program, and ask whoever makes it for a build that fits this hostd"))
		case f.started:
			list = append(list, ok(probePlugin, name, "version %s starts and answers", f.manifest.Version))
		}
	}
	return append(list, dr.settings(ctx, d)...)
}

// settings are the faults of the configuration that the plugins' own descriptions and the sinks' checks show.
func (dr *doctor) settings(ctx context.Context, d *describer) []Finding {
	f := Checked{Faults: dr.cfg.CheckPlugins(d.manifest, dr.places.known()), database: dr.database()}
	f.sinks(ctx, dr.cfg, d)
	var faults config.Faults
	_ = errors.As(f.Faults, &faults) // none is known where there are none
	list := faultFindings(probeSettings, faults)
	for _, err := range f.Environment {
		list = append(list, faulty(probeSettings, "", err, "see what the other probes say of the plugin and of the database"))
	}
	for _, note := range f.Notes {
		list = append(list, Finding{probeSettings, "", VerdictWarning, note, "see whether it is meant so"})
	}
	if len(list) == 0 {
		list = append(list, ok(probeSettings, "", "what the plugins say of their settings fits the configuration"))
	}
	return list
}

func (dr *doctor) lookAtDatabase(context.Context) []Finding {
	c := &dr.cfg.Database
	if !slices.Contains(config.Drivers(), c.Driver) || !c.Embedded() && c.DSN == "" {
		return nil // a fault of the configuration, told as such
	}
	subject, do := c.Driver, "see that the server runs and can be reached from this computer, and that address, database, user and password in database.dsn are right; "+
		"until then records wait in the spool"
	if c.Embedded() {
		subject, do = dr.places.database, "put back a backup of the file, and see whether its disk fails; until then records wait in the spool"
	}
	if err := dr.database(); err != nil {
		return []Finding{faulty(probeDatabase, subject, err, do)}
	}
	running, _ := dr.running() // an error is told by the probe of the host
	switch {
	case !c.Embedded():
		return []Finding{ok(probeDatabase, subject, "the server lets hostd in")}
	case running:
		return []Finding{ok(probeDatabase, subject, "the running hostd has it; what is wrong with it is among the alarms")}
	}
	return []Finding{ok(probeDatabase, subject, "the file can be written, or made")}
}

// host looks whether a host has the data folder, and what it says of itself.
func (dr *doctor) host(context.Context) []Finding {
	data := dr.places.data
	running, err := dr.running()
	if err != nil {
		return []Finding{faulty(probeHost, data, lockFault(data, err), "let the account that runs hostd write the file "+dr.places.lock)}
	}
	if !running {
		return []Finding{ok(probeHost, data, "no hostd runs with this data_dir")}
	}
	s, err := dr.status()
	if err != nil || s.DataDir != data {
		text := "a hostd runs with this data_dir, and does not answer at admin.listen"
		if err == nil {
			text += ", where a hostd with another data_dir does"
		} else {
			text += ": " + err.Error()
		}
		return []Finding{{
			probeHost, data, VerdictFault, text,
			"give doctor the configuration that this hostd was started with; if it is that, hostd hangs: keep its log, end the process and start it again",
		}}
	}
	list := []Finding{ok(probeHost, data, "hostd %s runs since %s", s.Version, s.StartedAt.Local().Format("2006-01-02 15:04:05"))}
	for _, a := range s.Alarms {
		list = append(list, Finding{probeHost, a.Subject, VerdictFault, "alarm " + a.Code + ": " + a.Text, "docs/operations.md says under Alarms what to do about " + a.Code})
	}
	for _, d := range s.Devices {
		list = append(list, unitFindings("device "+d.Name, d.State, d.Error)...)
	}
	for _, k := range s.Sinks {
		if k.State != admin.Parked { // that is an alarm
			list = append(list, unitFindings("sink "+k.Name, k.State, k.Error)...)
		}
	}
	return list
}

// unitFindings explain the state of a device or sink of the running host.
func unitFindings(subject string, state admin.State, why string) []Finding {
	f := Finding{probeHost, subject, VerdictFault, "it is " + string(state), ""}
	if why != "" {
		f.Text += ": " + why
	}
	switch state {
	case admin.Up:
		if why == "" {
			return []Finding{ok(probeHost, subject, "it is up")}
		}
		f.Verdict, f.Do = VerdictWarning, "mend what the text names: some of its records are refused or wait"
	case admin.Starting:
		f.Verdict, f.Do = VerdictWarning, "wait some seconds, and ask again"
	case admin.Silent:
		f.Do = "see whether the instrument and its cable are on"
	case admin.Paused:
		f.Verdict, f.Do = VerdictWarning, "an operator has paused it: hostd devices resume or hostd sinks resume lets it run"
	case admin.Failing, admin.BackingOff:
		f.Do = "mend what the text names; it is tried again by itself, at most 30 s apart"
	case admin.BreakerOpen:
		f.Do = "mend what the text names: its plugin has crashed so often that it is not tried again; a new binary of the plugin, or the operator, lets it try"
	case admin.Unapproved:
		f.Do = "approve the plugin: hostd plugins list names it"
	case admin.Parked, admin.Removed, admin.Stopped:
		f.Verdict, f.Do = VerdictWarning, "see the log, and the newest reload of the configuration"
	}
	return []Finding{f}
}
