package nidekrs_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/protocols/examtest"
	"github.com/hostd/hostd/core/protocols/nidekrs"
	"github.com/hostd/hostd/core/sdk/exam"
)

// listed is an exam in short: code eye value [method] [#seq] [flags], its time and its warnings.
func listed(e *exam.Exam) string {
	var list []string
	if e.TakenAt != "" {
		list = append(list, e.TakenAt)
	}
	for _, o := range e.Observations {
		s := o.Code + " " + o.Eye + " " + o.Value.String()
		if o.Method != "" {
			s += " " + o.Method
		}
		if o.Seq > 0 {
			s += fmt.Sprintf(" #%d", o.Seq)
		}
		list = append(list, s+strings.Join(o.Flags, ""))
	}
	return strings.Join(append(list, e.Warnings...), ", ")
}

// read reads one frame; its checksum is added.
func read(t *testing.T, frame string) string {
	t.Helper()
	if strings.HasPrefix(frame, "\x01D") {
		frame += fmt.Sprintf("%04X", nidekrs.Sum([]byte(frame)))
	}
	r, _ := decode([]byte(frame))
	if len(r.Exams) == 1 && len(r.Rejects) == 0 {
		return listed(r.Exams[0])
	}
	if len(r.Rejects) == 1 && len(r.Exams) == 0 {
		return r.Rejects[0].Reason
	}
	t.Fatalf("%q: %d exams, %d rejects", frame, len(r.Exams), len(r.Rejects))
	return ""
}

