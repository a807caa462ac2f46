package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hostd/hostd/core/sdk/exam"
)

// image names of the tests; the maker pads the patient's id with blanks.
const (
	first  = "NTP_" + secret + "        _20250319111205RP1.jpg"
	second = "NTP_" + secret + "_20250319111205LP1.jpg"
)

func (r *rig) shelved() int {
	r.t.Helper()
	list, err := os.ReadDir(filepath.Join(r.root, "state", "late"))
	if err != nil {
		r.t.Fatal(err)
	}
	return len(list)
}

func warned(t *testing.T, rec *storedRecord) bool {
	t.Helper()
	e, err := exam.Decode(rec.Data)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Contains(e.Warnings, exam.WarnAttachmentAbsent)
}

func TestImageThere(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.write("../JPG/"+first, "one")
		r.write(strings.ReplaceAll(second, "Secret", "secret   "), "two") // padded, in another case, beside the exam
		time.Sleep(time.Second)
		r.write("a.xml", nidekXML("T-1", first, second))
		r.run(3 * time.Second)
		r.wantOnce(1)
		rec := r.stored[r.order[0]]
		if rec.blobs[first] != "one" || rec.blobs[second] != "two" || warned(t, rec) || rec.Attachments[0].ContentType != "image/jpeg" {
			t.Errorf("%q, %+v", rec.blobs, rec.Attachments)
		}
		r.wantFiles("done/a.xml", "done/"+first, "done/"+strings.ReplaceAll(second, "Secret", "secret   "))
		if r.shelved() != 0 {
			t.Error("it still waits for something")
		}
	})
}

func TestImageSoon(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.write("a.xml", nidekXML("T-1", first))
		r.write("b.xml", joiaXML("T-2"))
		r.run(5 * time.Second)
		r.wantOnce(1) // nobody waits for another one's image
		for n := range 4 {
			r.write(first, strings.Repeat("x", n))
			r.run(time.Second)
		}
		r.run(3 * time.Second)
		r.wantOnce(2)
		if rec := r.of("T-1"); len(rec) != 1 || rec[0].blobs[first] != "xxx" || warned(t, rec[0]) {
			t.Errorf("%+v", rec)
		}
		r.wantFiles("done/"+first, "done/a.xml", "done/b.xml")
	})
}

// TestImageLate is of two images that come one by one after their exam was stored, with a restart between.
func TestImageLate(t *testing.T) {
	for _, after := range []string{"move", "keep"} {
		inBubble(t, map[string]any{"after": after}, func(t *testing.T, r *rig) {
			r.write("TXT/a.xml", "") // the folder of images is seen from the exam's
			r.settings["recursive"] = true
			r.mustOpen()
			r.write("TXT/a.xml", nidekXML("T-1", first, second))
			r.run(20 * time.Second)
			r.wantOnce(1)
			if !warned(t, r.stored[r.order[0]]) || r.shelved() != 1 {
				t.Error("not said, or not remembered")
			}
			r.write("JPG/"+first, "one")
			r.run(time.Minute)
			r.mustOpen().run(10 * time.Second)
			r.wantOnce(2)
			r.mustOpen()
			r.write("JPG/"+second, "two")
			r.run(time.Hour / 10)
			r.wantOnce(3)
			if len(r.order) < 3 {
				t.Fatalf("%s %q\n%s", after, r.files(), r.log.String())
			}
			exam, one, two := r.stored[r.order[0]], r.stored[r.order[1]], r.stored[r.order[2]]
			if one.Amends != exam.ID || one.blobs[first] != "one" || len(one.blobs) != 1 || !warned(t, one) {
				t.Errorf("first: %+v", one)
			}
			if two.Amends != exam.ID || two.blobs[second] != "two" || len(two.blobs) != 1 || warned(t, two) {
				t.Errorf("second: %+v", two)
			}
			if r.shelved() != 0 {
				t.Error("it still waits for something")
			}
			if after == "move" {
				r.wantFiles("done/TXT/a.xml", "done/TXT/"+first, "done/TXT/"+second)
			} else {
				r.wantFiles("JPG/"+first, "JPG/"+second, "TXT/a.xml")
			}
		})
	}
}

// TestImageLateCrash kills the device around the amending record: it is stored once.
func TestImageLateCrash(t *testing.T) {
	for _, stored := range []bool{false, true} {
		inBubble(t, map[string]any{"attachment_wait": "0s"}, func(t *testing.T, r *rig) {
			r.write("a.xml", nidekXML("T-1", first, second))
			r.run(5 * time.Second)
			r.write(first, "one")
			for {
				time.Sleep(time.Second)
				if b := r.read(); len(b.Records) > 0 {
					if stored {
						r.store(b)
					}
					break
				}
			}
			r.mustOpen().run(time.Minute)
			r.wantOnce(2)
			r.write(second, "two")
			r.run(time.Minute)
			r.wantOnce(3)
			if r.shelved() != 0 {
				t.Error("it still waits for something")
			}
		})
	}
}

