package exam_test

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/hostd/hostd/core/sdk/exam"
)

// sameAsAny holds that what is read by hand is read alike by encoding/json, and says whether it was.
func sameAsAny(t *testing.T, data []byte) bool {
	t.Helper()
	own, ok := exam.DecodeOwn(data)
	if !ok || !utf8.Valid(data) {
		return false
	}
	if slow, err := exam.DecodeAny(data); err != nil || !reflect.DeepEqual(own, slow) {
		t.Fatalf("%q\nby hand %+v\nby encoding/json %+v, %v", data, own, slow, err)
	}
	return true
}

// TestOwnIsAsAny has exams of any shape, and each with a byte changed, put in or left out.
func TestOwnIsAsAny(t *testing.T) {
	own, changed := 0, 0
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 2))
		e := generate(r)
		if seed%4 > 0 { // without texts that need an escape
			e = ten()
			e.Observations = e.Observations[:r.IntN(4)]
			for i := range e.Observations {
				o := &e.Observations[i]
				o.Seq, o.Text, o.Value = r.IntN(200), []string{"", "검사"}[r.IntN(2)], exam.Number(r.NormFloat64()*100)
				if r.IntN(3) == 0 {
					o.Flags, o.Value = []string{"a", "b"}[:1+r.IntN(2)], exam.Text(">2.0")
				}
			}
		}
		data, err := exam.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		if sameAsAny(t, data) {
			own++
		}
		for range 50 {
			at, with := r.IntN(len(data)), string(`"{}[],:\ 0-.e9x`[r.IntN(15)])
			for _, data := range []string{
				string(data[:at]) + with + string(data[at:]), string(data[:at]) + string(data[at+1:]), string(data[:at]) + with + string(data[at+1:]),
			} {
				if sameAsAny(t, []byte(data)) {
					changed++
				}
			}
		}
	}
	if own == 0 || changed == 0 {
		t.Errorf("%d exams and %d changed ones were read by hand: that says nothing", own, changed)
	}
}

// TestOwnReadsWhatIsCommon holds that ordinary exams take the short way, and what only looks like one does not.
func TestOwnReadsWhatIsCommon(t *testing.T) {
	ordinary := ten()
	ordinary.Observations[1].Text, ordinary.Observations[1].Flags = "-1,25", []string{"C", ""}
	ordinary.Warn(exam.WarnDuplicate)
	for name, e := range map[string]*exam.Exam{"full": ordinary, "empty": {}, "of ten": ten()} {
		if !sameAsAny(t, mustEncode(t, e)) {
			t.Errorf("%s: it went the long way", name)
		}
	}
	good := string(mustEncode(t, ten()))
	for name, change := range map[string][2]string{
		"blank":          {`"taken_at":`, `"taken_at": `},
		"escape":         {`Kim Siheom`, `Kim \u0053iheom`},
		"key in between": {`"device"`, `"x":1,"device"`},
		"exponent":       {`"value":-1.25`, `"value":-1.25e0`},
		"zero before":    {`"value":-1.25`, `"value":-01.25`},
		"no fraction":    {`"value":-1.25`, `"value":-1.`},
		"two points":     {`"value":-1.25`, `"value":-1.2.5`},
		"no number":      {`"value":-1.25`, `"value":-`},
		"null":           {`"value":-1.25`, `"value":null`},
		"negative seq":   {`"seq":0`, `"seq":-1`},
		"no seq":         {`"seq":0`, `"seq":`},
		"zero seq":       {`"seq":0`, `"seq":00`},
		"huge seq":       {`"seq":0`, `"seq":99999999999999999999`},
		"no flags":       {`"seq":0`, `"seq":0,"flags":[]`},
		"more behind":    {`"pd"`, `"pd"` + "\x01"},
	} {
		data := strings.Replace(good, change[0], change[1], 1)
		if data == good {
			t.Fatalf("%s changes nothing", name)
		}
		if e, ok := exam.DecodeOwn([]byte(data)); ok {
			t.Errorf("%s was taken: %+v", name, e)
		}
	}
	for _, data := range []string{good + " ", good[:len(good)-1], good + "}", ""} {
		if _, ok := exam.DecodeOwn([]byte(data)); ok {
			t.Errorf("taken: %q", data)
		}
	}
}

// TestDecodedExamIsItsOwn changes the bytes after they were decoded.
func TestDecodedExamIsItsOwn(t *testing.T) {
	data := mustEncode(t, ten())
	e, err := exam.Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	clear(data)
	if !reflect.DeepEqual(e.Patient, ten().Patient) {
		t.Errorf("the patient is %+v now", e.Patient)
	}
}

func BenchmarkDecodeAny(b *testing.B) {
	data := mustEncode(b, ten())
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		if _, err := exam.DecodeAny(data); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzOwn(f *testing.F) {
	f.Add([]byte(fullJSON))
	f.Add(mustEncode(f, ten()))
	f.Fuzz(func(t *testing.T, data []byte) {
		if sameAsAny(t, data) && !json.Valid(data) {
			t.Fatalf("%q is not JSON", data)
		}
	})
}