// TestSegments reads what the samples do not have.
func TestSegments(t *testing.T) {
	for in, want := range map[string]string{
		// refraction
		"DRM|OR+01.00-00.25080*":                               "sphere R 1 autoref*, cylinder R -0.25 autoref*, axis R 80 autoref*",
		"DRM|OR+01.00-00.250807*":                              "sphere R 1 autoref #1*, cylinder R -0.25 autoref #1*, axis R 80 autoref #1*, confidence R 7 autoref #1*",
		"DRM|ERNO CENTER|OR+01.00-00.250809|EL":                "error R NO CENTER autoref #1, sphere R 1 autoref #2, cylinder R -0.25 autoref #2, axis R 80 autoref #2, confidence R 9 autoref #2, error L EL autoref #1",
		"DRM|OR+00.00+00.00000|CR+00.00+00.00000":              "sphere R 0 autoref, cylinder R 0 autoref, axis R 0 autoref, sphere R 0 autoref_contact_lens, cylinder R 0 autoref_contact_lens, axis R 0 autoref_contact_lens",
		"DRM|TL+00.00+00.00000|OR- 1.00   .  ---":              "sphere R -1 autoref, placeholder_eye",
		"DRM|OR+01.00-00.25080|OR+02.00-00.25080":              "sphere R 1 autoref, cylinder R -0.25 autoref, axis R 80 autoref, sphere R 2 autoref #1, cylinder R -0.25 autoref #1, axis R 80 autoref #1, duplicate",
		"DRM|OR+01.00-00.25|OL+01.00-00.25x80|PD6":             "sphere L 1 autoref, cylinder L -0.25 autoref, broken_segment",
		"DRM|PD63|NO1|NO1|NO2":                                 "pd B 63 autoref, exam_no B 1, exam_no B 2 #1, duplicate",
		"DRM|PD63.532.031.560.5":                               "pd B 63.5 autoref, pd R 32 autoref, pd L 31.5 autoref, pd B 60.5 autoref_near",
		"DRM|DANONSENSE|PD??3130??":                            "pd R 31 autoref, pd L 30 autoref, broken_segment",
		"DRM|DA14/MAR/2025.12:05AM|PD63":                       "2025-03-14T00:05:00, pd B 63 autoref",
		"DRM|DAMAR/14/2025.12:05 PM|PD63":                      "2025-03-14T12:05:00, pd B 63 autoref",
		"DRM|DA2025.3.4.9:05|PD63":                             "2025-03-04T09:05:00, pd B 63 autoref",
		"DRM|DA2025.13.04.09:05|PD63":                          "pd B 63 autoref, broken_segment",
		"DRM|VD12.00|WD40|NO1|DA2025.03.04.09:05":              "empty",
		"DRM|\x1b[1m|PD63":                                     "pd B 63 autoref, broken_segment",
		"DXX|OR+01.00-00.25080":                                "empty",
		"Drm|CR+01.00-00.25080|VD13.75":                        "sphere R 1 autoref_contact_lens_night, cylinder R -0.25 autoref_contact_lens_night, axis R 80 autoref_contact_lens_night, vertex_distance B 13.75 autoref_night",
		"DRM|IP\xff|PD63|\r\n":                                 "pd B 63 autoref, broken_segment",
		"DRM|PD63|\r\n~DKM|SR12.0|PR05|PL  |XX1":               "pd B 63 autoref, corneal_size R 12 kerato, pupil_size R 5 kerato, unknown_segment",
		"DKM|DR42.7543.5000443.25-00.75| R07.9007.7400407.82":  "keratometry_k1 R 42.75 kerato, keratometry_k2 R 43.5 kerato, keratometry_cyl_axis R 4 kerato, keratometry_avg R 43.25 kerato, keratometry_cyl R -0.75 kerato, keratometry_k1_radius R 7.9 kerato, keratometry_k2_radius R 7.74 kerato, keratometry_k1_axis R 4 kerato, keratometry_avg_radius R 7.82 kerato",
		"DKM| R07.90":                                          "empty",
		"Dkm|DR42.7543.5000443.25-00.75":                       "keratometry_k1 R 42.75 kerato_night, keratometry_k2 R 43.5 kerato_night, keratometry_cyl_axis R 4 kerato_night, keratometry_avg R 43.25 kerato_night, keratometry_cyl R -0.75 kerato_night",
		"DNT| R02    15/2.0*1    16/2.1*2AV15.5/2.07":          "iop R 15 tono #1, iop_kpa R 2 tono #1, confidence R 1 tono #1, iop R 16 tono #2, iop_kpa R 2.1 tono #2, confidence R 2 tono #2, iop R 15.5 tono, iop_kpa R 2.07 tono",
		"DNT| R03   ERR    15/2.0  AV---/---":                  "error R ERR tono #1, iop R 15 tono #2, iop_kpa R 2 tono #2, broken_segment",
		"DPM| L03 0538  BLK  ALM AV0538":                       "cct L 538 pachy #1, error L BLK pachy #2, error L ALM pachy #3, cct L 538 pachy",
		"DLM|A+02.00|A+03.00|P00.25O|UV99|IE|DE07":             "add B 2 lensmeter_single, add2 B 3 lensmeter_single, prism_h B -0.25 lensmeter_single, uv_transmittance B 99 lensmeter, error B IE lensmeter #1, error B DE07 lensmeter #2",
		"DLM|AR 2.00|AR+02.50|NL-1.25|UVR98%|PR00.00 |PR1.00X": "add R 2 lensmeter, add2 R 2.5 lensmeter, near_sphere L -1.25 lensmeter, uv_transmittance R 98 lensmeter, broken_segment",
	} {
		frame := "\x01" + strings.NewReplacer("|", "\x17", "~", "\x01").Replace(in) + "\x17\x04"
		for _, head := range []string{"DRM", "Drm", "DKM", "Dkm", "DNT", "DPM", "DLM", "DXX"} {
			frame = strings.Replace(frame, "\x01"+head+"\x17", "\x01"+head+"\x02", 1)
		}
		if got := read(t, frame); got != want {
			t.Errorf("%s\n     %s\nwant %s", in, got, want)
		}
	}
}

