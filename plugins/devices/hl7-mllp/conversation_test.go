package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostd/hostd/core/sdk"
)

// TestFraming holds what is taken out of a stream, however it is cut into reads.
func TestFraming(t *testing.T) {
	one, two := oru("1", "-1.25"), oru("2", "-2.50")
	many := one + strings.Repeat("OBX|2|NM|x^x^L||1|||||||F\r", 2100)
	for _, c := range []struct {
		name, stream string
		replies      []string
		kinds        string
	}{
		{"one", frame(one), []string{"AA 1"}, "exam"},
		{"several in a read", frame(one) + frame(two), []string{"AA 1", "AA 2"}, "exam exam"},
		{"no CR at the end of the message", frame(strings.TrimSuffix(one, "\r")), []string{"AA 1"}, "exam"},
		{"no CR behind FS", vt + one + fs + frame(two), []string{"AA 1", "AA 2"}, "exam exam"},
		{"line ends LF", frame(strings.ReplaceAll(one, "\r", "\n")), []string{"AA 1"}, "exam"},
		{"byte order mark", frame("\xef\xbb\xbf" + one), []string{"AA 1"}, "exam"},
		{"blank lines between", "\r\n" + frame(one) + "\r\n\r\n" + frame(two), []string{"AA 1", "AA 2"}, "exam exam"},
		{"junk before", "GET / HTTP" + frame(one), []string{"AA 1"}, "noise exam"},
		{"begun twice", vt + one[:60] + frame(two), []string{"AA 2"}, "truncated exam"},
		{"empty", frame("") + frame(one), []string{"AR", "AA 1"}, "empty exam"},
		{"no HL7", frame("hello") + frame(one), []string{"AR", "AA 1"}, "noise exam"},
		{"batch", frame("FHS|^~\\&\rBHS|^~\\&\r" + one + two + "BTS|2\rFTS|1\r"), []string{"AA 1", "AA 2"}, "exam exam"},
		{"empty batch", frame("FHS|^~\\&\rFTS|0\r") + frame(one), []string{"AR", "AA 1"}, "empty exam"},
		{"unknown type", frame(strings.Replace(one, "ORU^R01^ORU_R01", "hello", 1)) + frame(two), []string{"AR 1", "AA 2"}, "unsupported exam"},
		{"unknown version", frame(strings.Replace(one, "|2.5.1", "|3.0", 1)) + frame(two), []string{"AR 1", "AA 2"}, "unsupported exam"},
		{"no control id", frame(strings.Replace(one, "|1|P|", "||P|", 1)), []string{"AA"}, "exam"},
		{"an acknowledgement", frame(strings.Replace(one, "ORU^R01^ORU_R01", "ACK", 1)) + frame(two), []string{"AA 2"}, "exam"},
		{"a commit reply", vt + ack + fs + cr + frame(two), []string{"AA 2"}, "exam"},
		{"more than an exam can have, twice", frame(many) + frame(many), []string{"AE 1", "AE 1"}, "too_large"},
		{"another type", frame(strings.Replace(one, "ORU^R01^ORU_R01", "ADT^A08^ADT_A01", 1)), []string{"AA 1"}, "hl7.adt"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, step := range []int{len(c.stream), 1, 7} {
				if step < 7 && len(c.stream) > 10_000 {
					continue
				}
				synctest.Test(t, func(t *testing.T) {
					r := newVirtualRig(t, nil).mustOpen()
					p := r.pipe()
					go func() {
						for rest := c.stream; rest != ""; {
							n := min(step, len(rest))
							p.say(rest[:n])
							rest = rest[n:]
						}
					}()
					p.want(c.replies...)
					synctest.Wait()
					if got := r.kinds(); got != c.kinds {
						t.Errorf("in steps of %d: stored %q, want %q", step, got, c.kinds)
					}
					r.close()
				})
			}
		})
	}
}

