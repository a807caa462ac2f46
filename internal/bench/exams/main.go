// Exams is a device plugin that makes exams of ten observations as fast as the host takes them, for the benchmark of the
// sql sink: a refraction of both eyes, the distance of the pupils, three pressures.
//
//	[ exams ] ==gRPC==> host => spool => sql
package main

import (
	"context"
	"fmt"
	"time"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
	"github.com/hostd/hostd/core/sdk/serve"
)

// exams is the device. Its position is the number of the last exam that was acknowledged.
type exams struct {
	Count int64 `setting:"count" default:"1000" min:"1" help:"how many exams to make"`

	last int64
	name string
}

// Open goes on behind from.
func (e *exams) Open(_ context.Context, env sdk.Env, from sdk.Position) (err error) {
	if err = env.Settings.Decode(e); err != nil {
		return err
	}
	e.name = env.Name
	e.last, err = from.Offset()
	return err
}

// Read makes the next batch. After the last exam it waits for ctx.
func (e *exams) Read(ctx context.Context) (sdk.Batch, error) {
	if e.last >= e.Count {
		<-ctx.Done()
		return sdk.Batch{}, ctx.Err()
	}
	records := make([]sdk.Record, 0, sdk.MaxBatch/2)
	for len(records) < cap(records) && e.last < e.Count {
		e.last++
		data, err := exam.Encode(made(e.last))
		if err != nil {
			return sdk.Batch{}, fmt.Errorf("encode exam: %w", err)
		}
		records = append(records, sdk.Record{ID: fmt.Sprint(e.name, "-", e.last), Kind: exam.Kind, ContentType: exam.ContentType, Data: data})
	}
	return sdk.Batch{Records: records, Next: sdk.Offset(e.last)}, nil
}

// Ack has nothing to note.
func (e *exams) Ack(context.Context, sdk.Position) error { return nil }

// Close lets nothing go: there is nothing.
func (e *exams) Close(context.Context) error { return nil }

// made is exam n, of an invented patient.
func made(n int64) *exam.Exam {
	step := float64(n % 20)
	e := &exam.Exam{
		Patient: exam.Patient{ID: fmt.Sprintf("P-%06d", n%5000), Name: "Muster Anna", Birth: "1970-03-15", Sex: "F"},
		Device:  exam.Device{Make: "hostd", Model: "bench", Serial: "0"},
		TakenAt: time.Unix(1_767_225_600+n, 0).UTC().Format(time.RFC3339),
	}
	for _, eye := range []string{exam.Right, exam.Left} {
		e.Observations = append(e.Observations,
			exam.Observation{Code: exam.CodeSphere, Eye: eye, Value: exam.Number(-step / 4), Unit: exam.UnitDioptre, Method: exam.MethodAutoref},
			exam.Observation{Code: exam.CodeCylinder, Eye: eye, Value: exam.Number(-step / 8), Unit: exam.UnitDioptre, Method: exam.MethodAutoref},
			exam.Observation{Code: exam.CodeAxis, Eye: eye, Value: exam.Number(9 * step), Unit: exam.UnitDegree, Method: exam.MethodAutoref})
	}
	e.Observations = append(e.Observations, exam.Observation{Code: exam.CodePD, Eye: exam.Both, Value: exam.Number(63), Unit: exam.UnitMM, Method: exam.MethodAutoref})
	for shot := range 3 {
		e.Observations = append(e.Observations, exam.Observation{Code: exam.CodeIOP, Eye: exam.Left, Value: exam.Number(12 + float64(shot)), Unit: exam.UnitMMHg, Method: exam.MethodTono, Seq: shot})
	}
	return e
}

func main() {
	serve.Device(&exams{}, sdk.Manifest{
		Name:       "exams",
		Version:    "1.0.0",
		Speaks:     "nothing: it makes exams for a benchmark",
		Identity:   "name of the device and running number",
		LossWindow: "none: there is nothing to lose",
		Window:     4,
	})
}
