package main

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

// csvMap is the mapping of the files here.
func csvMap() map[string]any {
	return map[string]any{
		"separator": "semicolon", "patient_id": "Id", "date": "Date", "items": "exams",
		"observations": []map[string]any{
			{"from": "R", "code": exam.CodeIOP, "eye": "R", "method": exam.MethodTono}, {"from": "L", "code": exam.CodeIOP, "eye": "L", "method": exam.MethodTono},
		},
	}
}

func mappedBy(format string, more map[string]any) map[string]any {
	settings := map[string]any{"format": format, "map": csvMap()}
	maps.Copy(settings, more)
	return settings
}

const csvHead = "Id;Date;R;L\n"

func csvRows(from, to int) string {
	var b strings.Builder
	for n := from; n <= to; n++ {
		fmt.Fprintf(&b, "T-%d;2025-03-24;%d;15\n", n, 10+n%10)
	}
	return b.String()
}

// TestManyRows imports a file of more exams than a batch holds, with a crash in the middle: each row is one record.
func TestManyRows(t *testing.T) {
	inBubble(t, mappedBy("csv", map[string]any{"settle": "0s"}), func(t *testing.T, r *rig) {
		const rows = 1000
		r.write(secret+".csv", csvHead+csvRows(1, rows)+"T-1;2025-03-24;11;15\n;;;\n")
		first := r.read()
		if len(first.Records) >= rows {
			t.Fatalf("%d records in a batch", len(first.Records))
		}
		r.store(first)
		r.mustOpen().poll()
		if len(r.stored) != rows+2 || len(r.order) != rows+2+len(first.Records) {
			t.Errorf("%d records, sent %d times", len(r.stored), len(r.order))
		}
		if len(r.exams()) != rows || string(r.exams()["T-7"].Observations[0].Value.String()) != "17" {
			t.Error("not every row")
		}
		for _, rec := range r.of("T-7;") {
			if string(rec.Raw) != csvHead+"T-7;2025-03-24;17;15" || rec.Labels["format"] != "csv" {
				t.Errorf("%q %v", rec.Raw, rec.Labels)
			}
		}
		r.wantFiles("done/" + secret + ".csv")
		if r.d.rest != nil || len(r.d.stored)+len(r.d.seen) > 0 {
			t.Error("something is kept")
		}
	})
}

// TestRowsFill holds that a file whose rows fill batches to the last place is put away with the last of them.
func TestRowsFill(t *testing.T) {
	for _, count := range []int{sdk.MaxBatch - 1, sdk.MaxBatch, sdk.MaxBatch + 1, 2 * sdk.MaxBatch} {
		inBubble(t, mappedBy("csv", map[string]any{"settle": "0s"}), func(t *testing.T, r *rig) {
			r.write("a.csv", csvHead+csvRows(1, count))
			r.run(3 * time.Second)
			r.wantOnce(count)
			r.wantFiles("done/a.csv")
		})
	}
}

// TestRowsRefused holds that a file of which a part was refused is read from its beginning.
func TestRowsRefused(t *testing.T) {
	inBubble(t, mappedBy("csv", map[string]any{"settle": "0s"}), func(t *testing.T, r *rig) {
		const rows = 600
		r.write("a.csv", csvHead+csvRows(1, rows))
		b := r.read()
		r.store(b)
		r.ack(b)
		r.wantFiles("a.csv")
		if err := r.d.Refuse(t.Context(), r.read().Next, sdk.ReasonDisk); err != nil {
			t.Fatal(err)
		}
		r.run(5 * time.Second)
		if len(r.stored) != rows || len(r.order) != rows+len(b.Records) {
			t.Errorf("%d records, sent %d times", len(r.stored), len(r.order))
		}
		r.wantFiles("done/a.csv")
	})
}

