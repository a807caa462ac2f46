package main

import (
	"strings"
	"testing"
	"time"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

const pdf = "%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"

// TestDocuments holds that each file is a record whose attachment it is, once for each content, whatever its name says.
func TestDocuments(t *testing.T) {
	inBubble(t, map[string]any{"format": "document"}, func(t *testing.T, r *rig) {
		files := map[string]struct{ content, media string }{
			secret + ".pdf": {pdf, "application/pdf"}, secret + " says pdf.PDF": {"\xff\xd8\xff\xe0 image \xff\xd9", "image/jpeg"},
			"a.png": {"\x89PNG\r\n\x1a\n....IEND\xaeB`\x82", "image/png"}, "a.tif": {"II*\x00 image", "image/tiff"}, "a.bmp": {"BM\x08\x00\x00\x00\x00\x00", "image/bmp"},
		}
		for name, f := range files {
			r.write(name, f.content)
		}
		r.write("again.pdf", pdf)
		r.write("other.xml", joiaXML("not asked for"))
		r.run(3 * time.Second)
		r.wantOnce(len(files))
		for _, rec := range r.stored {
			if rec.Kind != kindDocument || len(rec.Attachments) != 1 || len(rec.Data)+len(rec.Raw) > 0 {
				t.Fatalf("%+v", rec.Record)
			}
			a := rec.Attachments[0]
			if f := files[a.Name]; a.Name != "again.pdf" && (rec.ContentType != f.media || a.ContentType != f.media || rec.blobs[a.Name] != f.content) {
				t.Errorf("%s: %+v", a.Name, rec.Record)
			}
		}
		r.write("later.pdf", pdf)
		r.mustOpen().run(3 * time.Second)
		r.wantOnce(len(files))
		r.wantFiles("other.xml", "done/"+secret+".pdf", "done/"+secret+" says pdf.PDF", "done/a.png", "done/a.tif", "done/a.bmp", "done/again.pdf", "done/later.pdf")
	})
}

// TestDocumentSlow holds that half of a document waits for its end, and is taken as it is when that does not come.
func TestDocumentSlow(t *testing.T) {
	inBubble(t, map[string]any{"patterns": []string{"*"}}, func(t *testing.T, r *rig) {
		r.write("a.pdf", pdf[:30])
		r.write("b.pdf", pdf[:40])
		r.write("c.xml", joiaXML("T-1"))
		r.write("0.pdf", "")
		r.write("d.bin", "\x00\x01 "+secret)
		r.run(10 * time.Second)
		r.wantOnce(1)
		r.write("a.pdf", pdf)
		r.run(3 * time.Second)
		r.wantOnce(2)
		r.run(30 * time.Second)
		r.wantOnce(5)
		r.wantFiles("done/a.pdf", "done/b.pdf", "done/c.xml", "failed/0.pdf", "failed/0.pdf.reason.txt", "failed/d.bin", "failed/d.bin.reason.txt")
	})
}

// TestDocumentLarge holds that max_size_mb is not the limit of documents, and that a larger one is not read.
func TestDocumentLarge(t *testing.T) {
	inBubble(t, map[string]any{"format": "document", "max_size_mb": 1, "max_attachment_mb": 2}, func(t *testing.T, r *rig) {
		large := pdf + strings.Repeat(" ", 3<<19) + pdf
		r.write("large.pdf", large)
		r.write("larger.pdf", large+large)
		r.write("small.pdf", "PK\x03\x04")
		r.run(time.Minute)
		r.wantOnce(3)
		got := map[string]int{}
		for _, rec := range r.stored {
			got[rec.Kind+rec.Labels[sdk.LabelReason]]++
			if rec.Kind == kindDocument && rec.blobs["large.pdf"] != large {
				t.Error("content")
			}
		}
		if got[kindDocument] != 1 || got[sdk.KindReject+exam.RejectTooLarge] != 1 || got[sdk.KindReject+exam.RejectMalformed] != 1 {
			t.Errorf("%v", got)
		}
	})
}

// TestDocumentRefused holds that a document which the host could not take comes again.
func TestDocumentRefused(t *testing.T) {
	inBubble(t, map[string]any{"format": "document", "settle": "0s"}, func(t *testing.T, r *rig) {
		r.write("a.pdf", pdf)
		b := r.read()
		if len(b.Records) != 1 {
			t.Fatalf("%+v", b)
		}
		if err := r.d.Refuse(t.Context(), b.Next, sdk.ReasonFull); err != nil {
			t.Fatal(err)
		}
		r.wantFiles("a.pdf")
		r.run(5 * time.Second)
		r.wantOnce(1)
		r.wantFiles("done/a.pdf")
	})
}
