package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

// rig is a sink with its database.
type rig struct {
	*memory
	blobs map[string][]byte
	sink  *sink
}

func newRig(t testing.TB, settings string) *rig {
	t.Helper()
	r := &rig{memory: newMemory(t), blobs: map[string][]byte{}, sink: &sink{}}
	if err := r.sink.Open(context.Background(), sdk.SinkEnv{
		Name: "emr", Settings: sdk.NewSettings([]byte(settings)), Store: r.memory,
		Blob: func(_ context.Context, hash string) (io.ReadCloser, error) {
			b, ok := r.blobs[hash]
			if !ok {
				return nil, fs.ErrNotExist
			}
			return io.NopCloser(bytes.NewReader(b)), nil
		},
	}); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) write(records ...sdk.Record) {
	r.t.Helper()
	if err := r.sink.Write(context.Background(), records); err != nil {
		r.t.Fatal(err)
	}
}

// refused writes, and says which records are refused for good.
func (r *rig) refused(records ...sdk.Record) sdk.RecordErrors {
	r.t.Helper()
	var refused sdk.RecordErrors
	if err := r.sink.Write(context.Background(), records); !errors.As(err, &refused) {
		r.t.Fatalf("write says %v, want records refused", err)
	}
	for i, err := range refused {
		if sdk.ClassOf(err) != sdk.ClassPermanent {
			r.t.Errorf("record %d is refused with class %v: %v", i, sdk.ClassOf(err), err)
		}
	}
	return refused
}

func (r *rig) blob(content, role string) sdk.Attachment {
	sum := sha256.Sum256([]byte(content))
	hash := hex.EncodeToString(sum[:])
	r.blobs[hash] = []byte(content)
	return sdk.Attachment{Name: role + "-1", Size: int64(len(content)), Hash: hash, Role: role}
}

var (
	epoch = time.Date(2026, 3, 1, 8, 15, 0, 120_000_000, time.UTC)
	seoul = time.FixedZone("", 9*3600)
)

// record is number n of the device, an exam of the patient with the sphere.
func record(t testing.TB, n int, patient string, sphere float64) sdk.Record {
	t.Helper()
	e := exam.Exam{
		Patient: exam.Patient{ID: patient}, Device: exam.Device{Make: "Example", Model: "AR-1", Serial: "0042"}, TakenAt: "2026-03-01T17:15",
		Observations: []exam.Observation{
			{Code: "sphere", Eye: exam.Right, Value: exam.Number(sphere), Unit: "D", Method: "objective", Text: "-02.25", Flags: []string{"L"}},
			{Code: "note", Eye: exam.Both, Value: exam.Text("low \x00\"confidence\""), Seq: 1},
		},
	}
	if patient != "" {
		e.Patient = exam.Patient{ID: patient, Name: "Muster " + patient, Birth: "1970-01", Sex: "F"}
	}
	data, err := exam.Encode(&e)
	if err != nil {
		t.Fatal(err)
	}
	return sdk.Record{
		ID: fmt.Sprintf("r%d", n), Source: "ark-1", Kind: exam.Kind, ContentType: exam.ContentType, Data: data, Raw: fmt.Appendf(nil, "\x02%d %s %v", n, patient, sphere),
		Time: epoch.In(seoul), Received: epoch.Add(time.Duration(n) * time.Second), Seq: uint64(n), Unassigned: patient == "", Patient: patient,
	}
}

func amend(r sdk.Record, id string) sdk.Record {
	r.Amends = id
	return r
}