// TestGrowingRows holds that a file to which rows are appended gives the new ones as new records, and the old ones as they were.
func TestGrowingRows(t *testing.T) {
	inBubble(t, mappedBy("auto", map[string]any{"after": "keep"}), func(t *testing.T, r *rig) {
		r.write("log.csv", csvHead)
		r.run(10 * time.Second)
		r.wantOnce(0)
		r.write("log.csv", csvHead+csvRows(1, 2))
		r.run(5 * time.Second)
		r.wantOnce(2)
		r.write("log.csv", csvHead+csvRows(1, 3)+"T-4;20")
		r.run(10 * time.Second)
		r.wantOnce(2)
		r.write("log.csv", csvHead+csvRows(1, 4))
		r.run(5 * time.Second)
		r.wantOnce(4)
		r.write("log.csv", csvHead+csvRows(2, 4)) // the first is taken out
		r.run(5 * time.Second)
		r.write("log.csv", csvHead+csvRows(2, 4)+csvRows(4, 4))
		r.run(5 * time.Second)
		r.wantOnce(5)
		r.mustOpen() // a restart forgets the rows, not the file
		r.run(5 * time.Second)
		r.wantOnce(5)
		r.write("log.csv", csvHead+csvRows(3, 5))
		r.run(5 * time.Second)
		if len(r.stored) != 6 || len(r.order) != 8 {
			t.Errorf("%d records, sent %d times", len(r.stored), len(r.order))
		}
	})
}

func TestJSONList(t *testing.T) {
	inBubble(t, mappedBy("auto", nil), func(t *testing.T, r *rig) {
		r.write("a.json", `{"exams":[{"Id":"T-1","R":13},{"Id":"T-2","L":14},{"Id":"`+secret+`"}]}`)
		r.write("b.json", `{"exams":[]}`)
		r.write("c.csv", "Other;Columns\n1;2\n")
		r.write("d.xml", joiaXML("T-3"))
		r.write("e.gdt", "01380006310\r\n011300047\r\n0106228x\r\n")
		r.run(time.Minute)
		r.wantOnce(7)
		for id, code := range map[string]string{"T-1": exam.CodeIOP, "T-2": exam.CodeIOP, "T-3": exam.CodeExamNo, "47": exam.CodeText} {
			if e := r.exams()[id]; e == nil || e.Observations[0].Code != code {
				t.Errorf("%s: %+v", id, e)
			}
		}
		r.wantFiles("done/a.json", "failed/b.json", "failed/b.json.reason.txt", "failed/c.csv", "failed/c.csv.reason.txt", "done/d.xml", "done/e.gdt")
	})
}

// TestJSONOne is a file that is one exam, whose identity is the file's content.
func TestJSONOne(t *testing.T) {
	settings := mappedBy("json", nil)
	delete(settings["map"].(map[string]any), "items")
	inBubble(t, settings, func(t *testing.T, r *rig) {
		r.write("a.json", `{"Id":"T-1","Date":"2025-03-24","R":"13,5"}`)
		r.write("b.json", `{"Id":"T-1","Date":"2025`)
		r.run(time.Minute)
		r.wantOnce(2)
		if e := r.exams()["T-1"]; e == nil || e.TakenAt != "2025-03-24" || e.Observations[0].Value.String() != "13.5" {
			t.Errorf("%+v", e)
		}
		r.wantFiles("done/a.json", "failed/b.json", "failed/b.json.reason.txt")
	})
}

// TestGDT holds that a file which is being written waits, and that an attachment is found by its name where images are.
func TestGDT(t *testing.T) {
	inBubble(t, map[string]any{"format": "gdt"}, func(t *testing.T, r *rig) {
		const whole = "01380006310\r\n0123000T-1\r\n0106228x\r\n0286305C:\\GDT\\T-000421.pdf\r\n"
		r.write("a.gdt", whole[:40])
		r.run(10 * time.Second)
		r.wantOnce(0)
		r.write("../JPG/T-000421.pdf", pdf)
		r.write("a.gdt", whole)
		r.write("b.gdt", whole[:40])
		r.run(time.Minute)
		if len(r.stored) != 3 {
			t.Fatalf("%d records\n%s", len(r.stored), r.log.String())
		}
		rec := r.of("6305")[0]
		if rec.blobs["T-000421.pdf"] != pdf || warned(t, rec) {
			t.Errorf("%+v", rec)
		}
		for _, rec := range r.of("0106228x\r\n0") {
			if rec.Kind == sdk.KindReject && rec.Labels[sdk.LabelReason] != exam.RejectTruncated {
				t.Errorf("%v", rec.Labels)
			}
		}
		r.wantFiles("done/a.gdt", "done/b.gdt", "done/T-000421.pdf")
	})
}
