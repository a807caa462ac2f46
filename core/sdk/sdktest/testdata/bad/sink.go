package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hostd/hostd/core/sdk"
)

// sink appends ids to a file, and asks the store first where it is told to.
type sink struct {
	Dir      string `setting:"dir,required" help:"folder of the list"`
	UseStore bool   `setting:"use_store" help:"write through the store besides"`

	fault string
	store sdk.Store
	state string
	file  *os.File
	seen  map[string]bool
	later []string
}

func (s *sink) Open(_ context.Context, env sdk.SinkEnv) error {
	if err := env.Settings.Decode(s); err != nil {
		return err
	}
	if s.state = env.StateDir; s.fault == "locks-sink" {
		if err := lock(s.state); err != nil {
			return err
		}
	}
	s.store, s.seen, s.later = env.Store, map[string]bool{}, nil
	path := filepath.Join(s.Dir, "list")
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, id := range strings.Fields(string(old)) {
		s.seen[id] = true
	}
	s.file, err = os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	return err
}

// checker is a sink that can be checked, and writes then. It describes the settings that the sink in it reads.
type checker struct {
	Dir      string `setting:"dir,required" help:"folder of the list"`
	UseStore bool   `setting:"use_store" help:"write through the store besides"`

	sink
}

func (s *checker) Check(ctx context.Context, env sdk.SinkEnv, _ sdk.Catalog) ([]sdk.Finding, error) {
	_, err := env.Store.Write(ctx, sdk.Insert{Table: "list", Rows: []sdk.Row{{"id": "check"}}})
	return nil, err
}

func (s *sink) Write(ctx context.Context, records []sdk.Record) error {
	bad := sdk.RecordErrors{}
	var lines strings.Builder
	for i := range records {
		r := &records[i]
		switch {
		case r.Kind == "bad":
			bad[i] = errors.New("kind is bad")
		case !s.seen[r.ID] || s.fault == "doubles":
			fmt.Fprintln(&lines, r.ID)
		}
	}
	if len(bad) > 0 && s.fault == "all-or-none" {
		return sdk.Permanent(errors.New("a record is bad"))
	}
	if err := s.through(ctx, records); err != nil {
		return err
	}
	if s.fault == "buffers" {
		s.later = append(s.later, lines.String())
	} else if _, err := s.file.WriteString(lines.String()); err != nil {
		return err
	}
	for i := range records {
		if bad[i] == nil {
			s.seen[records[i].ID] = true
		}
	}
	if len(bad) > 0 {
		return bad
	}
	return nil
}

// through writes to the store.
func (s *sink) through(ctx context.Context, records []sdk.Record) error {
	if !s.UseStore {
		return nil
	}
	changes := make([]sdk.Change, len(records))
	for i := range records {
		changes[i] = sdk.OnceFor(&records[i], sdk.Insert{Table: "list", Rows: []sdk.Row{{"id": records[i].ID}}})
	}
	switch s.fault {
	case "shrugs":
		if _, err := s.store.Query(ctx, sdk.Query{SQL: "SELECT 1"}); err != nil {
			return err
		}
	case "hasty":
		hurried, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		ctx = hurried
	}
	_, err := s.store.Write(ctx, changes...)
	switch {
	case err == nil:
		return nil
	case s.fault == "classless", s.fault == "shrugs":
		return errors.New(err.Error())
	case s.fault == "tells":
		return fmt.Errorf("exam of %s: %w", records[0].Patient, err)
	}
	return err
}

func (s *sink) Close(context.Context) error {
	if s.fault == "locks-sink" {
		if err := os.RemoveAll(filepath.Join(s.state, "lock")); err != nil {
			return err
		}
	}
	if s.file == nil {
		return nil
	}
	_, err := s.file.WriteString(strings.Join(s.later, ""))
	err = errors.Join(err, s.file.Close())
	s.file = nil
	return err
}
