package spool

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var updateGolden = flag.Bool("update", false, "write testdata/format1 anew; only before its release")

// goldenLife is what the spools of testdata/format1 hold, by id and number.
var goldenLife = strings.Join([]string{
	"6 ark-1 copy id-2: emr waiting 0 ",
	"5 lab id-5: ",
	"4 lab id-4: archive delivered 0 ",
	"3 ark-1 id-3: emr dropped 3 too old (a test record)|archive delivered 0 ",
	"2 ark-1 id-2: emr requeued 2 no column|archive delivered 0 ",
	"1 ark-1 id-1: emr delivered 0 |archive dead 1 no table",
}, "\n")

// Each format that was ever released is opened by all later versions, sealed or not.
func TestGoldenFormat1(t *testing.T) {
	for name, opt := range map[string]Options{"plain": {}, "sealed": {Seal: true, Key: testKey}} {
		t.Run(name, func(t *testing.T) {
			kept := filepath.Join("testdata", "format1", name)
			opt.Describe = describeText
			if *updateGolden {
				makeGolden(t, kept, opt)
			}
			dir := filepath.Join(t.TempDir(), "spool")
			if err := os.CopyFS(dir, os.DirFS(kept)); err != nil {
				t.Fatal(err)
			}
			i, err := Inspect(dir, opt)
			if err != nil {
				t.Fatal(err)
			}
			for r, err := range i.Verify() {
				if err != nil || r.Damaged != 0 || r.Sealed != opt.Seal {
					t.Fatalf("%+v, %v", r, err)
				}
			}
			same(t, lives(t, i), []string{goldenLife})
			s := start(t, dir, opt)
			defer s.stop()
			checkGolden(t, s)
		})
	}
}

func checkGolden(t *testing.T, s *running) {
	t.Helper()
	same(t, lives(t, s.Spool), []string{goldenLife})
	emr := s.sink(t, "emr")
	same(t, payloads(drain(t, s.Spool, emr)), []string{"id-2;exam.oct;p-2;;two"})
	same(t, letters(t, s.Spool, ""), []string{`archive 1 ark-1 "no table" 1 id-1;exam.oct;p-1;;one`})
	if p, ok := s.Position("ark-1"); !ok || string(p) != "id-3;exam.oct;p-3;;three" {
		t.Fatalf("position %q, %v", p, ok)
	}
	st := s.Stats()
	if st.Records != 5 || st.Quarantined != 0 || st.Torn != 0 || st.Sinks[emr].Closed != 2 || st.Sinks[emr].Delivered != 1 {
		t.Fatalf("%+v", st)
	}
	if err := s.put(batch("ark-1", 1, "id-6;exam.oct;p-6;;six")); err != nil {
		t.Fatal(err)
	}
	same(t, payloads(drain(t, s.Spool, emr)), []string{"id-2;exam.oct;p-2;;two", "id-6;exam.oct;p-6;;six"})
}

func lives(t *testing.T, s finding) []string {
	t.Helper()
	var list []string
	for f, err := range s.Find(t.Context(), Lookup{}) {
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("%d %s ", f.Ref.Seq, f.Ref.Device)
		if f.Copy {
			text += "copy "
		}
		id, _, _ := strings.Cut(string(f.Ref.Payload), ";")
		var to []string
		for _, d := range f.Deliveries {
			to = append(to, fmt.Sprintf("%s %s %d %s", d.Sink, d.State, d.Attempts, d.Reason))
		}
		list = append(list, text+id+": "+strings.Join(to, "|"))
	}
	return []string{strings.Join(list, "\n")}
}

// makeGolden writes a spool with every kind of frame that it can hold.
func makeGolden(t *testing.T, dir string, opt Options) {
	t.Helper()
	work := filepath.Join(t.TempDir(), "spool")
	s := start(t, work, opt)
	emr, archive := s.sink(t, "emr"), s.sink(t, "archive")
	both := SinkSet(0).With(emr).With(archive)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.put(batch("ark-1", both, "id-1;exam.oct;p-1;;one", "id-2;exam.oct;p-2;;two", "id-3;exam.oct;p-3;;three")))
	must(s.put(batch("lab", SinkSet(0).With(archive), "id-4;exam.ref;p-4;;four")))
	must(s.put(batch("lab", 0, "id-5;reject;;;five")))
	refs := drain(t, s.Spool, emr)
	must(s.Dead(t.Context(), archive, refs[0], "no table", 1))
	must(s.Dead(t.Context(), emr, refs[1], "no column", 2))
	must(s.Dead(t.Context(), emr, refs[2], "too old", 3))
	must(s.Settle(emr, refs[2].Seq, 3, 2))
	must(s.Settle(archive, 4, 4, 1))
	for l, err := range s.DeadLetters("emr") {
		must(err)
		if l.Attempts == 2 {
			must(s.Requeue(t.Context(), l))
		} else {
			must(s.Drop(l, "a test record"))
		}
	}
	waitFor(t, func() bool { k := s.Stats().Sinks[archive]; return k.Backlog == 0 })
	s.stop()
	must(os.RemoveAll(dir))
	must(os.MkdirAll(dir, 0o700))
	must(os.CopyFS(dir, os.DirFS(work)))
	must(os.RemoveAll(filepath.Join(dir, quarantineDir)))
}
