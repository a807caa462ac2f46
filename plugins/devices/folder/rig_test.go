package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

// secret is in every name of a person and of a file here: it must not come out anywhere but in records.
const secret = "Secret"

// rig is a host that has one folder device, its disk, and the instrument's share. It may be opened again and again.
type rig struct {
	t        testing.TB
	root     string // holds share, state, staging
	dir      string // the share
	settings map[string]any
	noWord   bool // the settings say nothing of existing files
	d        *folder
	pos      sdk.Position
	log      bytes.Buffer
	stored   map[string]*storedRecord // what is on the host's disk, by ID
	order    []string                 // IDs as they came
}

type storedRecord struct {
	sdk.Record
	times int
	blobs map[string]string // attachments by name
}

func newRig(t testing.TB, settings map[string]any) *rig {
	root := t.TempDir()
	r := &rig{t: t, root: root, dir: filepath.Join(root, "share"), settings: maps.Clone(settings), stored: map[string]*storedRecord{}}
	if r.settings == nil {
		r.settings = map[string]any{}
	}
	r.mkdir("share")
	r.mkdir("state")
	t.Cleanup(r.end)
	return r
}

func (r *rig) mkdir(name string) {
	r.t.Helper()
	if err := os.MkdirAll(filepath.Join(r.root, name), 0o755); err != nil {
		r.t.Fatal(err)
	}
}

// end closes the device and looks for what must not be told.
func (r *rig) end() {
	r.close()
	if log := strings.ToLower(r.log.String()); strings.Contains(log, strings.ToLower(secret)) {
		r.t.Errorf("a name is in the log:\n%s", log)
	}
	for id, rec := range r.stored {
		if text := strings.ToLower(id + fmt.Sprint(rec.Labels)); strings.Contains(text, strings.ToLower(secret)) {
			r.t.Errorf("a name is in ID or labels: %s", text)
		}
	}
}