func TestEveryColumn(t *testing.T) {
	r := newRig(t, "")
	a := record(t, 1, "P1", -2.25)
	a.Labels = map[string]string{"z": "1", "message": "ORU^R01\xff"}
	a.Attachments = []sdk.Attachment{{Name: "od\x00\xff.jpg", ContentType: "image/jpeg", Size: 5, Hash: strings.Repeat("a", 64)}}
	b := sdk.Record{ID: "doc", Source: "lab", Kind: "document", Data: []byte("\xff\x00"), Time: epoch.In(seoul), Received: epoch, Seq: 2, Attachments: a.Attachments}
	c := sdk.Record{ID: "bare", Source: "lab", Kind: "hl7.adt", Received: epoch.In(seoul), Seq: 3}
	r.write(a, b, c)
	if len(r.writes) != 1 || r.reads != 0 {
		t.Errorf("%d writes and %d reads for one batch, want 1 and 0", len(r.writes), r.reads)
	}
	r.want("SELECT source, record_id, kind, taken_at, received_at, seq, content_type, labels, amends, unassigned FROM record ORDER BY seq",
		`ark-1|r1|exam|2026-03-01T17:15|2026-03-01T08:15:01.120000000Z|1|application/json|{"message":"ORU^R01\ufffd","z":"1"}||0`,
		`lab|doc|document|2026-03-01T17:15:00.12+09:00|2026-03-01T08:15:00.120000000Z|2||{}||0`,
		`lab|bare|hl7.adt|<nil>|2026-03-01T08:15:00.120000000Z|3||{}||0`)
	r.want("SELECT data, raw, content_hash FROM record ORDER BY seq",
		"x"+string(a.Data)+"|x"+string(a.Raw)+"|"+a.ContentHashHex(), "x\xff\x00|<nil>|"+b.ContentHashHex(), "<nil>|<nil>|"+c.ContentHashHex())
	r.want("SELECT * FROM exam", "ark-1|r1|P1|Muster P1|1970-01|F|Example|AR-1|0042|2026-03-01T17:15|2026-03-01T08:15:01.120000000Z|0|[]|")
	r.want("SELECT * FROM observation ORDER BY idx",
		`ark-1|r1|0|sphere|R|objective|0|-2.25|-2.25|D|-02.25|["L"]`,
		`ark-1|r1|1|note|B||1|<nil>|`+"low \ufffd\"confidence\""+`|||[]`)
	r.want("SELECT * FROM attachment ORDER BY source", "ark-1|r1|0|od\ufffd\ufffd.jpg|image/jpeg|5|"+strings.Repeat("a", 64)+"|", "lab|doc|0|od\ufffd\ufffd.jpg|image/jpeg|5|"+strings.Repeat("a", 64)+"|")
}

func TestStoredOnce(t *testing.T) {
	r := newRig(t, `{"raw": false}`)
	a, b := record(t, 1, "P1", 1), record(t, 2, "P2", 2)
	r.write(a, b)
	r.write(b, a)
	other := record(t, 1, "P1", 3)
	c := record(t, 3, "", 3)
	refused := r.refused(a, other, c)
	if !slices.Equal(refused.Indexes(), []int{1}) || !errors.Is(refused[1], errConflict) {
		t.Errorf("refused: %v, want record 1 for its conflict", refused)
	}
	r.want("SELECT record_id, seq, raw FROM record ORDER BY seq", "r1|1|<nil>", "r2|2|<nil>", "r3|3|<nil>")
	r.want("SELECT record_id, patient_id, unassigned FROM exam ORDER BY record_id", "r1|P1|0", "r2|P2|0", "r3||1")
	r.want("SELECT value_num FROM observation WHERE code = 'sphere' ORDER BY record_id", "1", "2", "3")
}

func TestNotAnExam(t *testing.T) {
	r := newRig(t, "")
	bad := record(t, 2, "P2", 2)
	bad.Data = []byte(`{"patient":{"id":"P2","name":"Muster P2"}}`)
	refused := r.refused(record(t, 1, "P1", 1), bad, record(t, 3, "P3", 3))
	if !slices.Equal(refused.Indexes(), []int{1}) || strings.Contains(refused[1].Error(), "P2") {
		t.Errorf("refused: %v, want record 1 without its patient", refused)
	}
	r.want("SELECT record_id FROM record ORDER BY seq", "r1", "r3")
	if n := len(r.writes); n != 1 {
		t.Errorf("%d writes, want 1", n)
	}
}

