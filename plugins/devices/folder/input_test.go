package main

import (
	"encoding/binary"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf16"

	"golang.org/x/text/encoding/japanese"
	"golang.org/x/text/encoding/korean"

	"github.com/hostd/hostd/core/protocols/examtest"
	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

// TestSamples imports the samples of the decoders as an instrument's share, and finds in the records what the samples
// must give.
func TestSamples(t *testing.T) {
	for kind, least := range map[string]int{"joia": 9, "nidek": 11, "topascope": 1, "huvitz": 2, "myah": 1, "gdt": 4} {
		t.Run(kind, func(t *testing.T) {
			importSamples(t, filepath.Join("..", "..", "..", "core", "protocols", kind, "testdata"), least)
		})
	}
}

// TestSharedSamples does so with the reference samples; the other files of huvitz and tomey are of serial lines.
func TestSharedSamples(t *testing.T) {
	for kind, least := range map[string]int{"joia-xml": 9, "nidek-xml": 11, "tomey": 1, "huvitz": 2, "gdt": 4} {
		t.Run(kind, func(t *testing.T) { importSamples(t, examtest.Shared(t, kind), least) })
	}
}

func importSamples(t *testing.T, dir string, least int) {
	r := newRig(t, map[string]any{"recursive": true, "settle": "0s", "incomplete_wait": "0s", "attachment_wait": "0s"})
	if err := os.CopyFS(r.dir, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	r.mustOpen().poll()
	examtest.SamplesOf(t, dir, "*.[xg][md][lt]", least, func(_ string, data []byte) (got exam.Result) {
		for _, rec := range r.stored {
			if string(rec.Raw) != string(data) {
				continue
			}
			if rec.Kind == sdk.KindReject {
				length, _ := strconv.ParseInt(rec.Labels[sdk.LabelLength], 10, 64)
				offset, _ := strconv.ParseInt(rec.Labels[sdk.LabelOffset], 10, 64)
				got.Rejects = append(got.Rejects, exam.Reject{Reason: rec.Labels[sdk.LabelReason], Offset: offset, Length: length, Detail: rec.Labels[labelDetail]})
				continue
			}
			e, err := exam.Decode(rec.Data)
			if err != nil {
				t.Fatal(err)
			}
			got.Exams = append(got.Exams, e)
		}
		return got
	})
	err := filepath.WalkDir(r.dir, func(path string, e fs.DirEntry, _ error) error {
		if e.IsDir() && (e.Name() == "done" || e.Name() == "failed") {
			return filepath.SkipDir
		}
		if r.d.matches(e.Name()) {
			t.Errorf("%s is still there", filepath.Base(path))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestBadInput(t *testing.T) {
	const name = secret + " x.xml"
	for title, c := range map[string]struct {
		content, reason string
		size            int64 // of a file with a hole
	}{
		"not XML":             {content: "PK\x03\x04 " + secret, reason: exam.RejectMalformedXML},
		"other XML":           {content: "<html><body>" + secret + "</body></html>", reason: exam.RejectMalformedXML},
		"cut off":             {content: joiaXML("1")[:200], reason: exam.RejectMalformedXML},
		"cut before the end":  {content: strings.TrimSpace(joiaXML("1"))[:390], reason: exam.RejectMalformedXML},
		"0 bytes":             {content: "", reason: exam.RejectEmpty},
		"blanks":              {content: " \r\n\x00", reason: exam.RejectEmpty},
		"no measurement":      {content: "<Data><Patient><ID>" + secret + "</ID></Patient></Data>", reason: exam.RejectEmpty},
		"2 GB":                {content: joiaXML("1"), size: 2 << 30, reason: exam.RejectTooLarge},
		"says UTF-8, is none": {content: strings.Replace(joiaXML("1"), secret, secret+"\xff\xff", 1), reason: exam.RejectMalformedXML},
		"deep":                {content: strings.Repeat("<"+secret+">", 100), reason: exam.RejectTooDeep},
	} {
		t.Run(title, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, nil)
				path := r.write(name, c.content)
				if c.size > 0 {
					if err := os.Truncate(path, c.size); err != nil {
						t.Skipf("no sparse file of 2 GB here: %v", err)
					}
				}
				r.write("next.xml", joiaXML("T-2"))
				r.mustOpen()
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				r.run(time.Minute)
				runtime.ReadMemStats(&after)
				if n := after.TotalAlloc - before.TotalAlloc; n > 16<<20 {
					t.Errorf("%d bytes allocated", n)
				}
				r.wantOnce(2)
				if r.exams()["T-2"] == nil {
					t.Error("the next file was not read")
				}
				r.wantFiles("done/next.xml", "failed/"+name, "failed/"+name+".reason.txt")
				wantReject(t, r, c.reason, r.content("failed/"+name+".reason.txt"))
			})
		})
	}
}

func wantReject(t *testing.T, r *rig, reason, note string) {
	t.Helper()
	for id, rec := range r.stored {
		if rec.Kind != sdk.KindReject {
			continue
		}
		if rec.Labels[sdk.LabelReason] != reason || len(rec.Raw) > evidence {
			t.Errorf("labels %v, %d bytes of evidence; want %s", rec.Labels, len(rec.Raw), reason)
		}
		if !strings.Contains(note, reason) || !strings.Contains(note, strings.TrimSuffix(id, "-r")) || strings.Contains(note, secret) {
			t.Errorf("reason file:\n%s", note)
		}
		if !strings.Contains(r.log.String(), "reason="+reason) || !strings.Contains(r.log.String(), id) {
			t.Errorf("log:\n%s", r.log.String())
		}
		return
	}
	t.Error("no reject")
}

// TestOptionalPartsMissing holds that an exam is delivered with what it has.
func TestOptionalPartsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.write("a.xml", joiaXML(""))
		r.write("b.xml", nidekXML("T-2", secret+".jpg"))
		r.write("c.xml", nidekXML("T-3", "../other/"+secret+".jpg"))
		r.write("../other/"+secret+".jpg", "no business of ours")
		r.mustOpen().run(time.Minute)
		r.wantOnce(3)
		r.wantFiles("done/a.xml", "done/b.xml", "done/c.xml")
		for id, warning := range map[string]string{"": exam.WarnPatientIDBlank, "T-2": exam.WarnAttachmentAbsent, "T-3": exam.WarnAttachmentAbsent} {
			if e := r.exams()[id]; e == nil || len(e.Observations) == 0 || e.Warnings[0] != warning {
				t.Errorf("%q: %+v", id, e)
			}
		}
	})
}