// open starts the device as the host does after a crash: with an empty staging folder, at the last stored position.
func (r *rig) open() error {
	r.t.Helper()
	r.close()
	staging := filepath.Join(r.root, "staging")
	if err := os.RemoveAll(staging); err != nil {
		r.t.Fatal(err)
	}
	r.mkdir("staging")
	values := map[string]any{"dir": r.dir, "existing": "import"}
	if r.noWord {
		delete(values, "existing")
	}
	maps.Copy(values, r.settings)
	text, err := json.Marshal(values)
	if err != nil {
		r.t.Fatal(err)
	}
	r.d = &folder{}
	env := sdk.Env{
		Name: "share", Settings: sdk.NewSettings(text), StateDir: filepath.Join(r.root, "state"), StagingDir: staging,
		Log:  slog.New(slog.NewTextHandler(&r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Wake: func() {}, Go: func(func(context.Context) error) {},
	}
	return r.told(r.d.Open(r.t.Context(), env, r.pos))
}

// told looks at an error that the host would show.
func (r *rig) told(err error) error {
	if err != nil && strings.Contains(strings.ToLower(err.Error()), strings.ToLower(secret)) {
		r.t.Errorf("a name is in an error: %v", err)
	}
	return err
}

func (r *rig) mustOpen() *rig {
	r.t.Helper()
	if err := r.open(); err != nil {
		r.t.Fatal(err)
	}
	return r
}

func (r *rig) close() {
	if r.d == nil {
		return
	}
	if err := r.d.Close(context.Background()); err != nil {
		r.t.Errorf("close: %v", err)
	}
	r.d = nil
}

func (r *rig) read() sdk.Batch {
	r.t.Helper()
	b, err := r.d.Read(r.t.Context())
	if r.told(err) != nil {
		r.t.Fatal(err)
	}
	if len(b.Next) > sdk.MaxPosition {
		r.t.Fatalf("position of %d bytes", len(b.Next))
	}
	return b
}

// store is the host's fsync: records, attachments and position.
func (r *rig) store(b sdk.Batch) {
	r.t.Helper()
	for i := range b.Records {
		rec := &storedRecord{Record: b.Records[i], times: 1, blobs: map[string]string{}}
		for _, a := range rec.Attachments {
			text, err := os.ReadFile(a.Path)
			if err != nil || filepath.Dir(a.Path) != r.d.env.StagingDir {
				r.t.Fatalf("attachment: %v", err)
			}
			if err := os.Remove(a.Path); err != nil {
				r.t.Fatal(err)
			}
			rec.blobs[a.Name] = string(text)
		}
		if old := r.stored[rec.ID]; old != nil {
			rec.times += old.times
			if old.ContentHashHex() != rec.ContentHashHex() {
				r.t.Errorf("record %s came with other content", rec.ID)
			}
		}
		r.stored[rec.ID] = rec
		r.order = append(r.order, rec.ID)
	}
	r.pos = b.Next
}

func (r *rig) ack(b sdk.Batch) {
	r.t.Helper()
	if err := r.told(r.d.Ack(r.t.Context(), b.Next)); err != nil {
		r.t.Fatal(err)
	}
}

// poll is one poll of the host: it reads, stores and acknowledges until there is nothing more.
func (r *rig) poll() {
	r.t.Helper()
	for {
		b := r.read()
		if len(b.Records) == 0 {
			return
		}
		r.store(b)
		r.ack(b)
	}
}

// run polls every second for some (virtual) time.
func (r *rig) run(d time.Duration) {
	r.t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
		r.poll()
	}
	r.poll()
}

func (r *rig) write(name, content string) string {
	r.t.Helper()
	path := filepath.Join(r.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		r.t.Fatal(err)
	}
	return path
}

// files lists all below the share, with slashes, in order.
func (r *rig) files() (names []string) {
	r.t.Helper()
	err := filepath.WalkDir(r.dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			rel, _ := filepath.Rel(r.dir, path)
			names = append(names, filepath.ToSlash(rel))
		}
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

func (r *rig) wantFiles(names ...string) {
	r.t.Helper()
	slices.Sort(names)
	if got := r.files(); !slices.Equal(got, names) {
		r.t.Errorf("files\n%q, want\n%q", got, names)
	}
}

// wantOnce says that n records are stored, each sent once.
func (r *rig) wantOnce(n int) {
	r.t.Helper()
	if len(r.stored) != n || len(r.order) != n {
		r.t.Errorf("%d records, sent %d times, want %d\n%s", len(r.stored), len(r.order), n, r.log.String())
	}
}

// exams gives the stored exams by the patient's id.
func (r *rig) exams() map[string]*exam.Exam {
	r.t.Helper()
	all := map[string]*exam.Exam{}
	for _, id := range r.order {
		if rec := r.stored[id]; rec.Kind == exam.Kind {
			e, err := exam.Decode(rec.Data)
			if err != nil {
				r.t.Fatal(err)
			}
			all[e.Patient.ID] = e
		}
	}
	return all
}

// of gives the stored records whose Raw holds text.
func (r *rig) of(text string) (list []*storedRecord) {
	for _, id := range r.order {
		if rec := r.stored[id]; strings.Contains(string(rec.Raw), text) {
			list = append(list, rec)
		}
	}
	return list
}

func (r *rig) content(name string) string {
	r.t.Helper()
	text, err := os.ReadFile(filepath.Join(r.dir, filepath.FromSlash(name)))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.t.Fatal(err)
	}
	return string(text)
}

// joiaXML is an exam of a person who does not exist.
func joiaXML(id string) string {
	return `<?xml version="1.0" encoding="UTF-8"?>` + "\r\n<Ophthalmology>\r\n<Common><Company>TOPCON</Company><ModelName>KR-800S</ModelName>" +
		"<Date>2025-03-24</Date><Time>10:02:15</Time><Patient><No.>7</No.><ID>" + id + "</ID><LastName>" + secret + "</LastName></Patient></Common>\r\n" +
		`<Measure type="REF"><REF><R><List No="1"><Sphere>-1.25</Sphere><Cylinder>-0,50</Cylinder><Axis>90</Axis></List></R></REF></Measure>` +
		"\r\n</Ophthalmology>\r\n"
}

// nidekXML is an exam that names an image for each of names.
func nidekXML(id string, names ...string) string {
	s := "<Data><Company>NIDEK</Company><ModelName>NT-530P</ModelName><Patient><ID>" + id + "</ID></Patient><R><NT><NTList No='1'><mmHg>15</mmHg></NTList></NT><PACHY>"
	for _, n := range names {
		s += "<PACHYImage>\n" + n + "\n</PACHYImage>"
	}
	return s + "</PACHY></R></Data>"
}