func TestAmendment(t *testing.T) {
	file := []sdk.Attachment{{Name: "late.jpg", Hash: strings.Repeat("b", 64)}}
	first, second := record(t, 1, "P1", 1), amend(record(t, 2, "P1", 2), "r1")
	third := amend(record(t, 3, "", 3), "r2") // of an amendment, and without a patient
	document := sdk.Record{ID: "r4", Source: "ark-1", Kind: "document", Amends: "r1", Received: epoch, Seq: 4, Attachments: []sdk.Attachment{{Name: "raw-1", Role: "raw", Size: 1 << 30}, file[0]}}
	first.Attachments, second.Attachments = []sdk.Attachment{{Name: "1.jpg"}, {Name: "2.jpg"}}, file
	all := []sdk.Record{first, second, third, document}
	batches := map[string][][]sdk.Record{
		"one by one":    {all[:1], all[1:2], all[2:3], all[3:]},
		"one batch":     {all},
		"two":           {all[:2], all[2:]},
		"come again":    {all, all[1:], all[:2], all},
		"first is late": {all[1:], all[:1]},
	}
	for name, steps := range batches {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "")
			for _, step := range steps {
				r.write(step...)
			}
			r.want("SELECT record_id, amends FROM record ORDER BY record_id", "r1|", "r2|r1", "r3|r2", "r4|r1")
			r.want("SELECT record_id, patient_id, patient_name, unassigned, amended_by, received_at FROM exam", "r1|P1|Muster P1|0|r3|2026-03-01T08:15:03.120000000Z")
			r.want("SELECT record_id, idx, value_text FROM observation WHERE code = 'sphere'", "r1|0|3")
			r.want("SELECT record_id, idx, name FROM attachment ORDER BY record_id, idx", "r1|0|1.jpg", "r1|1|2.jpg", "r1|1048576|late.jpg", "r1|1048577|late.jpg", "r4|0|raw-1")
		})
	}
}

// An assignment is the exam once more, with its patient and all of its files: those that are there are not there twice.
func TestAssignment(t *testing.T) {
	for name, batches := range map[string][]int{"apart": {1, 2, 3}, "together": {3}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "")
			image := sdk.Attachment{Name: "1.jpg", Hash: strings.Repeat("a", 64)}
			nobody, late, assigned := record(t, 1, " ", 1), amend(record(t, 2, "", 1), "r1"), amend(record(t, 3, "P1", 1), "r1")
			nobody.Attachments, late.Attachments = []sdk.Attachment{image}, []sdk.Attachment{{Name: "2.jpg", Hash: image.Hash}}
			assigned.Attachments = []sdk.Attachment{image, late.Attachments[0]}
			all := []sdk.Record{nobody, late, assigned}
			from := 0
			for _, to := range batches {
				r.write(all[from:to]...)
				if from = to; to < 3 {
					r.want("SELECT patient_id, unassigned FROM exam", "|1")
				}
			}
			r.want("SELECT record_id, patient_id, unassigned, amended_by FROM exam", "r1|P1|0|r3")
			r.want("SELECT record_id, unassigned FROM record ORDER BY seq", "r1|1", "r2|1", "r3|0")
			r.want("SELECT value_text FROM observation WHERE code = 'sphere'", "1")
			r.want("SELECT record_id, idx, name FROM attachment ORDER BY idx", "r1|0|1.jpg", "r1|1048576|2.jpg")
		})
	}
}

func TestAmendmentThatComesLate(t *testing.T) {
	tests := []struct {
		name  string
		late  func(r *sdk.Record)
		value string
	}{
		{"replayed", func(*sdk.Record) {}, "3"},
		{"after the spool was lost", func(r *sdk.Record) { r.Received = epoch.Add(time.Hour) }, "2"},
		{"after the clock was put back", func(r *sdk.Record) { r.Seq = 9 }, "2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, "")
			late := amend(record(t, 2, "P1", 2), "r1")
			tt.late(&late)
			late.Attachments = []sdk.Attachment{{Name: "late.jpg"}}
			r.write(record(t, 1, "P1", 1), amend(record(t, 3, "P1", 3), "r1"))
			r.write(late)
			r.want("SELECT value_text FROM observation WHERE code = 'sphere'", tt.value)
			r.want("SELECT record_id FROM record WHERE record_id = 'r2'", "r2")
			r.want("SELECT record_id, idx FROM attachment", "r1|1048576")
		})
	}
}

