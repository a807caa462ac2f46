package main

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf16"
)

// formats are what the simulated instrument exports.
var formats = []string{"joia", "nidek", "huvitz", "myah", "gdt", "csv", "json", "document"}

// lens is what was measured of an eye.
type lens struct {
	sphere, cylinder float64
	axis             int
}

// sitting is an exam of an invented person.
type sitting struct {
	number      int
	id          string
	at          time.Time
	right, left lens
}

// numberedID is the patient of the n-th exam of an instrument whose patients are numbered.
func numberedID(n int) string { return fmt.Sprintf("K-%06d", n) }

// exam makes the next exam of an invented person, and its file's name.
func (i *instrument) exam() (name string, content []byte) {
	n := i.next
	i.next++
	s := sitting{
		number: n, at: time.Date(2025, 3, 24, 8, 0, 0, 0, time.UTC).Add(time.Duration(n) * 5 * time.Minute),
		id: fmt.Sprintf("S-%06d", i.rand.IntN(1_000_000)), right: i.lens(), left: i.lens(),
	}
	if i.numbered {
		s.id = numberedID(n)
	}
	switch stem := fmt.Sprintf("%s_%s", s.id, s.at.Format("20060102150405")); i.format {
	case "nidek":
		return fmt.Sprintf("ARK_%-14s_%s.xml", s.id, s.at.Format("20060102150405")), utf16le(s.nidek())
	case "huvitz":
		return stem + ".xml", []byte(s.huvitz())
	case "myah":
		return stem + ".xml", utf16le(s.myah())
	case "gdt":
		return stem + ".gdt", []byte(s.gdt())
	case "csv":
		return stem + ".csv", []byte(s.csv())
	case "json":
		return stem + ".json", []byte(s.json())
	case "document":
		return stem + ".pdf", fmt.Appendf(nil, "%%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%% exam %d of %s\n%%%%EOF\n", n, s.id)
	}
	return fmt.Sprintf("%04d_%s_TOPCON_KR-800S_.xml", n, s.at.Format("20060102_150405")), []byte(s.joia())
}

func (i *instrument) lens() lens {
	return lens{float64(i.rand.IntN(41)-20) / 4, -float64(i.rand.IntN(9)) / 4, i.rand.IntN(181)}
}

func (l lens) xml() string {
	return fmt.Sprintf("<Sphere>%+.2f</Sphere><Cylinder>%+.2f</Cylinder><Axis>%d</Axis>", l.sphere, l.cylinder, l.axis)
}

func (s *sitting) joia() string {
	return fmt.Sprintf("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n<Ophthalmology><Common><Company>TOPCON</Company><ModelName>KR-800S</ModelName><Date>%s</Date>"+
		"<Time>%s</Time><Patient><No.>%04d</No.><ID>%s</ID><FirstName>Probe</FirstName><LastName>Invented</LastName></Patient></Common>"+
		"<Measure type=\"REF\"><REF><R><List No=\"1\">%s</List></R><L><List No=\"1\">%s</List></L></REF></Measure></Ophthalmology>\r\n",
		s.at.Format(time.DateOnly), s.at.Format(time.TimeOnly), s.number, s.id, s.right.xml(), s.left.xml())
}

func (s *sitting) nidek() string {
	return fmt.Sprintf("<?xml version=\"1.0\" encoding=\"UTF-16\"?>\r\n<Data><Company>NIDEK</Company><ModelName>ARK-1s</ModelName><Date>%s</Date>"+
		"<Time>%s</Time><Patient><No.>%04d</No.><ID>%s</ID></Patient><R><AR><ARMedian>%s</ARMedian></AR></R><L><AR><ARMedian>%s</ARMedian></AR></L></Data>\r\n",
		s.at.Format("2006/01/02"), s.at.Format(time.TimeOnly), s.number, s.id, s.right.xml(), s.left.xml())
}

// huvitz has no patient's id: the unit's patient is its running number.
func (s *sitting) huvitz() string {
	eye := func(letter string, l lens) string {
		return fmt.Sprintf("<r%[1]ss>%.2[2]f</r%[1]ss>\n<r%[1]sc>%.2[3]f</r%[1]sc>\n<r%[1]sa>%[4]d</r%[1]sa>\n", letter, l.sphere, l.cylinder, l.axis)
	}
	return fmt.Sprintf("<datalab>\n<patient>%05d</patient>\n<date>%s</date>\n<version>1.00</version>\n<ref>\n%s%s</ref>\n</datalab>\n",
		s.number, s.at.Format("2006/01/02"), eye("r", s.right), eye("l", s.left))
}

// myah measures lengths; they are made of the lens.
func (s *sitting) myah() string {
	eye := func(side string, l lens) string {
		return fmt.Sprintf("<PatientEyeData><PatientID>%s</PatientID><Eye>%s</Eye><Date>%s</Date><Data><AxialLength>%.2f</AxialLength></Data></PatientEyeData>\r\n",
			s.id, side, s.at.Format(time.DateOnly), 24-l.sphere/4)
	}
	return fmt.Sprintf("<?xml version=\"1.0\" encoding=\"UTF-16\"?>\r\n<XMLDataPolarExportation><Patient><ID>%s</ID><LastName>Invented</LastName><FirstName>Probe</FirstName></Patient>\r\n"+
		"%s%s</XMLDataPolarExportation>\r\n", s.id, eye("OD", s.right), eye("OS", s.left))
}

func (s *sitting) gdt() string {
	eye := func(side string, l lens) string {
		return fmt.Sprintf("6228%s.:S=%+.2f Z=%+.2f*%d", side, l.sphere, l.cylinder, l.axis)
	}
	lines := []string{
		"80006310", "921802.10", "92063", "3000" + s.id, "3101Invented", "3102Probe", "6200" + s.at.Format("02012006"), "8439" + s.at.Format("150405"),
		eye("R", s.right), eye("L", s.left), "8402AUTOREF",
	}
	var b strings.Builder
	for _, l := range lines {
		fmt.Fprintf(&b, "%03d%s\r\n", len(l)+5, l)
	}
	return b.String()
}

func (s *sitting) csv() string {
	return fmt.Sprintf("No;Id;Date;Time;SphR;CylR;AxisR;SphL;CylL;AxisL;Instrument that is simulated\r\n%d;%s;%s;%s;%.2f;%.2f;%d;%.2f;%.2f;%d;\r\n",
		s.number, s.id, s.at.Format(time.DateOnly), s.at.Format(time.TimeOnly), s.right.sphere, s.right.cylinder, s.right.axis, s.left.sphere, s.left.cylinder, s.left.axis)
}

func (s *sitting) json() string {
	eye := func(l lens) string {
		return fmt.Sprintf(`{"sphere":%.2f,"cylinder":%.2f,"axis":%d}`, l.sphere, l.cylinder, l.axis)
	}
	return fmt.Sprintf("{\"No\":%d,\"Id\":%q,\"Date\":%q,\"Time\":%q,\"right\":%s,\"left\":%s}\n",
		s.number, s.id, s.at.Format(time.DateOnly), s.at.Format(time.TimeOnly), eye(s.right), eye(s.left))
}

// utf16le is the text with a byte order mark, as NIDEK and Topcon write it.
func utf16le(text string) []byte {
	b := []byte{0xff, 0xfe}
	for _, u := range utf16.Encode([]rune(text)) {
		b = append(b, byte(u), byte(u>>8))
	}
	return b
}