// TestSplitAtEachByte gives a message in two reads, cut at each of its bytes.
func TestSplitAtEachByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newVirtualRig(t, nil).mustOpen()
		p := r.pipe()
		for at := 1; at < len(frame(oru("100", "-1.00"))); at++ {
			id := fmt.Sprint(at + 1000)
			text := frame(oru(id, "-1.00"))
			p.say(text[:at])
			synctest.Wait()
			go p.say(text[at:])
			p.want("AA " + id)
		}
		r.close()
	})
}

// TestRecords holds what the records of a message are.
func TestRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newVirtualRig(t, nil).mustOpen()
		p := r.pipe()
		text := oru("1", "-1.25")
		adt := strings.Replace(text, "ORU^R01^ORU_R01", "ADT^A08^ADT_A01", 1)
		for _, m := range []string{text, adt} {
			go p.say(frame(m))
			p.want("AA 1")
		}
		list := r.records()
		if len(list) != 1 {
			t.Fatalf("%d records: the same body under the same control id is the same message, whatever MSH says besides", len(list))
		}
		go p.say(frame(strings.Replace(adt, "|1|P|", "|2|P|", 1)))
		p.want("AA 2")
		go p.say(frame(strings.Replace(oru("3", "-1.25"), "|3|P|", "|3|T^A|", 1)))
		p.want("AA 3")
		list = r.records()
		if production, training := list[0].Labels["processing"], list[2].Labels["processing"]; production != "" || training != "T" {
			t.Errorf("processing %q and %q", production, training)
		}
		if e := list[0]; e.Kind != "exam" || string(e.Raw) != text || e.Labels["message"] != "ORU^R01" || e.Labels["application"] != "EYESIM" ||
			e.Time.Format(time.DateTime) != "2025-03-14 09:05:00" || len(e.Digest) != 32 {
			t.Errorf("exam %+v", e)
		}
		if a := list[1]; a.Kind != "hl7.adt" || string(a.Data) != strings.Replace(adt, "|1|P|", "|2|P|", 1) || a.Raw != nil || a.Labels["message"] != "ADT^A08" || a.ContentType != contentType {
			t.Errorf("ADT %+v", a)
		}
		r.close()
	})
}

// TestRepeats holds that a message that comes again is answered and not stored again, also in the next session, and that the
// same control id with another body is a new message.
func TestRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newVirtualRig(t, nil).mustOpen()
		say := func(p *peer, text, want string) {
			t.Helper()
			go p.say(frame(text))
			p.want(want)
		}
		p := r.pipe()
		say(p, oru("7", "-1.00"), "AA 7")
		say(p, oru("7", "-1.00"), "AA 7")
		p.conn.Close()
		say(r.pipe(), oru("7", "-1.00"), "AA 7")
		say(r.pipe(), oru("7", "-2.00"), "AA 7") // its counter was reset
		if n := len(r.records()); n != 2 {
			t.Errorf("%d records, want 2", n)
		}
		r.mustOpen()
		say(r.pipe(), oru("7", "-2.00"), "AA 7") // whose answer the sender may not have had
		if n := len(r.records()); n != 2 {
			t.Errorf("%d records after a restart, want 2", n)
		}
		say(r.pipe(), strings.Replace(oru("7", "-2.00"), "20250314101530", "20250314101599", 1), "AA 7") // sent again at another time
		if n := len(r.records()); n != 2 {
			t.Errorf("%d records after a resend, want 2", n)
		}
		a, b := r.pipe(), r.pipe()
		say(a, oru("8", "-1.00"), "AA 8")
		say(b, oru("9", "-1.00"), "AA 9")
		say(b, oru("10", "-1.00"), "AA 10") // b has the answer to 9, a may not have that to 8
		r.mustOpen()
		say(r.pipe(), oru("8", "-1.00"), "AA 8")
		say(r.pipe(), "hello", "AR")
		say(r.pipe(), "hello", "AR")
		if n := len(r.records()); n != 6 {
			t.Errorf("%d records in the end, want 6", n)
		}
		r.close()
	})
}