func TestOriginalAfterAmendmentWithoutObservations(t *testing.T) {
	r := newRig(t, "")
	withdrawn := amend(record(t, 2, "P1", 2), "r1")
	data, err := exam.Encode(&exam.Exam{Patient: exam.Patient{ID: "P2"}, Observations: []exam.Observation{}})
	if err != nil {
		t.Fatal(err)
	}
	withdrawn.Data = data
	r.write(withdrawn)
	r.write(record(t, 1, "P1", 1))
	r.want("SELECT record_id, patient_id, amended_by FROM exam", "r1|P2|r2")
	r.want("SELECT count(*) FROM observation", "0")
	r.want("SELECT record_id FROM record ORDER BY seq", "r1", "r2")
}

func TestChainOfAmendments(t *testing.T) {
	r := newRig(t, "")
	r.write(record(t, 1, "P1", 1))
	for n := 2; n < 7; n++ {
		r.write(amend(record(t, n, "P1", float64(n)), fmt.Sprintf("r%d", n-1)))
	}
	r.reads = 0
	r.write(amend(record(t, 7, "P1", 7), "r6"), record(t, 8, "P1", 8))
	if r.reads != 8 {
		t.Errorf("%d reads, want one for each of 6 records of the chain, and 2", r.reads)
	}
	r.want("SELECT record_id, amended_by FROM exam ORDER BY record_id", "r1|r7", "r8|")
	r.want("SELECT record_id, value_text FROM observation WHERE code = 'sphere' ORDER BY record_id", "r1|7", "r8|8")
}

func TestAmendmentsOfOthersAreNotMixed(t *testing.T) {
	r := newRig(t, "")
	other := record(t, 1, "P9", 9)
	other.Source = "ark-2"
	fix := amend(record(t, 2, "", 2), "r1")
	unknown := amend(record(t, 3, "", 3), "nobody\xff")
	circle, back := amend(record(t, 5, "P5", 5), "r6"), amend(record(t, 6, "P6", 6), "r5")
	r.write(other, record(t, 1, "P1", 1), fix, unknown, circle, back)
	r.want("SELECT source, record_id, patient_id, amended_by FROM exam WHERE record_id NOT IN ('r5', 'r6') ORDER BY source, record_id",
		"ark-1|nobody\ufffd||r3", "ark-1|r1|P1|r2", "ark-2|r1|P9|")
}

func TestReceiptsThatAreGone(t *testing.T) {
	r := newRig(t, "")
	a, b := record(t, 1, "P1", 1), record(t, 2, "P2", 2)
	a.Attachments = []sdk.Attachment{{Name: "1.jpg"}}
	r.write(a, b)
	if _, err := r.db.Exec("DELETE FROM receipt"); err != nil {
		t.Fatal(err)
	}
	r.write(a, b)
	r.want("SELECT record_id, patient_id FROM exam", "r1|P1", "r2|P2")
	r.want("SELECT count(*) FROM observation", "4")
	r.want("SELECT count(*) FROM attachment", "1")
}

func TestRefusedByTheDatabase(t *testing.T) {
	errBad := errors.New("a check of the table failed")
	badID := func(bad ...string) func(int, []sdk.Change) error {
		return func(_ int, changes []sdk.Change) error {
			for i, c := range changes {
				if slices.Contains(bad, c.(sdk.Once).ID) {
					return &sdk.ChangeError{Index: i, Err: sdk.Permanent(errBad)}
				}
			}
			return nil
		}
	}
	silent := func(f func(int, []sdk.Change) error) func(int, []sdk.Change) error {
		return func(n int, changes []sdk.Change) error {
			var c *sdk.ChangeError
			if err := f(n, changes); errors.As(err, &c) {
				return c.Err
			}
			return nil
		}
	}
	var batch, many []sdk.Record
	var ids []string
	for n := range 60 {
		many = append(many, record(t, n, "P1", float64(n)))
		ids = append(ids, many[n].ID)
	}
	batch = many[:5]
	tests := []struct {
		name   string
		batch  []sdk.Record
		fail   func(int, []sdk.Change) error
		want   []int
		writes int // at most
	}{
		{"one", batch, badID("r2"), []int{2}, 3},
		{"the last", batch, badID("r4"), []int{4}, 3},
		{"two", batch, badID("r0", "r3"), []int{0, 3}, 5},
		{"one, unnamed", batch, silent(badID("r2")), []int{2}, 7},
		{"all", many, badID(ids...), nil, 2*len(many) + 2*maxRefusals},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, "")
			r.fail = tt.fail
			if tt.want == nil {
				for i := range tt.batch {
					tt.want = append(tt.want, i)
				}
			}
			refused := r.refused(tt.batch...)
			if !slices.Equal(refused.Indexes(), tt.want) || !errors.Is(refused[tt.want[0]], errBad) {
				t.Errorf("refused: %v, want %v", refused.Indexes(), tt.want)
			}
			if len(r.writes) > tt.writes {
				t.Errorf("%d writes, want at most %d", len(r.writes), tt.writes)
			}
			r.want("SELECT count(*) FROM record", fmt.Sprint(len(tt.batch)-len(tt.want)))
		})
	}
}

