package sdktest

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hostd/hostd/core/sdk"
)

// Examination says how a plugin's binary is examined outside of a Go test, whatever language it was written in.
type Examination struct {
	// Binary of the plugin; its name counts as the plugin's folder.
	Binary string
	// Instrument plays what a device reads from, Destination what a sink writes to. The one that the plugin needs may be
	// empty: then it is the plugin's own, `BINARY simulate --conformance`, where it has one.
	Instrument, Destination Program
	// Settings besides those that the instrument or destination says, and over them.
	Settings map[string]any
}

// Examine holds a plugin against each rule of its role. An error means that it could not begin; a rule that the plugin
// breaks is none.
func (x Examination) Examine(ctx context.Context) (Report, error) {
	begin := time.Now()
	m, err := x.describe(ctx)
	if err != nil {
		return Report{}, err
	}
	r := Report{Plugin: m.Name, Version: m.Version, Role: m.Role}
	switch {
	case m.Role == sdk.RoleSink && len(x.Instrument) > 0:
		return r, fmt.Errorf("%s is a sink: it has a destination, and no instrument", m.Name)
	case m.Role == sdk.RoleDevice && len(x.Destination) > 0:
		return r, fmt.Errorf("%s is a device: it has an instrument, and no destination", m.Name)
	case m.Role == sdk.RoleDevice:
		err = x.device(ctx, &r)
	case m.Role == sdk.RoleSink:
		err = x.sink(ctx, &r)
	default:
		err = fmt.Errorf("the plugin's manifest has the role %q: it must be %q or %q", m.Role, sdk.RoleDevice, sdk.RoleSink)
	}
	r.Seconds = since(begin)
	return r, errors.Join(err, ctx.Err())
}

// describe starts the plugin and asks what it is.
func (x Examination) describe(ctx context.Context) (m sdk.Manifest, err error) {
	e := newExaminer(ctx)
	e.run(func(t testing.TB) { m = start(t, x.Binary).manifest }) //nolint:contextcheck // it has that of e
	if len(e.reports) > 0 {
		return m, errors.New(e.reports[0])
	}
	return m, nil
}

func (x Examination) device(ctx context.Context, r *Report) error {
	d := Device{Binary: x.Binary, Settings: x.Settings, Wait: defaultWait}
	_, found, err := x.peer(ctx, x.Instrument)
	if err != nil {
		return err
	}
	if found != nil {
		d.Instrument = found.Instrument
	}
	examine(ctx, r, deviceRules(), &d)
	return nil
}

func (x Examination) sink(ctx context.Context, r *Report) error {
	s := Sink{Binary: x.Binary, Settings: x.Settings}
	said, found, err := x.peer(ctx, x.Destination)
	if err != nil {
		return err
	}
	if found != nil {
		s.Destination, s.Idempotent, s.Bad = found.Destination, said.Idempotent, said.Bad.make()
	}
	examine(ctx, r, sinkRules(), &s)
	return nil
}

// peer tries the program that was given, or the plugin's own: nil where it has none.
func (x Examination) peer(ctx context.Context, given Program) (said greeting, found Program, err error) {
	found = given
	if len(given) == 0 {
		found = Program{x.Binary, "simulate", "--conformance"}
	}
	e := newExaminer(ctx)
	e.run(func(t testing.TB) { said = found.begin(t).said }) //nolint:contextcheck // it has that of e
	switch {
	case !e.Failed():
		return said, found, nil
	case len(given) > 0:
		return said, nil, errors.New(e.reports[0])
	}
	return said, nil, nil
}

// examine runs the rules one after the other.
func examine[P any](ctx context.Context, r *Report, rules []rule[P], p *P) {
	for i := range rules {
		if ctx.Err() != nil {
			return
		}
		begin, e := time.Now(), newExaminer(ctx)
		e.run(func(t testing.TB) { rules[i].check(t, p) }) //nolint:contextcheck // it has that of e
		r.add(rules[i].name, rules[i].remedy, e, begin)
	}
}

// missing is why a rule cannot run without the other side of the plugin.
func missing(what, flag string) unexamined {
	return unexamined(fmt.Sprintf("it needs %s, and the plugin has none of its own; name a program with %s, see docs/contract.md", what, flag))
}