// TestTwins holds that a message which comes again while it is being stored waits for the one verdict.
func TestTwins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newVirtualRig(t, nil)
		r.hold = make(chan struct{})
		r.mustOpen()
		a, b := r.pipe(), r.pipe()
		for _, p := range []*peer{a, b} {
			go p.say(frame(oru("7", "-1.00")))
			synctest.Wait()
		}
		close(r.hold)
		a.want("AA 7")
		b.want("AA 7")
		if n := len(r.records()); n != 1 {
			t.Errorf("%d records, want 1", n)
		}
		r.close()
	})
}

// TestAnswers holds the answers of formats: original and enhanced mode, the commit level, and when the host cannot store.
func TestAnswers(t *testing.T) {
	unknown := func(more ...string) string {
		return strings.Replace(oru("1", "-1.00", more...), "ORU^R01^ORU_R01", "hello", 1)
	}
	untyped := func(more ...string) string {
		return strings.Replace(oru("1", "-1.00", more...), "ORU^R01^ORU_R01", "", 1)
	}
	for _, c := range []struct {
		name, message    string
		notStored, reply string
		good, full       string // what is heard, with ; between; "closed" is the end of the connection
	}{
		{"original", oru("1", "-1.00"), "close", "hl7", "AA 1", "closed"},
		{"original AR", oru("1", "-1.00"), "AR", "hl7", "AA 1", "AR 1"},
		{"original AE", oru("1", "-1.00"), "AE", "hl7", "AA 1", "AE 1"},
		{"enhanced AL AL", oru("1", "-1.00", "", "", "AL", "AL"), "AR", "hl7", "CA 1;AA 1", "CE 1"},
		{"enhanced close", oru("1", "-1.00", "", "", "AL", "AL"), "close", "hl7", "CA 1;AA 1", "closed"},
		{"enhanced AL NE", oru("1", "-1.00", "", "", "AL", "NE"), "AE", "hl7", "CA 1", "CE 1"},
		{"enhanced SU SU", oru("1", "-1.00", "", "", "SU", "SU"), "AR", "hl7", "CA 1;AA 1", "closed"},
		{"enhanced ER ER", oru("1", "-1.00", "", "", "ER", "ER"), "AR", "hl7", "", "CE 1"},
		{"enhanced NE AL", oru("1", "-1.00", "", "", "NE", "AL"), "AR", "hl7", "AA 1", "closed"},
		{"enhanced, application only", oru("1", "-1.00", "", "", "", "AL"), "AR", "hl7", "AA 1", "closed"},
		{"unknown", unknown(), "close", "hl7", "AR 1", "closed"},
		{"unknown enhanced", unknown("", "", "AL", "AL"), "close", "hl7", "CR 1", "closed"},
		{"unknown enhanced ER", unknown("", "", "ER", "ER"), "close", "hl7", "CR 1", "closed"},
		{"unknown enhanced SU", unknown("", "", "SU", "SU"), "close", "hl7", "", "closed"},
		{"unknown enhanced NE AL", unknown("", "", "NE", "AL"), "close", "hl7", "AR 1", "closed"},
		{"unknown enhanced, application only", unknown("", "", "", "ER"), "close", "hl7", "AR 1", "closed"},
		{"unknown enhanced SU AL", unknown("", "", "SU", "AL"), "close", "hl7", "AR 1", "closed"},
		{"unknown enhanced NE NE", unknown("", "", "NE", "NE"), "close", "hl7", "", "closed"},
		{"no type", untyped(), "close", "hl7", "AE 1", "closed"},
		{"no type, enhanced", untyped("", "", "AL", "AL"), "close", "hl7", "CA 1;AE 1", "closed"},
		{"commit", oru("1", "-1.00"), "close", "commit", "ack", "nak"},
		{"commit and message", oru("1", "-1.00"), "close", "both", "ack;AA 1", "nak"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for why, want := range map[sdk.Reason]string{"": c.good, sdk.ReasonFull: c.full, sdk.ReasonDisk: c.full} {
				synctest.Test(t, func(t *testing.T) {
					r := newVirtualRig(t, map[string]any{"sources": []any{map[string]any{"not_stored": c.notStored, "reply": c.reply}}}).mustOpen()
					r.told(why)
					p := r.pipe()
					go p.say(frame(c.message))
					if want != "" {
						p.want(strings.Split(want, ";")...)
					}
					synctest.Wait()
					r.told("")
					if want != "closed" { // it goes on
						go p.say(frame(oru("next", "-9.00")))
						next := map[string]string{"hl7": "AA next", "commit": "ack", "both": "ack;AA next"}[c.reply]
						p.want(strings.Split(next, ";")...)
					}
					r.close()
				})
			}
		})
	}
}