func TestErrorsOfTheDatabaseKeepTheirClass(t *testing.T) {
	errDown := errors.New("down")
	for _, class := range []sdk.Class{sdk.ClassNone, sdk.ClassBusy, sdk.ClassUnavailable, sdk.ClassUnknown} {
		for _, named := range []bool{false, true} {
			r := newRig(t, "")
			r.fail = func(n int, _ []sdk.Change) error {
				err := errDown
				if class != sdk.ClassNone {
					err = sdk.WithClass(class, err)
				}
				if named {
					err = &sdk.ChangeError{Index: 1, Err: err}
				}
				if n == 1 {
					return err
				}
				return nil
			}
			batch := []sdk.Record{record(t, 1, "P1", 1), record(t, 2, "P2", 2)}
			err := r.sink.Write(context.Background(), batch)
			if !errors.Is(err, errDown) || sdk.ClassOf(err) != class || len(r.writes) != 1 {
				t.Errorf("write says %v of class %v after %d writes, want class %v after 1", err, sdk.ClassOf(err), len(r.writes), class)
			}
			r.write(batch...)
			r.want("SELECT count(*) FROM exam", "2")
		}
	}
}

// short is a Store that answers less than it was asked.
type short struct{ *memory }

// Write drops an answer.
func (s short) Write(ctx context.Context, changes ...sdk.Change) ([]sdk.Changed, error) {
	done, err := s.memory.Write(ctx, changes...)
	return done[:len(done)-1], err
}

func TestAnswerThatIsShort(t *testing.T) {
	r := newRig(t, "")
	r.sink.env.Store = short{r.memory}
	if err := r.sink.Write(context.Background(), []sdk.Record{record(t, 1, "P1", 1)}); sdk.ClassOf(err) != sdk.ClassUnknown {
		t.Errorf("write says %v of class %v, want unknown", err, sdk.ClassOf(err))
	}
}

func TestLookUpThatFails(t *testing.T) {
	r := newRig(t, "")
	r.write(record(t, 1, "P1", 1))
	r.sink.env.Store = deaf{r.memory}
	err := r.sink.Write(context.Background(), []sdk.Record{amend(record(t, 2, "P1", 2), "r1")})
	if !errors.Is(err, syscall.ECONNRESET) || sdk.ClassOf(err) != sdk.ClassUnavailable {
		t.Errorf("write says %v of class %v", err, sdk.ClassOf(err))
	}
}

// deaf is a Store that answers no Query.
type deaf struct{ *memory }

// Query fails.
func (deaf) Query(context.Context, sdk.Query) (sdk.Result, error) {
	return sdk.Result{}, sdk.WithClass(sdk.ClassUnavailable, syscall.ECONNRESET)
}

