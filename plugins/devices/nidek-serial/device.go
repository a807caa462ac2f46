package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hostd/hostd/core/protocols/nidekrs"
	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/line"
)

// refusePause is how long after a refusal the batch is offered again. The line stays open meanwhile.
const refusePause = time.Second

// nidek is the device. Its calls never overlap (window 1).
type nidek struct {
	line.Settings
	Profile    string        `setting:"profile" default:"ark" enum:"ar,ark,tonoref,nt,lm,lm-7,rt-type1,rt-type2" help:"kind of unit (all simulated); rt-type1 is a refractor at 2400 7E2, rt-type2 one at 9600 8O1 whose port is set to PC, lm-7 an LM-7 at 9600 8N1"`
	Dialogue   string        `setting:"mode" enum:"handshake,listen" help:"handshake: invite the unit when it asks to send, and take what it sends unasked; listen: never say anything. The profile's where it is left out: listen for refractors, handshake for all others"`
	Command    string        `setting:"command" enum:"CRK,CRM,CLM,CNt,CPM,CNP" help:"what the unit is invited to send: CRK refraction and keratometry, CRM refraction, CLM lens, CNt pressure, CPM thickness, CNP both. The profile's where it is left out"`
	Idle       time.Duration `setting:"idle_timeout" default:"10s" min:"1" max:"600" help:"silence after which a frame without its end counts as cut"`
	EndWait    time.Duration `setting:"end_wait" default:"200ms" min:"0.01" max:"5" help:"how long after a frame its checksum may come; some units send none"`
	PresetDir  string        `setting:"preset_dir" help:"refractors: folder of exams (JSON) that are handed to the refractor as its point to begin; nothing is sent where it is left out"`
	PresetMode string        `setting:"preset_mode" default:"wait" enum:"wait,pause,direct" help:"wait: ask the refractor and send when it says that it is ready; pause: ask, and send after 1 s whatever it says; direct: send"`
	PresetForm string        `setting:"preset_form" default:"manual" enum:"manual,rt-3100" help:"manual: as NIDEK describes it; rt-3100: as a real RT-3100 took it"`

	dial    func(context.Context, sdk.Env, line.Settings, line.Mode) (*line.Port, error) // nil is line.Open
	env     sdk.Env
	port    *line.Port
	mode    line.Mode // what holds on the line
	presets *presets  // nil where there are none
	framer  nidekrs.Framer
	reader  nidekrs.Reader
	rest    []byte // came, and is not cut into frames
	asked   bool   // the instrument asks to send, and was not answered
	gone    error  // why the line ended; what it left is read first
	stored  mark   // what is on the host's disk
	batch   *batch // read and not acknowledged
	pause   time.Time
}

// Open opens the line, and finds the batch that an earlier process has read and not seen acknowledged.
func (d *nidek) Open(ctx context.Context, env sdk.Env, from sdk.Position) error {
	*d = nidek{dial: d.dial, env: env}
	if err := env.Settings.Decode(d); err != nil {
		return err
	}
	p, err := d.check()
	if err != nil {
		return fmt.Errorf("check settings: %w", err)
	}
	if d.stored, err = parseMark(from); err != nil {
		return err
	}
	if d.batch, err = d.left(); err != nil {
		return err
	}
	if d.dial == nil {
		d.dial = line.Open
	}
	if d.port, err = d.dial(ctx, env, d.Settings, p.mode); err != nil {
		return err
	}
	d.mode = d.Mode(p.mode)
	env.Log.Info("the line is open", "port", d.Port, "line", d.mode.String(), "profile", d.Profile, "status", simulated, "mode", d.Dialogue)
	return nil
}

// check fills in what the profile says, and refuses what does not fit together.
func (d *nidek) check() (profile, error) {
	p, err := profileOf(d.Profile)
	if err != nil {
		return p, err
	}
	if d.Dialogue == "" {
		d.Dialogue = p.dialogue
	}
	if d.Command == "" {
		d.Command = p.command
	}
	switch {
	case p.refractor && (d.Dialogue != listen || d.Command != ""):
		return p, errors.New("a refractor is not invited: leave mode and command out")
	case !p.refractor && d.PresetDir != "":
		return p, errors.New("preset_dir is for refractors: rt-type1, rt-type2")
	case d.PresetDir != "":
		d.presets = newPresets(d)
	}
	return p, nil
}