// TestSources holds that the first source that fits decides.
func TestSources(t *testing.T) {
	d := &device{Sources: []source{{Address: "10.1.0.0/16", Application: "LAB"}, {Facility: "EAST"}, {Address: "10.1.2.3"}}}
	for i := range d.Sources {
		if err := d.Sources[i].check(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		peer, application, facility string
		want                        *source
	}{
		{"10.1.9.9", "LAB", "", &d.Sources[0]},
		{"10.1.2.3", "LAB", "EAST", &d.Sources[0]},
		{"10.1.2.3", "OTHER", "EAST", &d.Sources[1]},
		{"10.1.2.3", "OTHER", "", &d.Sources[2]},
		{"10.2.2.3", "LAB", "", &otherSources},
	} {
		if got := d.source(netip.MustParseAddr(c.peer), c.application, c.facility); got != c.want {
			t.Errorf("%+v: %+v", c, got)
		}
	}
}

// TestTimes holds, in virtual time, that an idle connection stays, and that a message which does not come to its end ends it.
func TestTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newVirtualRig(t, nil).mustOpen()
		p := r.pipe()
		must(t, p.conn.SetDeadline(time.Time{}))
		time.Sleep(48 * time.Hour)
		go p.say(frame(oru("1", "-1.00")))
		p.want("AA 1")
		began, closed := time.Now(), make(chan struct{})
		go func() {
			p.want("closed")
			close(closed)
		}()
		for _, b := range []byte(vt + oru("2", "-1.00")) { // one every second, and never all
			if _, err := p.conn.Write([]byte{b}); err != nil {
				break
			}
			time.Sleep(time.Second)
		}
		must(t, p.conn.Close())
		<-closed
		if took := time.Since(began); took < 30*time.Second || took > 32*time.Second {
			t.Errorf("closed after %v", took)
		}
		synctest.Wait()
		if r.kinds() != "exam truncated" {
			t.Errorf("stored %s", r.kinds())
		}
		r.close()

		r = newVirtualRig(t, map[string]any{"idle_timeout": "10s"}).mustOpen()
		began = time.Now()
		p = r.pipe()
		p.want("closed")
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("idle: closed after %v", took)
		}
		r.close()
	})
}

// TestStrayFS holds that what stands behind an FS within a message, which ends it for us, is kept: its sender has an answer for all.
func TestStrayFS(t *testing.T) {
	r := newRig(t, nil).mustOpen()
	p := r.dial()
	var rest strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&rest, "OBX|%d|NM|x^x^L||%d|||||||F\r", i+2, i)
	}
	p.say(vt + oru("1", "-1.00") + fs + rest.String() + fs + cr + frame(oru("2", "-1.00")))
	p.want("AA 1", "AA 2")
	r.close()
	var kept strings.Builder
	for _, rec := range r.records() {
		if rec.Kind == sdk.KindReject {
			kept.Write(rec.Data)
		}
	}
	if want := rest.String() + fs + cr; kept.String() != want {
		t.Errorf("%d bytes are kept of %d: %s", kept.Len(), len(want), r.kinds())
	}
}

