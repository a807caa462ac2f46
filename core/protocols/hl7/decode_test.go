package hl7_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/protocols/hl7"
	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

// said is an observation on one line: code eye method seq, value, unit, text as sent, flags.
func said(o exam.Observation) string {
	kind := "text"
	if o.Value.IsNumber() {
		kind = "number"
	}
	return fmt.Sprintf("%s %s %q %d, %s %q %q, sent %q, %q", o.Code, o.Eye, o.Method, o.Seq, kind, o.Value.String(), o.Unit, o.Text, o.Flags)
}

func TestObservations(t *testing.T) {
	for name, c := range map[string]struct{ obx, want, warn string }{
		"ours":                   {`NM|sphere^^99EYE|R.2|-1.50|[diop]^^UCUM|||||F||||||autoref^^99EYE`, `sphere R "autoref" 2, number "-1.5" "D", sent "-1.50", []`, ""},
		"number as text":         {`ST|sphere^^99EYE|L|-1.5`, `sphere L "" 1, number "-1.5" "D", sent "", []`, ""},
		"no type":                {`|x|OS.3| 7 `, `x L "" 3, number "7" "", sent " 7 ", []`, ""},
		"blank behind the sign":  {`NM|sphere^^99EYE|OD.0|- 1,25`, `sphere R "" 0, number "-1.25" "D", sent "- 1,25", []`, ""},
		"no number":              {`NM|va^^99EYE|R.0|>2.0`, `va R "" 0, text ">2.0" "", sent "", []`, ""},
		"repetitions":            {`NM|x||1~2|mg`, `x B "" 1, text "1~2" "mg", sent "", []`, ""},
		"identifier":             {`NM|exam_no^^99EYE||0058`, `exam_no B "" 1, text "0058" "", sent "", []`, ""},
		"structured":             {`SN|x||>=^2.5|mg/dl`, `x B "" 1, text ">=2.5" "mg/dl", sent ">=^2.5", []`, ""},
		"ratio":                  {`SN|x||^1^:^128`, `x B "" 1, text "1:128" "", sent "^1^:^128", []`, ""},
		"coded":                  {`CWE|x||A^Clear\T\dry^L~B^^L`, `x B "" 1, text "A^Clear&dry^L~B^^L" "", sent "", []`, ""},
		"coded, once":            {`CE|x||A^Clear\T\dry^L`, `x B "" 1, text "Clear&dry" "", sent "A^Clear&dry^L", []`, ""},
		"code alone":             {`CNE|x||A`, `x B "" 1, text "A" "", sent "", []`, ""},
		"original text":          {`CWE|x||^^^^^^^^as written`, `x B "" 1, text "as written" "", sent "^^^^^^^^as written", []`, ""},
		"date":                   {`DT|x||20250314`, `x B "" 1, text "20250314" "", sent "", []`, ""},
		"link":                   {`RP|report^^99EYE||http://a/b?c=1\T\d=2^^application^PDF`, `report B "attachment" 1, text "http://a/b?c=1&d=2" "", sent "", []`, ""},
		"alternate code":         {`NM|77^local^L^79892-6^^LN||15|mm[Hg]`, `iop R "" 1, number "15" "mmHg", sent "", []`, ""},
		"code of another system": {`NM|sphere^^L|R.0|1|[diop]`, `sphere R "" 0, number "1" "[diop]", sent "", []`, ""},
		"site of the value":      {`NM|41633001^^SCT||15|kPa|||||F|||||||||8966001^left^SCT`, `iop_kpa L "" 1, number "15" "kPa", sent "", []`, ""},
		"lengths":                {`NM|cct^^99EYE|R.0|0.557|mm`, `cct R "" 0, number "557" "um", sent "0.557", []`, ""},
		"unknown unit stays":     {`NM|cct^^99EYE|R.0|5|furlong`, `cct R "" 0, number "5" "furlong", sent "", []`, ""},
		"unit of MDC":            {`NM|150301^MDC_PRESS_CUFF_SYS^MDC|1.3.1.150301|120|266016^MDC_DIM_MMHG^MDC`, `150301 B "" 1, number "120" "mmHg", sent "", []`, ""},
		"unit text alone":        {`NM|x||1|^per field`, `x B "" 1, number "1" "per field", sent "", []`, ""},
		"flags and correction":   {`NM|x||1|||H~A^abnormal|||C`, `x B "" 1, number "1" "", sent "", ["H" "A" "status=C"]`, ""},
		"foreign method":         {`NM|x||1|||||||||||OBS^test^AS4`, `x B "" 1, number "1" "", sent "", []`, ""},
		"SNOMED method":          {`NM|iop^^99EYE|R.0|15||||||||||||389150000^^SCT`, `iop R "tono" 0, number "15" "mmHg", sent "", []`, ""},
		"text alone names it":    {`ST|^Remark||dry`, `Remark B "" 1, text "dry" "", sent "", []`, ""},
		"no code":                {`ST|||dry`, `text B "" 1, text "dry" "", sent "", []`, exam.WarnUnknownSegment},
		"dotted place of others": {`NM|x|1.2.1|3`, `x B "" 1, number "3" "", sent "", []`, ""},
		"sentinel as text":       {`TX|x||value -999`, `x B "" 1, text "value -999" "", sent "", []`, ""},
		"broken document":        {`ED|report^^99EYE||^application^pdf^Base64^***`, `report B "attachment" 1, text "application/pdf;0" "", sent "", []`, exam.WarnAttachmentAbsent},
	} {
		r := hl7.Decode(oru("OBX|1|"+c.obx), hl7.Options{})
		if len(r.Exams) != 1 || len(r.Exams[0].Observations) != 1 {
			t.Errorf("%s: %+v", name, r)
			continue
		}
		if got := said(r.Exams[0].Observations[0]); got != c.want {
			t.Errorf("%s:\n%s, want\n%s", name, got, c.want)
		}
		if got := strings.Join(r.Exams[0].Warnings, " "); got != c.warn {
			t.Errorf("%s: warnings %q, want %q", name, got, c.warn)
		}
	}
}