// Close has nothing to let go of: the port closes with the session.
func (d *nidek) Close(context.Context) error { return nil }

// Read waits for frames and returns those that came.
func (d *nidek) Read(ctx context.Context) (sdk.Batch, error) {
	if d.batch != nil { // it was refused, or left
		return d.batch.Batch, d.wait(ctx)
	}
	for {
		if d.batch = d.take(d.rest); d.batch != nil {
			d.keep()
			return d.batch.Batch, nil
		}
		if d.gone != nil {
			return sdk.Batch{}, d.gone
		}
		d.invite()
		if err := d.hear(ctx); err != nil {
			return sdk.Batch{}, err
		}
	}
}

// wait lets the pause after a refusal pass.
func (d *nidek) wait(ctx context.Context) error {
	t := time.NewTimer(time.Until(d.pause))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// hear waits for bytes, or for the silence that means something.
func (d *nidek) hear(ctx context.Context) error {
	if d.gone != nil {
		return nil
	}
	b, err := d.port.Next(ctx, d.silence())
	switch {
	case err == nil:
		d.rest = b
	case errors.Is(err, line.ErrSilence):
		d.quiet()
	case ctx.Err() != nil:
		return ctx.Err()
	default:
		d.gone = err
		d.quiet()
	}
	return nil
}

// silence is how long nothing may come; 0 is for ever.
func (d *nidek) silence() time.Duration {
	switch d.framer.Waiting() {
	case nidekrs.Tail:
		return d.EndWait
	case nidekrs.Rest:
		return d.Idle
	case nidekrs.Nothing:
	}
	if d.presets != nil {
		return presetLook
	}
	return 0
}

// quiet ends what has begun, or does what is to be done while nothing has.
func (d *nidek) quiet() {
	f, ok := d.framer.Silence()
	switch {
	case ok:
		d.batch = d.begin()
		d.frame(d.batch, &f)
	case d.gone == nil && d.presets != nil:
		d.gone = d.presets.look(d.port)
	}
}

// take cuts b into frames, as many as fit into a batch, and keeps the rest; nil where there is no record in it.
func (d *nidek) take(b []byte) *batch {
	batch := d.batch
	if batch == nil {
		batch = d.begin()
	}
	for len(b) > 0 && !batch.full() {
		f, n, ok := d.framer.Next(b)
		if b = b[n:]; ok {
			d.frame(batch, &f)
		}
	}
	if d.rest = b; len(batch.Records) == 0 {
		return nil
	}
	return batch
}

// frame puts what a frame says into the batch, or hears what it asks for.
func (d *nidek) frame(b *batch, f *nidekrs.Frame) {
	switch {
	case f.IsRequest():
		d.asked = d.Dialogue == handshake
	case f.IsReady() && d.presets != nil:
		d.gone = d.presets.ready(d.port)
	case f.Kind == nidekrs.Control:
		d.env.Log.Info("the unit has said something that is not for a host", "what", f.Control())
	default:
		d.asked = d.asked && f.Kind != nidekrs.Exam
		d.add(b, f)
	}
}

// invite answers an instrument that asks to send. All that came before is on the host's disk.
func (d *nidek) invite() {
	if !d.asked || len(d.rest) > 0 {
		return
	}
	d.asked = false
	if _, err := d.port.Write([]byte(nidekrs.Command(d.Command, "SD") + "\r")); err != nil {
		d.gone = fmt.Errorf("invite the unit to send: %w", err)
	}
}

// Ack lets an instrument that asks send the next frame.
func (d *nidek) Ack(_ context.Context, upTo sdk.Position) error {
	if d.batch == nil || d.batch.Next != upTo {
		return errors.New("acknowledged is what was not read")
	}
	d.stored, d.batch = d.batch.end, nil
	if err := d.forget(); err != nil {
		return err
	}
	d.invite()
	return nil
}

// Refuse keeps the batch to be read again; an instrument that asks to send is not answered meanwhile.
func (d *nidek) Refuse(context.Context, sdk.Position, sdk.Reason) error {
	d.pause = time.Now().Add(refusePause)
	return nil
}
