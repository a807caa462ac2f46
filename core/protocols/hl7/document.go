package hl7

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strconv"
	"strings"

	"github.com/hostd/hostd/core/sdk/exam"
)

// document reads an ED: source, type, subtype, encoding, data (HL7 v2.5.1 chapter 2.A, ED); each repetition is a file. Data
// that are not what their encoding says leave the observation without its file, with size 0 and a warning.
func (e *examiner) document(f Field) (v value, found bool) {
	n := 0
	for r := range f.Repetitions() {
		data := r.Component(5).Bytes()
		if len(bytes.TrimSpace(data)) == 0 {
			continue
		}
		kind, subtype := e.value(r.Component(2).Bytes()), e.value(r.Component(3).Bytes())
		file, err := e.m.embedded(data, string(r.Component(4).Bytes()))
		if err != nil {
			e.now.warn[warnAbsent] = true
		} else {
			n++
			media, ext := mediaOf(file, kind, subtype)
			v.files = append(v.files, Attachment{Name: fileName(e.obx, n, ext), ContentType: media, Data: file})
		}
		if !found {
			v.value = exam.Text(strings.Trim(kind+"/"+subtype, "/") + ";" + strconv.Itoa(len(file)))
			v.method, found = exam.MethodAttachment, true
		}
	}
	return v, found
}

func fileName(obx, n int, ext string) string {
	name := "obx-" + strconv.Itoa(obx)
	if n > 1 {
		name += "-" + strconv.Itoa(n)
	}
	return name + ext
}

var errEncoding = errors.New("data are not what their encoding says")

// embedded decodes the data of an ED (HL7 table 0299): Base64 with or without line ends and padding, Hex, or A: as they are.
func (m *Message) embedded(data []byte, encoding string) ([]byte, error) {
	if bytes.IndexByte(data, m.d.Escape) >= 0 {
		data = m.d.unescape(data)
	}
	switch {
	case strings.EqualFold(encoding, "Base64"):
		data = bytes.TrimRight(data, "= \t\r\n")
		out := make([]byte, base64.RawStdEncoding.DecodedLen(len(data)))
		n, err := base64.RawStdEncoding.Decode(out, data) // passes over line ends
		if err != nil {
			return nil, errEncoding
		}
		return out[:n], nil
	case strings.EqualFold(encoding, "Hex"):
		out := make([]byte, hex.DecodedLen(len(data)))
		if _, err := hex.Decode(out, data); err != nil {
			return nil, errEncoding
		}
		return out, nil
	case encoding == "" || strings.EqualFold(encoding, "A"):
		return data, nil
	}
	return nil, errEncoding
}

// mediaOf tells media type and extension by the first bytes, else by what the sender says (HL7 tables 0191 and 0291).
func mediaOf(data []byte, kind, subtype string) (media, ext string) {
	for _, m := range [...]struct{ magic, media, ext string }{
		{"%PDF-", "application/pdf", ".pdf"},
		{"\xff\xd8\xff", "image/jpeg", ".jpg"},
		{"\x89PNG\r\n", "image/png", ".png"},
		{"GIF8", "image/gif", ".gif"},
		{"II*\x00", "image/tiff", ".tif"},
		{"MM\x00*", "image/tiff", ".tif"},
		{"{\\rtf", "application/rtf", ".rtf"},
	} {
		if bytes.HasPrefix(data, []byte(m.magic)) {
			return m.media, m.ext
		}
	}
	if len(data) > 132 && string(data[128:132]) == "DICM" {
		return "application/dicom", ".dcm"
	}
	switch strings.ToLower(subtype) {
	case "pdf":
		return "application/pdf", ".pdf"
	case "jpeg", "jpg":
		return "image/jpeg", ".jpg"
	case "png", "gif", "tiff":
		return "image/" + strings.ToLower(subtype), "." + strings.ToLower(subtype)
	case "xml", "x-hl7-cda-level-one":
		return "application/xml", ".xml"
	case "html":
		return "text/html", ".html"
	case "dicom":
		return "application/dicom", ".dcm"
	}
	if strings.EqualFold(kind, "text") || strings.EqualFold(kind, "TX") {
		return "text/plain", ".txt"
	}
	return "application/octet-stream", ".bin"
}