func TestMovedContent(t *testing.T) {
	r := newRig(t, "")
	a := record(t, 1, "P1", 1)
	a.Attachments = []sdk.Attachment{r.blob(string(a.Raw), "raw"), r.blob(string(a.Data), "data")}
	data, raw := string(a.Data), string(a.Raw)
	a.Data, a.Raw, a.Unassigned = nil, nil, true
	big := sdk.Record{ID: "big", Source: "oct", Kind: "document", Received: epoch, Seq: 2, Attachments: []sdk.Attachment{{Role: "data", Size: maxLoad + 1, Hash: "far"}}}
	r.write(a, big)
	r.want("SELECT data, raw, unassigned FROM record ORDER BY seq", "x"+data+"|x"+raw+"|0", "<nil>|<nil>|0")
	r.want("SELECT patient_id FROM exam", "P1")
	r.want("SELECT record_id, idx, role, hash FROM attachment ORDER BY record_id, idx", "big|0|data|far", "r1|0|raw|"+a.Attachments[0].Hash, "r1|1|data|"+a.Attachments[1].Hash)

	huge, lost, other := big, a, a
	huge.ID, huge.Kind = "huge", exam.Kind
	lost.ID, lost.Attachments = "lost", []sdk.Attachment{{Role: "data", Size: 1, Hash: strings.Repeat("c", 64)}}
	other.ID, other.Attachments = "other", []sdk.Attachment{r.blob("OTHER", "data")}
	r.blobs[other.Attachments[0].Hash] = []byte("other")
	refused := r.refused(huge, lost, other, record(t, 9, "P9", 9))
	if !slices.Equal(refused.Indexes(), []int{0, 1, 2}) || !errors.Is(refused[1], errMissing) || !errors.Is(refused[2], errDamaged) {
		t.Errorf("refused: %v", refused)
	}
	r.sink.env.Blob = func(context.Context, string) (io.ReadCloser, error) { return nil, syscall.EIO }
	if err := r.sink.Write(context.Background(), []sdk.Record{lost}); !errors.Is(err, syscall.EIO) || sdk.ClassOf(err) != sdk.ClassUnavailable {
		t.Errorf("a store that cannot be read: %v, want to be tried again", err)
	}
}

func TestLargeBatchIsCut(t *testing.T) {
	r := newRig(t, "")
	var batch []sdk.Record
	blob := r.blob(strings.Repeat("x", maxLoad), "data")
	for n := range 3 {
		batch = append(batch, sdk.Record{ID: fmt.Sprint(n), Source: "oct", Kind: "document", Received: epoch, Seq: uint64(n), Attachments: []sdk.Attachment{blob}})
	}
	r.write(batch...)
	r.want("SELECT count(*), sum(length(data)) FROM record", fmt.Sprintf("3|%d", 3*maxLoad))
	for i, changes := range r.writes {
		if n := len(changes) * maxLoad; n > maxChunk {
			t.Errorf("write %d has %d bytes", i, n)
		}
	}
	if len(r.writes) != 2 {
		t.Errorf("%d writes, want 2", len(r.writes))
	}
}

func TestSettings(t *testing.T) {
	for _, settings := range []string{`{"schema":"own"}`, `{"table":"x"}`} {
		if err := (&sink{}).Open(context.Background(), sdk.SinkEnv{Settings: sdk.NewSettings([]byte(settings))}); !errors.Is(err, sdk.ErrSettings) {
			t.Errorf("settings %s: %v", settings, err)
		}
	}
	if err := (&sink{}).Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// taken is a Store that takes everything.
type taken struct{}

// Write answers applied.
func (taken) Write(_ context.Context, changes ...sdk.Change) ([]sdk.Changed, error) {
	return make([]sdk.Changed, len(changes)), nil
}

// Query finds nothing.
func (taken) Query(context.Context, sdk.Query) (sdk.Result, error) { return sdk.Result{}, nil }

func BenchmarkPlan(b *testing.B) {
	var batch []sdk.Record
	for n := range 1000 {
		r := record(b, n, "P1", 1)
		e, err := exam.Decode(r.Data)
		if err != nil {
			b.Fatal(err)
		}
		for i := range 8 {
			o := e.Observations[0]
			o.Seq = i + 1
			e.Observations = append(e.Observations, o)
		}
		if r.Data, err = exam.Encode(e); err != nil {
			b.Fatal(err)
		}
		batch = append(batch, r)
	}
	s := &sink{Raw: true, env: sdk.SinkEnv{Store: taken{}}}
	b.SetBytes(int64(len(batch) * len(batch[0].Data)))
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Write(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(batch)), "ns/record")
}