// What is no observation gives none, and a warning on the exam beside it where somebody should know.
func TestNoObservation(t *testing.T) {
	for obx, want := range map[string]string{
		`NM|x||`: "", `NM|x|| `: "", `NM|x`: "", `NM|x||||||||I`: "", `ED|x||^application^pdf^Base64^`: "", `RP|x||^^a`: "", `SN|x||^`: "", `CWE|x||^~^`: "",
		`NM|x||5||||||X`: exam.WarnSentinelValue, `NM|x||5||||||N`: exam.WarnSentinelValue, `NM|x||-999`: exam.WarnSentinelValue, `NM|x||-999.0`: exam.WarnSentinelValue,
		`ST|x||8388607`: exam.WarnSentinelValue, `SN|x||^-100`: exam.WarnSentinelValue,
		`NM|x||5||||||D`: exam.WarnUnknownSegment, `NM|x||""`: exam.WarnUnknownSegment, // a deletion of what came before
		`NM|x||||||||D`: exam.WarnUnknownSegment, `ED|x||^application^pdf^Base64^QQ==||||||D`: exam.WarnUnknownSegment,
		`NM|x||5||||||W`: exam.WarnUnknownSegment, `NM|x||||||||W`: exam.WarnUnknownSegment, // what came before is wrong
	} {
		r := hl7.Decode(oru("OBX|1|"+obx, "OBX|2|NM|y||1"), hl7.Options{})
		if len(r.Exams) != 1 || len(r.Exams[0].Observations) != 1 || r.Exams[0].Observations[0].Seq != 2 {
			t.Errorf("%s: %+v", obx, r)
		} else if got := strings.Join(r.Exams[0].Warnings, " "); got != want {
			t.Errorf("%s: warnings %q, want %q", obx, got, want)
		}
		if r := hl7.Decode(oru("OBX|1|"+obx), hl7.Options{}); len(r.Exams)+len(r.Rejects) > 0 {
			t.Errorf("%s alone: %+v", obx, r)
		}
	}
	r := hl7.Decode(oru("OBX|1|NM|y||1", "ZAA|local"), hl7.Options{})
	if len(r.Exams) != 1 || !slices.Equal(r.Exams[0].Warnings, []string{exam.WarnUnknownSegment}) {
		t.Errorf("local segment: %+v", r)
	}
}

