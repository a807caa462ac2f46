package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

// stderr is the true one: go-plugin puts another into os.Stderr later.
var stderr = os.Stderr

// misopen does what a tape should not do in Open.
func (d *tape) misopen(env sdk.Env) error {
	switch d.fault {
	case "locks":
		return lock(d.state)
	case "impatient":
		env.Go(d.impatient)
	case "bears":
		return exec.Command(os.Args[0], "idle").Start()
	case "spawns":
		go func() { select {} }()
	case "hoards":
		f, err := os.Open(os.Args[0])
		d.open = append(d.open, f)
		return err
	case "scribbles":
		fmt.Fprintln(stderr, "{the tape turns}")
	}
	return nil
}

// lock fails where a process has left its lock behind.
func lock(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// impatient fails when a batch has no answer for a while.
func (d *tape) impatient(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if since := d.since.Load(); since > 0 && time.Now().UnixNano()-since > int64(400*time.Millisecond) {
			return errors.New("no answer")
		}
	}
}

// loosely reads the settings without their bounds.
func (d *tape) loosely(s sdk.Settings) error {
	v := struct {
		Count int    `json:"count"`
		Batch int    `json:"batch"`
		Large string `json:"large"`
	}{Count: 40, Batch: 8}
	dec := json.NewDecoder(bytes.NewReader(s.JSON()))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		return err
	}
	d.Count, d.Batch, d.Large = v.Count, max(v.Batch, 1), v.Large
	return nil
}

// gossip makes an exam of the record, and tells of whom.
func (d *tape) gossip(r sdk.Record) (sdk.Record, error) {
	e := exam.Exam{Patient: exam.Patient{ID: "P-100001", Name: "Muster Anna"}}
	if r.ID == "tape-1" {
		d.log.Info("an exam of " + e.Patient.Name)
	}
	var err error
	r.Kind, r.ContentType = exam.Kind, exam.ContentType
	r.Data, err = exam.Encode(&e)
	return r, err
}