// TestLines reads what the samples of refractors do not have.
func TestLines(t *testing.T) {
	for in, want := range map[string]string{
		"@RT|QR>1.0 +1|HR 1.2   |YR 0.8 |JR 0.8 -2|hL 1.0|KR 0.5":   "va_ext R >1.0+1 final_night, va_pinhole R 1.2 final, va R 0.8 final_near, va_ext R 0.8-2 final_near, va_pinhole L 1 subjective, va_pinhole R 0.5 unaided",
		"@RT|VR-0.10|VLxxx|VB     |VR20/40":                         "va R -0.1 final, va L xxx final, va R 20/40 final #1, duplicate",
		"@RT|PRI 0.50D 1.00|PL  0.00  0.00|PBX 1.00|PB  1.00":       "prism_h R 0.5 final, prism_v R -1 final, broken_segment",
		"@RT|CV     12.00 - 3.00|dV 8.00":                           "convergence_break B 12 final, convergence_recovery B -3 final, divergence_blur B 8 subjective",
		"@RT|AP 12- 8.00|CP 10 1.5 3.00|NA- 1.50+ 2.00|FW4|SH x":    "AP B 12 refractor, accommodation B -8 refractor, npc B 10 refractor, CP B 1.5 3.00 refractor, NA B - 1.50+ 2.00 refractor, FW B 4 refractor, SH B x refractor",
		"@RT|TT0065|TTabcd|TT1005|#14 x|ZZ1|Z":                      "test_time B 605 refractor, #1 B 4 x refractor, broken_segment, unknown_segment",
		"@RT|FR+ 1.00  0.00|Pd58.529.529.0":                         "sphere R 1 final, cylinder R 0 final, pd B 58.5 final_near, pd R 29.5 final_near, pd L 29 final_near",
		"@WF|OR+ 1.00- 0.25 80|@rm|OR+ 1.00- 0.25 80":               "sphere R 1 objective, cylinder R -0.25 objective, axis R 80 objective, sphere R 1 autoref_night, cylinder R -0.25 autoref_night, axis R 80 autoref_night",
		"@KM|CR 7.90 7.74  4|DL43.0043.75|@NT|TR15.3|tL1.96|@XX|WD": "keratometry_k1_radius R 7.9 kerato, keratometry_k2_radius R 7.74 kerato, keratometry_k1_axis R 4 kerato, keratometry_k1 L 43 kerato, keratometry_k2 L 43.75 kerato, iop R 15.3 tono, iop_kpa L 1.96 tono, unknown_segment",
		"@RT|FR\x80 1.00|FL+ 1.00":                                  "sphere L 1 final, broken_segment",
		"@RT|WD40":                                                  "empty",
		"@RT|":                                                      "empty",
	} {
		frame := "\x01NIDEK RT-5100 ID00000000S421 DA2025/ 3/14|" + in + "|\x04"
		frame = strings.ReplaceAll(strings.ReplaceAll(frame, "|\x04", "\r\x04"), "|", "\r\x02")
		if got := read(t, frame); got != want && got != "2025-03-14, "+want {
			t.Errorf("%s\n     %s\nwant %s", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"NIDEK RT-2100 DA2025/12/31":              "RT-2100  2025-12-31 [patient_id_blank]",
		"NIDEK RT-5100 ID S 1       DA2025/13/31": "RT-5100 S 1  [broken_segment]",
		"NIDEK RT-3100 ID1 DA 2025":               "RT-3100 1  [broken_segment]",
		"NIDEK":                                   "   [broken_segment patient_id_blank]",
		"NIDEK RT\xff ID1 DA2025/12/31":           "   [broken_segment patient_id_blank]",
	} {
		r, _ := decode([]byte("\x01" + in + "\r\x02@RT\r\x02VR 1.0 \r\x04"))
		if len(r.Exams) != 1 {
			t.Fatalf("%s: %+v", in, r)
		}
		e := r.Exams[0]
		if got := fmt.Sprint(e.Device.Model, " ", e.Patient.ID, " ", e.TakenAt, " ", e.Warnings); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
}

// TestTextAsSent keeps what a number does not show.
func TestTextAsSent(t *testing.T) {
	r, _ := decode([]byte("\x01DRM\x02OR+01.00-00.25080\x17OL-12.2512.125085\x17PD63??3062\x17\x04\r"))
	var got []string
	for _, o := range r.Exams[0].Observations {
		got = append(got, o.Text+"="+o.Value.String())
	}
	const want = "+01.00=1 -00.25=-0.25 080=80 =-12.25 =12.125 085=85 =63 =30 =62"
	if s := strings.Join(got, " "); s != want {
		t.Errorf("%s, want %s", s, want)
	}
}

// TestTooMany refuses an exam of more findings than a unit can have, within the memory that any input may take.
func TestTooMany(t *testing.T) {
	for _, segment := range []string{" 1/1", "\x17 R01 1/1", "\x17NO1", "\x17NO1\x17NO2", "\x17 R01 ERR\x17??"} {
		frame := "\x01DNT\x02 R99"
		frame += strings.Repeat(segment, (nidekrs.MaxFrame-20)/len(segment)) + "\x17\x04"
		frame += fmt.Sprintf("%04X", nidekrs.Sum([]byte(frame)))
		examtest.Bounded(t, []byte(frame), func() exam.Result {
			r, _ := decode([]byte(frame))
			if len(r.Rejects) != 1 || r.Rejects[0].Reason != exam.RejectTooLarge && r.Rejects[0].Reason != exam.RejectEmpty {
				t.Fatalf("%q: %+v", segment, r.Rejects)
			}
			return r
		})
	}
}

// TestReaderForgets holds that an exam has nothing of the one before, and that its texts outlive the frame.
func TestReaderForgets(t *testing.T) {
	var reader nidekrs.Reader
	var list []string
	for f := range nidekrs.Frames([]byte("\x01DRM\x02IDNIDEK/AR-1\x17IPS-1\x17NO7\x17DA2025.03.04.09:05\x17OR+01.00-00.25080*\x17XX\x17\x04\r" +
		"\x01DRM\x02OR+02.00-00.25080\x17\x04\r\x01DRM\x02\x17\x04\r\x01DRM\x02OR+03.00-00.25080\x17\x04\r")) {
		e, why := reader.Read(&f)
		clear(f.Raw)
		if why != nil {
			list = append(list, why.Reason)
			continue
		}
		list = append(list, fmt.Sprint(e.Device.Model, e.Patient.ID, " ", listed(e)))
	}
	const last = " autoref, cylinder R -0.25 autoref, axis R 80 autoref, checksum_missing"
	want := []string{
		"AR-1S-1 2025-03-04T09:05:00, exam_no B 7, sphere R 1 autoref*, cylinder R -0.25 autoref*, axis R 80 autoref*, checksum_missing, unknown_segment",
		" sphere R 2" + last, "empty", " sphere R 3" + last,
	}
	if !slices.Equal(list, want) {
		t.Errorf("%q, want %q", list, want)
	}
}

// TestNumbers compares random fields with what strconv reads: the value is the same, and the text is kept where it differs from
// the value's own.
func TestNumbers(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	numbers, others := 0, 0
	for range 20_000 {
		field := make([]byte, 1+r.IntN(6))
		for i := range field {
			field[i] = "+- 00125."[r.IntN(9)]
		}
		res, _ := decode([]byte("\x01DRM\x02PD63\x17VD" + string(field) + "\x17\x04\r"))
		e := res.Exams[0]
		text := strings.TrimSpace(string(field))
		if sign := strings.IndexAny(text, "+-"); sign == 0 {
			text = text[:1] + strings.TrimLeft(text[1:], " ")
		}
		want, err := strconv.ParseFloat(text, 64)
		if err != nil {
			others++
			if broken := strings.Trim(text, "-. ") != ""; len(e.Observations) != 1 || broken != slices.Contains(e.Warnings, exam.WarnBrokenSegment) {
				t.Fatalf("%q: %s", field, listed(e))
			}
			continue
		}
		numbers++
		o := e.Observations[1]
		if o.Value != exam.Number(want) || (o.Text == "") != (o.Value.String() == string(field)) || o.Text != "" && o.Text != string(field) {
			t.Fatalf("%q: %v, kept %q, want %v", field, o.Value, o.Text, want)
		}
	}
	if numbers < 5000 || others < 5000 {
		t.Errorf("%d numbers, %d others", numbers, others)
	}
}