func TestPatientAndTime(t *testing.T) {
	for name, c := range map[string]struct {
		pid, obr, id, who, birth, sex, taken string
		blank, spoilt                        bool
	}{
		"second id":   {pid: `|2^^X||""~9|a^b||1970|A`, obr: "|1||||||20250314", id: "2", who: "a b", birth: "1970", sex: "O", taken: "2025-03-14"},
		"parts":       {pid: `||5&x^^^C~6||van A&van^B^C||19700315120000+0900|f`, obr: "|1||||||2025031409+0900", id: "5", who: "van A B", birth: "1970-03-15", sex: "F", taken: "2025-03-14T09:00:00+09:00"},
		"nothing":     {pid: `||""||""||""|U`, obr: "|1||||||", taken: "2025-03-14T10:15:30+09:00", blank: true},
		"nonsense":    {pid: `||7||^given||00000101|x`, obr: "|1||||||20250314256161", id: "7", who: "given", taken: "2025-03-14T10:15:30+09:00"},
		"fraction":    {pid: `||7||a`, obr: "|1||||||20250314090807.1234-0330", id: "7", who: "a", taken: "2025-03-14T09:08:07.1234-03:30"},
		"bad id":      {pid: "||\xffX||a", obr: "|1||||||202503140908", who: "a", taken: "2025-03-14T09:08:00", blank: true, spoilt: true},
		"with escape": {pid: `||7\T\8||a\S\b`, obr: "|1||||||202503140908", id: "7&8", who: "a^b", taken: "2025-03-14T09:08:00"},
	} {
		b := []byte(head + "\rPID|" + c.pid + "\rOBR" + c.obr + "\rOBX|1|NM|a||1\r")
		r := hl7.Decode(b, hl7.Options{})
		if len(r.Exams) != 1 {
			t.Fatalf("%s: %+v", name, r)
		}
		e := r.Exams[0]
		if want := (exam.Patient{ID: c.id, Name: c.who, Birth: c.birth, Sex: c.sex}); e.Patient != want || e.TakenAt != c.taken {
			t.Errorf("%s: %+v %s, want %+v %s", name, e.Patient, e.TakenAt, want, c.taken)
		}
		if slices.Contains(e.Warnings, exam.WarnPatientIDBlank) != c.blank || slices.Contains(e.Warnings, exam.WarnEncodingMislabelled) != c.spoilt {
			t.Errorf("%s: warnings %q", name, e.Warnings)
		}
		if h := parse(t, b).Head(hl7.Options{}); h.Patient != e.Patient || h.TakenAt != e.TakenAt || h.Device != e.Device || len(h.Observations) != 0 {
			t.Errorf("%s: head %+v", name, h)
		}
	}
}

