package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/hostd/hostd/config"
	"github.com/hostd/hostd/core/internal/cache"
	"github.com/hostd/hostd/core/internal/dbpool"
	"github.com/hostd/hostd/core/internal/supervise"
	"github.com/hostd/hostd/core/internal/wire"
	"github.com/hostd/hostd/core/sdk"
)

// sinks asks each sink that can, and whose settings have no fault yet, what is wrong with them and with the database.
func (f *Checked) sinks(ctx context.Context, c *config.Config, d *describer) {
	var store *checkStore
	var known config.Faults
	_ = errors.As(f.Faults, &known) // none is known where there are none
	for i := range c.Sinks {
		at := fmt.Sprintf("sinks[%d]", i)
		m, err := d.manifest(c.Sinks[i].Plugin)
		if err != nil || !m.Checks || m.Role != sdk.RoleSink || c.Faulty(at) || known.At(at) {
			continue
		}
		if store == nil {
			store = openCheckStore(ctx, databaseOptions(c, d.places), f.database)
		}
		found, err := d.ask(ctx, &c.Sinks[i], store)
		if err != nil && f.database == nil { // else that is told
			f.add(Environment(fmt.Errorf("sink %s cannot be checked: %w", c.Sinks[i].Name, err)))
		}
		f.take(c, &c.Sinks[i], at, found)
	}
	if store != nil {
		f.add(Environment(store.close()))
	}
}

// ask starts the sink's plugin and lets it check.
func (d *describer) ask(ctx context.Context, c *config.Sink, store sdk.Store) (found []sdk.Finding, err error) {
	settings, err := c.SettingsJSON()
	if err != nil {
		return nil, err
	}
	path, err := d.places.program(c.Plugin)
	if err != nil {
		return nil, err
	}
	s := &supervise.Sink{
		Open: wire.OpenSink{
			Name: c.Name, Settings: settings, StateDir: d.places.stateOf("sinks", c.Name), BlobDir: d.places.blobs, LogLevel: "error",
		},
		Store: store, Cache: cache.New(cache.Options{Capacity: 1}).Space(c.Name),
	}
	err = supervise.Run(ctx, d.program(c.Name, path), func(ctx context.Context, proc *supervise.Process) (err error) {
		found, err = s.Check(ctx, proc)
		return err
	})
	return found, err
}

// take puts the findings of a sink where they belong, those of its settings with their place.
func (f *Checked) take(c *config.Config, s *config.Sink, at string, found []sdk.Finding) {
	var faults config.Faults
	proposed := map[string]bool{}
	for _, k := range found {
		key := at + ".settings"
		if k.Setting != "" {
			key += "." + k.Setting
		}
		fault := c.FaultAt(key, strings.ReplaceAll(k.Text, "\n", "; "))
		if k.Severity == sdk.SeverityNote {
			f.Notes = append(f.Notes, fault.String())
		} else {
			faults = append(faults, fault)
		}
		if k.Proposal != "" && !proposed[k.Proposal] {
			proposed[k.Proposal] = true
			f.Proposals = append(f.Proposals, Proposal{Sink: s.Name, Text: k.Proposal})
		}
	}
	if len(faults) > 0 {
		f.Faults = config.Join(f.Faults, faults)
	}
}

// checkStore is the live database as a sink sees it in a check: it only reads.
type checkStore struct {
	*dbpool.Reader // nil where there is none
	opt            dbpool.Options
	why            error // there is none
}

// openCheckStore opens the database, unless it is known what is wrong with it.
func openCheckStore(ctx context.Context, o dbpool.Options, wrong error) *checkStore {
	s := &checkStore{opt: o, why: wrong}
	if wrong == nil {
		ctx, cancel := context.WithTimeout(ctx, o.ConnectTimeout)
		defer cancel()
		s.Reader, s.why = dbpool.OpenCatalog(ctx, o)
	}
	return s
}

func (s *checkStore) close() error {
	if s.Reader == nil {
		return nil
	}
	return s.Close()
}

func (s *checkStore) usable() error {
	if s.Reader == nil {
		return sdk.WithClass(sdk.ClassUnavailable, s.why)
	}
	return nil
}

// Query is sdk.Store's.
func (s *checkStore) Query(ctx context.Context, q sdk.Query) (sdk.Result, error) {
	switch err := s.usable(); {
	case errors.Is(err, fs.ErrNotExist):
		return sdk.Result{}, sdk.Permanent(errors.New("there is no database yet: hostd makes it at its first start"))
	case err != nil:
		return sdk.Result{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.opt.OperationTimeout)
	defer cancel()
	return s.Reader.Query(ctx, q)
}

// Table is sdk.Catalog's. The embedded database has no tables before the first start.
func (s *checkStore) Table(ctx context.Context, name string) (sdk.Table, error) {
	switch err := s.usable(); {
	case errors.Is(err, fs.ErrNotExist):
		return sdk.Table{Database: s.opt.Driver}, nil
	case err != nil:
		return sdk.Table{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.opt.OperationTimeout)
	defer cancel()
	return s.Reader.Table(ctx, name)
}

// Write is sdk.Store's: nothing is written in a check.
func (s *checkStore) Write(context.Context, ...sdk.Change) ([]sdk.Changed, error) {
	return nil, sdk.Permanent(errors.New("nothing is written in a check"))
}