func TestEncodings(t *testing.T) {
	units := func(order binary.AppendByteOrder) func(string) string {
		return func(s string) string {
			var b []byte
			for _, u := range utf16.Encode([]rune(s)) {
				b = order.AppendUint16(b, u)
			}
			return string(b)
		}
	}
	page := func(f func(string) (string, error)) func(string) string {
		return func(s string) string {
			out, err := f(s)
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
	}
	le, be := units(binary.LittleEndian), units(binary.BigEndian)
	ko, ja := page(korean.EUCKR.NewEncoder().String), page(japanese.ShiftJIS.NewEncoder().String)
	utf8 := func(s string) string { return s }
	r := newRig(t, map[string]any{"settle": "0s", "incomplete_wait": "0s"})
	cases := map[string]struct {
		label, name, mark, warning string
		encode                     func(string) string
	}{
		"utf-8":                    {"UTF-8", "김똠길", "", "", utf8},
		"utf-8 with mark":          {"UTF-8", "김똠길", "\ufeff", "", utf8},
		"utf-8 says utf-16":        {"UTF-16", "김똠길", "", exam.WarnEncodingMislabelled, utf8},
		"utf-16le with mark":       {"UTF-16", "김똠길", "\ufeff", "", le},
		"utf-16be with mark":       {"UTF-16", "김똠길", "\ufeff", "", be},
		"utf-16le without mark":    {"UTF-16", "김똠길", "", "", le},
		"utf-16be without mark":    {"UTF-16", "김똠길", "", "", be},
		"utf-16 says utf-8":        {"UTF-8", "김똠길", "\ufeff", exam.WarnEncodingMislabelled, le},
		"shift-jis":                {"Shift-JIS", "検査 ﾀﾛｳ", "", "", ja},
		"cp949":                    {"EUC-KR", "김똠길", "", "", ko},
		"cp949 says utf-8":         {"UTF-8", "김똠길", "", exam.WarnEncodingMislabelled, ko},
		"cp949 says nothing known": {"x-own", "김똠길", "", exam.WarnEncodingMislabelled, ko},
	}
	for title, c := range cases {
		text := strings.Replace(joiaXML(title), "UTF-8", c.label, 1)
		r.write(title+".xml", c.encode(c.mark+strings.Replace(text, "<LastName>"+secret, "<NameJ1>"+c.name+"</NameJ1><LastName>", 1)))
	}
	r.mustOpen().poll()
	r.wantOnce(len(cases))
	for title, c := range cases {
		e := r.exams()[title]
		if e == nil || e.Patient.Name != c.name || strings.Join(e.Warnings, " ") != c.warning {
			t.Errorf("%s: %+v", title, e)
			continue
		}
		if v, _ := e.Observations[2].Value.Float(); v != -0.5 || e.Observations[2].Text != "-0,50" {
			t.Errorf("%s: decimal comma: %+v", title, e.Observations[2])
		}
	}
}

// TestCodePage holds that the site's code page can be chosen, or guessing be switched off.
func TestCodePage(t *testing.T) {
	for page, want := range map[string]string{"windows-1252": "Müller", "none": "", "cp949": ""} {
		r := newRig(t, map[string]any{"settle": "0s", "incomplete_wait": "0s", "code_page": page})
		r.write("a.xml", strings.Replace(joiaXML("T-1"), secret, "M\xfcller", 1))
		r.mustOpen().poll()
		r.wantOnce(1)
		got := ""
		if e := r.exams()["T-1"]; e != nil {
			got = e.Patient.Name
		}
		if got != want {
			t.Errorf("%s: %q, want %q", page, got, want)
		}
	}
}

func TestNames(t *testing.T) {
	names := []string{
		secret + " a  b.XML", secret + "김시험 검사.xml", secret + "$(reboot) ; & 'x' %PATH% `id`.xml", "-rf " + secret + ".xml", "..." + secret + ".xml",
	}
	if runtime.GOOS != "windows" {
		names = append(names, secret+"\n\"|<>*?\\.xml", secret+"\xff.xml")
	}
	r := newRig(t, map[string]any{"settle": "0s"})
	want := []string{"other.txt", "sub/deeper.xml"}
	for i, n := range names {
		r.write(n, joiaXML(strconv.Itoa(i)))
		want = append(want, "done/"+n)
	}
	r.write("other.txt", joiaXML("txt"))
	r.write("sub/deeper.xml", joiaXML("sub"))
	r.mustOpen().poll()
	r.wantOnce(len(names))
	r.wantFiles(want...)
}

func TestRecursive(t *testing.T) {
	r := newRig(t, map[string]any{"settle": "0s", "recursive": true, "patterns": []string{"*.dat", "a?.xml"}})
	r.write("x/y/one.DAT", joiaXML("1"))
	r.write("x/a2.xml", joiaXML("2"))
	r.write("x/b2.xml", joiaXML("3"))
	r.write("done/x/a1.xml", joiaXML("4"))
	r.mustOpen().poll()
	r.wantOnce(2)
	r.wantFiles("done/x/a1.xml", "done/x/a2.xml", "done/x/y/one.DAT", "x/b2.xml")
}

func TestSettings(t *testing.T) {
	for fault, settings := range map[string]map[string]any{
		"format":    {"format": "dicom"},
		"after":     {"after": "delete"},
		"code_page": {"code_page": "cp4711"},
		"patterns":  {"patterns": []string{"["}},
		"done_dir":  {"done_dir": "."},
		"settle":    {"settle": "-1s"},
		"max_size":  {"max_size_mb": 0},
		"dir":       {"dir": ""},
		"existing":  {"existing": "ask"},
		"user":      {"user": "x"},
		"map.obser": {"format": "csv"},
		"patients":  {"map": map[string]any{"patients": "x"}},
	} {
		if err := newRig(t, settings).open(); err == nil || !strings.Contains(err.Error(), fault) {
			t.Errorf("%v: %v", settings, err)
		}
	}
}