func TestImageNever(t *testing.T) {
	inBubble(t, map[string]any{"attachment_late": "1h"}, func(t *testing.T, r *rig) {
		r.write("a.xml", nidekXML("T-1", first))
		r.run(20 * time.Second)
		r.wantOnce(1)
		r.wantFiles("done/a.xml")
		time.Sleep(time.Hour)
		r.run(time.Second)
		if r.shelved() != 0 || len(r.d.late.items) != 0 {
			t.Error("it still waits")
		}
		r.write(first, "too late")
		r.run(time.Minute)
		r.wantOnce(1)
		r.wantFiles("done/a.xml", first)
	})
}

// TestImageAmbiguous holds that of two files that may be meant neither is taken.
func TestImageAmbiguous(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, r *rig) {
		r.write("a  b.jpg", "one")
		r.write("a b.jpg", "two")
		r.write("../JPG/big.jpg", strings.Repeat("x", 2<<20))
		r.settings["max_attachment_mb"] = 1
		r.mustOpen()
		r.write("a.xml", nidekXML("T-1", "ab.jpg", "big.jpg"))
		r.run(20 * time.Second)
		r.wantOnce(1)
		if rec := r.stored[r.order[0]]; len(rec.blobs) != 0 || !warned(t, rec) {
			t.Errorf("%q", rec.blobs)
		}
	})
}

// TestImageTooSlow holds that an image which cannot be copied within a poll does not hold up its exam.
func TestImageTooSlow(t *testing.T) {
	inBubble(t, map[string]any{"attachment_wait": "3s"}, func(t *testing.T, r *rig) {
		r.write(first, "one")
		r.write("a.xml", nidekXML("T-1", first))
		slow, cancel := context.WithCancel(t.Context())
		cancel()
		f := found{rel: "a.xml"}
		r.poll()
		time.Sleep(6 * time.Second)
		info, err := os.Lstat(filepath.Join(r.dir, "a.xml"))
		if err != nil {
			t.Fatal(err)
		}
		f.stamp = stampOf(info)
		b := &batch{keys: map[key]bool{}}
		if err := r.d.take(slow, f, b); err != nil || len(b.records) != 1 || len(b.records[0].Attachments) != 0 {
			t.Errorf("%+v, %v", b.records, err)
		}
	})
}

// TestStagingFull holds that a staging folder which takes nothing is an error of Read, and that nothing is lost by it.
func TestStagingFull(t *testing.T) {
	inBubble(t, map[string]any{"settle": "0s", "attachment_wait": "0s"}, func(t *testing.T, r *rig) {
		r.write(first, "one")
		r.write("a.xml", nidekXML("T-1", first))
		time.Sleep(time.Second)
		if err := os.RemoveAll(r.d.env.StagingDir); err != nil {
			t.Fatal(err)
		}
		if _, err := r.d.Read(t.Context()); r.told(err) == nil || !strings.Contains(err.Error(), "stage attachment") {
			t.Errorf("read: %v", err)
		}
		r.mustOpen().run(time.Second)
		r.wantOnce(1)
		if r.stored[r.order[0]].blobs[first] != "one" {
			t.Error("without its image")
		}
	})
}

func TestShelfIsBounded(t *testing.T) {
	r := newRig(t, nil).mustOpen()
	shelf := r.d.late
	for i := range maxLate {
		shelf.items[key{byte(i >> 8), byte(i), 1}] = &lateExam{Names: []string{"x"}, Since: time.Unix(int64(i+1), 0)}
	}
	w := &work{rel: "a.xml", key: key{0xff}, names: []string{"x"}, late: []byte("x")}
	if err := shelf.add(w); err != nil {
		t.Fatal(err)
	}
	if len(shelf.items) != maxLate || shelf.items[key{0, 0, 1}] != nil || shelf.items[w.key] == nil {
		t.Errorf("%d exams", len(shelf.items))
	}
	if n := strings.Count(r.log.String(), "the oldest are not looked after"); n != 1 {
		t.Errorf("said %d times", n)
	}
}

func TestShelfDamaged(t *testing.T) {
	inBubble(t, map[string]any{"attachment_wait": "0s"}, func(t *testing.T, r *rig) {
		for i := range 2 {
			r.write(fmt.Sprintf("%d.xml", i), nidekXML(fmt.Sprint("T-", i), first))
		}
		r.run(5 * time.Second)
		late := filepath.Join(r.root, "state", "late")
		list, err := os.ReadDir(late)
		if err != nil || len(list) != 2 {
			t.Fatalf("%d files, %v", len(list), err)
		}
		for i, spoil := range []func([]byte) []byte{
			func(b []byte) []byte { return b[:10] },
			func(b []byte) []byte { return append(b, ' ') },
		} {
			path := filepath.Join(late, list[i].Name())
			text, err := os.ReadFile(path)
			if err == nil {
				err = os.WriteFile(path, spoil(text), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(late, unfinished+"1"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		r.mustOpen()
		r.write(first, "one")
		r.run(time.Minute)
		r.wantOnce(2)
		bad, err := filepath.Glob(filepath.Join(late, "*.bad"))
		if err != nil || len(bad) != 2 || r.shelved() != 2 || strings.Count(r.log.String(), "is damaged") != 2 {
			t.Errorf("%d set aside of %d, %v\n%s", len(bad), r.shelved(), err, r.log.String())
		}
	})
}