// Two patients in one message are two exams, each with its own order, device and body sites.
func TestPatientsDoNotMix(t *testing.T) {
	r, files := parse(t, oru("OBR|1||||||20250101", "OBX|1|NM|a||1", "PID|1||T-2", "OBR|1||||||20250102||||||||&&^^^8966001", "OBX|1|ED|r||^^^A^data|||||||||||||SN-2",
		"PID|1||T-3", "PID|1||T-4", "OBR|1", "OBX|1|NM|a||1", "OBX|2|NM|b||2", "SPM|1|||||||18944008", "OBR|2", "OBX|1|NM|d||1", "SPM|1|||||||OS", "SPM|1|||||||OD", "OBX|1|NM|c||1", "OBX|1|NM|c|L.0|1")).Exams(hl7.Options{})
	var got []string
	for _, e := range r.Exams {
		for _, o := range e.Observations {
			got = append(got, fmt.Sprint(e.Patient.ID, e.TakenAt, e.Device.Serial, o.Code, o.Eye, o.Seq))
		}
	}
	want := []string{"T-12025-01-01aB1", "T-22025-01-02SN-2rL2", "T-42025-03-14T10:15:30+09:00aR3", "T-42025-03-14T10:15:30+09:00bR4", "T-42025-03-14T10:15:30+09:00dB5", "T-42025-03-14T10:15:30+09:00cR6", "T-42025-03-14T10:15:30+09:00cL0"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if len(files) != 1 || files[0].Exam != 1 || string(files[0].Data) != "data" {
		t.Errorf("files %+v", files)
	}
}

func TestSameKeyTwice(t *testing.T) {
	r := hl7.Decode(oru("OBX|1|NM|a|R.1|1", "OBX|2|NM|a|R.3|2", "OBX|3|NM|a|R.1|3", "OBX|4|NM|a|L.1|4"), hl7.Options{})
	var seqs []int
	for _, o := range r.Exams[0].Observations {
		seqs = append(seqs, o.Seq)
	}
	if !slices.Equal(seqs, []int{1, 3, 4, 1}) || !slices.Equal(r.Exams[0].Warnings, []string{exam.WarnDuplicate}) {
		t.Errorf("numbers %v, warnings %q", seqs, r.Exams[0].Warnings)
	}
}

func TestTooManyObservations(t *testing.T) {
	in := long(2049)
	want := exam.Reject{Reason: exam.RejectTooLarge, Length: int64(len(in)), Detail: "more observations than an exam can have"}
	if r := hl7.Decode(in, hl7.Options{}); len(r.Exams) != 0 || len(r.Rejects) != 1 || r.Rejects[0] != want {
		t.Errorf("%d exams, %+v", len(r.Exams), r.Rejects)
	}
	if r := hl7.Decode(long(2048), hl7.Options{}); len(r.Exams) != 1 || len(r.Exams[0].Observations) != 2048 {
		t.Errorf("%d exams", len(r.Exams))
	}
}

func TestDocuments(t *testing.T) {
	m := parse(t, oru("OBX|1|ED|report^^99EYE||^application^pdf^Base64^JVBE\rRi0x|", `OBX|2|ED|x||^IM^JPEG^base64^/9j/4A==~^TEXT^^A^a\T\b`, "OBX|3|ED|y||^NS^x^Hex^4a4B"))
	r, files := m.Exams(hl7.Options{})
	want := []hl7.Attachment{
		{Name: "obx-1.pdf", ContentType: "application/pdf", Data: []byte("%PDF-1")},
		{Name: "obx-2.jpg", ContentType: "image/jpeg", Data: []byte("\xff\xd8\xff\xe0")},
		{Name: "obx-2-2.txt", ContentType: "text/plain", Data: []byte("a&b")},
		{Name: "obx-3.bin", ContentType: "application/octet-stream", Data: []byte("JK")},
	}
	if fmt.Sprint(files) != fmt.Sprint(want) {
		t.Errorf("files %v, want %v", files, want)
	}
	for i, value := range []string{"application/pdf;6", "IM/JPEG;4", "NS/x;2"} {
		if got := r.Exams[0].Observations[i].Value.String(); got != value {
			t.Errorf("value %q, want %q", got, value)
		}
	}
}

// A mapping is a block in the settings of a plugin, and goes before the built-in one.
func TestMapping(t *testing.T) {
	var settings struct {
		Mapping hl7.Rules `setting:"mapping"`
	}
	text := `{"mapping": {"observations": [
		{"code": "T1", "system": "L", "as": "iop", "eye": "R", "method": "tono", "unit": "mm[Hg]"}, {"code": "T1", "as": "iop", "eye": "L"}, {"code": "note", "eye": "R"},
		{"code": "K", "unit": "per field"}],
		"sites": {"RIGHT": "R", "OS": "B"}, "methods": {"APPL": "tono"}, "units": {"Torr": "mmHg"}, "sentinels": ["99.9"]}}`
	if err := sdk.NewSettings([]byte(text)).Decode(&settings); err != nil {
		t.Fatal(err)
	}
	mapping, err := settings.Mapping.Compile()
	if err != nil {
		t.Fatal(err)
	}
	in := oru("OBX|1|NM|T1^^L||15", "OBX|2|NM|T1^^M||16|Torr", "OBX|3|ST|note^^99EYE||x", "OBX|4|NM|K||1|||||||||||||||RIGHT", "OBX|5|NM|z||99.90", "OBX|6|NM|z||-999||||||||||||APPL", "OBX|7|NM|sphere^^99EYE|R.0|1", "OBX|8|NM|K||1|||||||||||||||OS", "OBX|9|NM|K||1|||||||||||||||OD")
	want := []string{
		`iop R "tono" 1, number "15" "mmHg", sent "", []`, `iop L "" 2, number "16" "mmHg", sent "", []`, `note R "" 3, text "x" "", sent "", []`,
		`K R "" 4, number "1" "per field", sent "", []`, `z B "tono" 6, number "-999" "", sent "", []`, `sphere R "" 0, number "1" "D", sent "", []`,
		`K B "" 8, number "1" "per field", sent "", []`, `K R "" 9, number "1" "per field", sent "", []`,
	}
	compareSaid(t, in, mapping, want)

	settings.Mapping.Only = true
	if mapping, err = settings.Mapping.Compile(); err != nil {
		t.Fatal(err)
	}
	compareSaid(t, oru("OBX|1|NM|sphere^^99EYE|R.0|1|[diop]", "OBX|2|NM|T1||1|mm"), mapping,
		[]string{`sphere R "" 0, number "1" "[diop]", sent "", []`, `iop L "" 2, number "1" "mm", sent "", []`})
}

func compareSaid(t *testing.T, in []byte, mapping *hl7.Mapping, want []string) {
	t.Helper()
	var got []string
	for _, e := range hl7.Decode(in, hl7.Options{Mapping: mapping}).Exams {
		for _, o := range e.Observations {
			got = append(got, said(o))
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("\n%s, want\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestMappingRefuses(t *testing.T) {
	for text, key := range map[string]string{
		`{"observations": [{"code": "a"}, {"code": " "}]}`: "observations[1].code", `{"sites": {"a": "X"}}`: "sites.a", `{"sentinels": ["none"]}`: "sentinels",
		`{"units": {"x": ""}}`: "units.x", `{"methods": {"x": " "}}`: "methods.x",
	} {
		var r hl7.Rules
		if err := sdk.NewSettings([]byte(text)).Decode(&r); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if _, err := r.Compile(); err == nil || !strings.HasPrefix(err.Error(), key+": ") {
			t.Errorf("%s: %v", text, err)
		}
	}
	var r hl7.Rules
	if err := sdk.NewSettings(nil).Decode(&r); err != nil || !slices.Equal(r.Sentinels, hl7.DefaultSentinels()) {
		t.Errorf("sentinels by default %q: %v", r.Sentinels, err)
	}
}