// TestTimeOfEach holds, in virtual time, that each message has message_timeout for itself where the next one begins in the same
// read as the one before ends.
func TestTimeOfEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newVirtualRig(t, nil).mustOpen()
		p := r.pipe()
		must(t, p.conn.SetDeadline(time.Time{}))
		rest := ""
		for i := range 6 {
			f := frame(oru(fmt.Sprint(i), "-1.00"))
			go p.say(rest + f[:100])
			if rest != "" {
				p.want("AA " + fmt.Sprint(i-1))
			}
			rest = f[100:]
			time.Sleep(20 * time.Second)
		}
		p.want("closed") // the last one is never at its end
		synctest.Wait()
		if want := "exam exam exam exam exam truncated"; r.kinds() != want {
			t.Errorf("stored %s, want %s", r.kinds(), want)
		}
		r.close()
	})
}

// TestHalfClose holds that a sender which has closed its end is answered all the same.
func TestHalfClose(t *testing.T) {
	r := newRig(t, nil).mustOpen()
	p := r.dial()
	p.say(frame(oru("1", "-1.00")) + frame(oru("2", "-1.00")))
	must(t, p.conn.(*net.TCPConn).CloseWrite())
	p.want("AA 1", "AA 2", "closed")
	p = r.dial()
	p.say(frame(oru("3", "-1.00")) + vt + "MSH|")
	must(t, p.conn.(*net.TCPConn).CloseWrite())
	p.want("AA 3", "closed")
	r.close()
	if r.kinds() != "exam exam exam truncated" {
		t.Errorf("stored %s", r.kinds())
	}
}

// TestPipelining holds that a sender which does not wait is answered in its order.
func TestPipelining(t *testing.T) {
	r := newRig(t, nil).mustOpen()
	p := r.dial()
	const n = 500
	go func() {
		var all strings.Builder
		for i := range n {
			all.WriteString(frame(oru(fmt.Sprint(i), "-1.00")))
		}
		p.say(all.String())
	}()
	for i := range n {
		p.want("AA " + fmt.Sprint(i))
	}
	for i, rec := range r.records() {
		if !strings.Contains(string(rec.Raw)+string(rec.Data), fmt.Sprintf("|%d|P|", i)) {
			t.Fatalf("record %d is another", i)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestDocuments holds that a document of a message is an attachment, of a result and of a document message, and is staged once.
func TestDocuments(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newVirtualRig(t, nil).mustOpen()
		p := r.pipe()
		document := "OBX|2|ED|PDF^Report^L||^application^pdf^Base64^JVBERi0xLjQ=||||||F\r"
		result := oru("1", "-1.00") + document
		other := strings.Replace(oru("2", "-1.00"), "ORU^R01^ORU_R01", "MDM^T02^MDM_T02", 1) + document
		for _, m := range []string{result, other, result, other} {
			go p.say(frame(m))
			p.want("AA " + strings.Split(m, "|")[9])
		}
		if r.kinds() != "exam hl7.mdm" {
			t.Fatalf("stored %s", r.kinds())
		}
		for _, rec := range r.records() {
			if len(rec.Attachments) != 1 || rec.Attachments[0].ContentType != "application/pdf" {
				t.Fatalf("%s has %+v", rec.Kind, rec.Attachments)
			}
			if text, err := os.ReadFile(rec.Attachments[0].Path); err != nil || string(text) != "%PDF-1.4" {
				t.Errorf("%s: %q, %v", rec.Kind, text, err)
			}
		}
		r.told(sdk.ReasonFull)
		go p.say(frame(strings.Replace(result, "|1|P|", "|9|P|", 1)))
		p.want("closed")
		if files, err := os.ReadDir(r.staging); err != nil || len(files) != 0 {
			t.Errorf("%d files are staged, %v", len(files), err)
		}
		r.told("")
		p = r.pipe()
		must(t, os.RemoveAll(r.staging)) // as a disk that fails
		go p.say(frame(strings.Replace(result, "|1|P|", "|3|P|", 1)))
		p.want("closed")
		r.close()
	})
}
