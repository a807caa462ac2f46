package serve

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hostd/hostd/core/internal/wire"
	"github.com/hostd/hostd/core/sdk"
)

// Years that the wire's nanoseconds can say.
const (
	firstYear = 1678
	lastYear  = 2261
)

// finisher makes a record of the author ready for the wire: large payloads become attachments, attachments get their
// size and hash, exams their patient.
type finisher struct {
	staging string
	staged  int      // files made here, for their names
	made    []string // names of those that the host may not have taken
}

// sweep removes the files made here for earlier batches that are in none of these records: of a batch that was refused, and that
// the device makes anew. It is called when no batch is open.
func (f *finisher) sweep(records []sdk.Record) error {
	if len(f.made) == 0 {
		return nil
	}
	again := map[string]bool{}
	for i := range records {
		for _, a := range records[i].Attachments {
			again[filepath.Base(a.Path)] = true
		}
	}
	kept := f.made[:0]
	for _, name := range f.made {
		if again[name] {
			kept = append(kept, name)
			continue
		}
		if err := os.Remove(filepath.Join(f.staging, name)); err != nil && !errors.Is(err, fs.ErrNotExist) { // absent: the host took it
			return fmt.Errorf("remove what was staged: %w", err)
		}
	}
	f.made = kept
	return nil
}

func (f *finisher) finish(r *sdk.Record) error {
	if y := r.Time.Year(); y < firstYear || y > lastYear {
		r.Time = time.Time{}
	}
	for i := range r.Attachments {
		if err := f.seal(&r.Attachments[i]); err != nil {
			return err
		}
	}
	if r.Kind == "exam" && len(r.Data) > 0 { // empty: moved when the record was finished before
		r.Patient, r.Unassigned = patientOf(r.Data)
	}
	if err := f.spill(r); err != nil {
		return err
	}
	if n := wire.RecordSize(r); n > sdk.MaxRecord {
		return fmt.Errorf("record of %d bytes besides its attachments, the limit is %d", n, sdk.MaxRecord)
	}
	return nil
}

// spill moves Data or Raw out of the message when they are too large for it.
func (f *finisher) spill(r *sdk.Record) error {
	if len(r.Raw) > sdk.MaxInline || (r.Raw != nil && len(r.Raw)+len(r.Data) > sdk.MaxInline) {
		if len(r.Digest) == 0 {
			sum := r.ContentHash() // without Raw it would rest on the decoded form
			r.Digest = sum[:]
		}
		a, err := f.write(r.Raw, "raw", "application/octet-stream")
		if err != nil {
			return err
		}
		r.Raw, r.Attachments = nil, append(r.Attachments, a)
	}
	if len(r.Data) > sdk.MaxInline {
		a, err := f.write(r.Data, "data", r.ContentType)
		if err != nil {
			return err
		}
		r.Data, r.Attachments = nil, append(r.Attachments, a)
	}
	return nil
}

func (f *finisher) write(b []byte, role, contentType string) (sdk.Attachment, error) {
	f.staged++
	name := role + "-" + strconv.Itoa(os.Getpid()) + "-" + strconv.Itoa(f.staged)
	path := filepath.Join(f.staging, name)
	f.made = append(f.made, name)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		return sdk.Attachment{}, fmt.Errorf("stage %s: %w", role, err)
	}
	a := sdk.Attachment{Name: name, ContentType: contentType, Path: path, Role: role}
	return a, f.seal(&a)
}

// seal fills size and hash, and reduces the path to the staged file's name. A sealed attachment may be sealed again, so
// that a device can return the same records after a refusal.
func (f *finisher) seal(a *sdk.Attachment) error {
	name := filepath.Base(a.Path)
	if a.Path == "" || (a.Path != name && filepath.Clean(a.Path) != filepath.Join(f.staging, name)) {
		return fmt.Errorf("attachment is not a file in Env.StagingDir")
	}
	file, err := os.Open(filepath.Join(f.staging, name))
	if err != nil {
		return fmt.Errorf("open staged attachment: %w", err)
	}
	defer file.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, file)
	if err != nil {
		return fmt.Errorf("read staged attachment: %w", err)
	}
	a.Path, a.Size, a.Hash = name, n, hex.EncodeToString(sum.Sum(nil))
	return nil
}

var patientFirst = []byte(`{"patient":{"id":"`)

// patientOf reads the patient's id out of an exam. The shipped encoder puts it first, which needs no decoding.
func patientOf(data []byte) (id string, unassigned bool) {
	if rest, ok := bytes.CutPrefix(data, patientFirst); ok {
		if end := bytes.IndexAny(rest, `"\`); end >= 0 && rest[end] == '"' {
			return named(string(rest[:end]))
		}
	}
	var e struct {
		Patient struct {
			ID string `json:"id"`
		} `json:"patient"`
	}
	if err := json.Unmarshal(data, &e); err != nil {
		return "", true // the sink that decodes the exam says what is wrong with it
	}
	return named(e.Patient.ID)
}

// named is a patient's id; blanks are none.
func named(id string) (string, bool) {
	if strings.TrimSpace(id) == "" {
		return "", true
	}
	return id, false
}
