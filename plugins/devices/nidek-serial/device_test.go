package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hostd/hostd/core/protocols/nidekrs"
	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/exam"
)

func inBubble(t *testing.T, settings map[string]any, f func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, settings)
		f(t, r.pipe())
		r.close()
	})
}

// TestSplitAnywhere parts a frame at each byte; the pieces come a while apart.
func TestSplitAnywhere(t *testing.T) {
	inBubble(t, map[string]any{"profile": "lm"}, func(t *testing.T, r *rig) {
		u := unit{profile: "lm", numbered: true, seed: 1}
		n := 0
		for at := 1; at < len(u.frame(n+1)); at++ {
			n++
			f := u.frame(n)
			said := make(chan bool)
			go func() {
				r.say(f[:at])
				time.Sleep(100 * time.Millisecond)
				r.say(f[at:])
				close(said)
			}()
			r.take(n, time.Minute)
			<-said
		}
		for i, rec := range r.stored {
			if rec.Kind != exam.Kind || rec.Unassigned {
				t.Fatalf("split at %d: %s %v", i+1, rec.Kind, rec.Labels)
			}
		}
		if len(r.ids()) != n || n < 80 {
			t.Errorf("%d exams of %d", len(r.ids()), n)
		}
	})
}

// TestWhenAFrameEnds measures from its last byte, in virtual time: with a checksum it is read at once, where none came after
// 200 ms, and without its end after the idle timeout. A refractor's ends with its EOT.
func TestWhenAFrameEnds(t *testing.T) {
	ark, rt := frames("ark", 1)[0], frames("rt-type1", 1)[0]
	for _, c := range []struct {
		profile, text string
		after         time.Duration
		want          string
	}{
		{"ark", ark, 0, "exam K-000001"},
		{"ark", strings.TrimSuffix(ark, "\r"), 0, "exam K-000001"},
		{"ark", ark[:len(ark)-5], 200 * time.Millisecond, "exam K-000001"},
		{"ark", ark[:len(ark)-5] + "\r", 0, "exam K-000001"},
		{"ark", ark[:len(ark)-3], 10 * time.Second, "truncated"},
		{"ark", ark[:100], 10 * time.Second, "truncated"},
		{"ark", strings.Replace(ark, "VD12", "VD13", 1), 0, "checksum"},
		{"ark", "noise", 10 * time.Second, "noise"},
		{"rt-type1", rt, 0, "exam K-000001"},
		{"rt-type1", rt[:len(rt)-1], 0, "exam K-000001"},
		{"rt-type1", rt[:len(rt)-2], 10 * time.Second, "truncated"},
		{"ark", "\x01DNT\x02IDNIDEK/NT-530\x17NO0001\x17\x041F\r", 0, "truncated"},
		{"ark", "\x01DNT\x02NO0001\x17\x04\r", 0, "empty"},
	} {
		t.Run(fmt.Sprintf("%s %d %s", c.profile, len(c.text), c.want), func(t *testing.T) {
			inBubble(t, map[string]any{"profile": c.profile}, func(t *testing.T, r *rig) {
				r.say(c.text)
				last := time.Now()
				r.take(1, time.Minute)
				if took := time.Since(last); took != c.after || r.words() != c.want {
					t.Errorf("%q after %v, want %q after %v", r.words(), took, c.want, c.after)
				}
			})
		})
	}
}

// TestInvitationIsTheAnswer holds that a unit is invited at once while nothing waits, and only behind Ack where something does.
func TestInvitationIsTheAnswer(t *testing.T) {
	inBubble(t, map[string]any{"profile": "ark"}, func(t *testing.T, r *rig) {
		f := frames("ark", 3)
		quiet := func(why string) {
			t.Helper()
			if synctest.Wait(); r.said() != "" {
				t.Errorf("invited %s", why)
			}
		}
		invited := func(why string) {
			t.Helper()
			if synctest.Wait(); r.said() != invitation {
				t.Errorf("not invited, once, %s", why)
			}
		}
		r.say(request)
		if r.read(time.Second) != nil {
			t.Fatal("a request is no record")
		}
		invited("at the first request")

		r.say(f[0] + request)
		b := r.read(time.Second)
		quiet("before the exam is stored")
		if err := r.d.Refuse(t.Context(), b.Next, sdk.ReasonFull); err != nil {
			t.Fatal(err)
		}
		r.say(request)
		began := time.Now()
		again := r.read(time.Minute)
		if time.Since(began) != refusePause || again.Records[0].ID != b.Records[0].ID || again.Next != b.Next {
			t.Errorf("refused: %d records come after %v", len(again.Records), time.Since(began))
		}
		quiet("while it is refused")
		r.ack(again)
		invited("behind Ack")
		if r.read(time.Second) != nil {
			t.Fatal("a request is no record")
		}
		invited("at the request that it has repeated")

		r.say(request + request + request) // in one piece
		r.take(2, time.Second)
		invited("for three requests")
		r.say(request + f[1]) // it does not wait
		r.take(2, time.Second)
		quiet("after it has sent already")
		r.say(request + strings.Repeat("\x01", 2*batchRecords) + f[1]) // so that the answer to the first batch comes before the exam is seen
		for range 3 {
			r.ack(r.read(time.Second))
			quiet("while it sends already")
		}
		r.stored = r.stored[:2]
		r.say("\x01CLM\x02RD\x17\x04\r") // another host's word
		r.take(3, time.Second)
		quiet("by what is no request")
		if r.words() != "exam K-000001, exam K-000002" {
			t.Error(r.words())
		}
	})
	inBubble(t, map[string]any{"profile": "ark", "mode": "listen"}, func(t *testing.T, r *rig) {
		r.say(request + frames("ark", 1)[0] + request)
		r.take(2, time.Minute)
		if synctest.Wait(); r.said() != "" || r.words() != "exam K-000001" {
			t.Errorf("a listener says something, or hears %s", r.words())
		}
	})
	inBubble(t, map[string]any{"profile": "nt", "command": "CNP"}, func(t *testing.T, r *rig) {
		r.say(request)
		r.take(1, time.Second)
		if synctest.Wait(); r.said() != "\x01CNP\x02SD\x17\x04\r" {
			t.Error("not invited by the command that was set")
		}
	})
}

// TestIdentity: a resend is the same record; an equal measurement at another time is not, nor one whose unit has no clock.
func TestIdentity(t *testing.T) {
	const lens = "\x01DLM\x02IDNIDEK/LM-600P\x17 R+02.25-00.75095\x17\x04\r"
	const dated = "\x01DLM\x02IDNIDEK/LM-7P\x17DA2025.03.14.11:42\x17 R+02.25-00.75095\x17\x04\r"
	later := strings.Replace(dated, "11:42", "11:43", 1)
	rt := frames("rt-type1", 1)[0]
	inBubble(t, map[string]any{"profile": "lm"}, func(t *testing.T, r *rig) {
		r.say(dated, dated) // the second is known: it was stored last
		r.take(2, time.Second)
		if r.words() != "exam " {
			t.Errorf("a resend is handed on: %s", r.words())
		}
		r.say(later, dated) // here it is the sink that knows
		r.take(3, time.Second)
		if len(r.stored) != 3 || len(r.ids()) != 2 || r.stored[0].ID != r.stored[2].ID || r.stored[0].ContentHash() != r.stored[2].ContentHash() {
			t.Errorf("%d records with %d ids", len(r.stored), len(r.ids()))
		}
		r.say(lens, lens, rt, rt, "x\x01DLM", "x\x01DLM\x02\x17\x04\r")
		r.take(100, time.Minute)
		if len(r.ids()) != len(r.stored)-1 || r.words() != "exam , exam , exam , exam , exam , exam K-000001, exam K-000001, noise, truncated, noise, truncated" &&
			r.words() != "exam , exam , exam , exam , exam , exam K-000001, exam K-000001, noise, truncated, empty" {
			t.Errorf("%d ids: %s", len(r.ids()), r.words())
		}
	})
}

// TestNothingIsLostBetweenReadAndAck kills the driver there: the batch comes again from another process, once.
func TestNothingIsLostBetweenReadAndAck(t *testing.T) {
	inBubble(t, map[string]any{"profile": "ark"}, func(t *testing.T, r *rig) {
		f := frames("ark", 2)
		r.say(f[0] + "\x01DLM\x02" + f[1])
		first := r.read(time.Second)
		r.d = &nidek{}
		again := r.pipe().read(time.Second)
		if len(again.Records) != 3 || again.Next != first.Next {
			t.Fatalf("%d records come again", len(again.Records))
		}
		for i := range first.Records {
			a, b := &first.Records[i], &again.Records[i]
			if a.ID != b.ID || a.Kind != b.Kind || a.ContentHash() != b.ContentHash() || !a.Time.Equal(b.Time) || string(a.Data) != string(b.Data) || !maps.Equal(a.Labels, b.Labels) {
				t.Errorf("record %d is another one: %+v, %+v", i, a, b)
			}
		}
		r.at = again.Next // it is stored, and the driver is killed before it hears that
		r.d = &nidek{}
		r.pipe().say(f[1]) // the instrument does not know it either
		if b := r.read(time.Second); b != nil {
			t.Errorf("what is stored comes again: %d records", len(b.Records))
		}
		left, err := filepath.Glob(filepath.Join(r.state, "*"))
		if err != nil || len(left) > 0 {
			t.Errorf("an exam stays on the disk: %v, %v", left, err)
		}
		if err := os.WriteFile(filepath.Join(r.state, "unacknowledged.json"), []byte(`[{"ID":"1"},`), 0o600); err != nil {
			t.Fatal(err)
		}
		r.d = &nidek{}
		if b := r.pipe().read(time.Second); b != nil || !strings.Contains(r.log.String(), "not written to its end") {
			t.Errorf("of a note that is half there: %v\n%s", b, r.log.String())
		}
	})
}

// TestParity says in words what to check, and what was set.
func TestParity(t *testing.T) {
	inBubble(t, map[string]any{"profile": "lm-7"}, func(t *testing.T, r *rig) {
		even := []byte(frames("lm", 1)[0])
		for i, c := range even {
			ones := 0
			for ; c > 0; c >>= 1 {
				ones += int(c & 1)
			}
			even[i] |= byte(ones%2) << 7
		}
		r.say(string(even), frames("lm", 1)[0])
		r.take(2, time.Minute)
		if r.words() != "parity, exam K-000001" || !strings.Contains(r.stored[0].Labels["detail"], "check parity") || string(r.stored[0].Raw) != string(even) {
			t.Errorf("%s %v", r.words(), r.stored[0].Labels)
		}
		if log := r.log.String(); !strings.Contains(log, "7 data bits with even parity") || !strings.Contains(log, "9600 8N1") {
			t.Errorf("the log does not say what to check:\n%s", log)
		}
	})
}

// TestBadInput keeps what cannot be read, without a word of it in the log, and reads on. A blank patient id is normal.
func TestBadInput(t *testing.T) {
	inBubble(t, map[string]any{"profile": "ark"}, func(t *testing.T, r *rig) {
		good := frames("ark", 2)
		wrong := strings.Replace(good[1], "K-000002", "K-SECRET", 1)
		long := "\x01DRM\x02" + strings.Repeat("OL-02.00-00.50170\x17", 5000)
		go r.say(wrong, "SECRET noise", good[0], long, good[1], "\x01DRM\x02IP  \x17OR-01.00-00.50010\x17\x04\r")
		r.take(8, time.Minute)
		if got, want := r.words(), "checksum, noise, exam K-000001, too_large, noise, exam K-000002, exam "; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if string(r.stored[0].Raw) != wrong || string(r.stored[1].Raw) != "SECRET noise" || len(r.stored[3].Raw) != nidekrs.MaxFrame {
			t.Error("the evidence is not what came")
		}
		e, err := exam.Decode(r.stored[6].Data)
		if err != nil || strings.Join(e.Warnings, " ") != "checksum_missing patient_id_blank" {
			t.Errorf("%v, %v", e.Warnings, err)
		}
		if strings.Contains(r.log.String(), "SECRET") || strings.Contains(r.log.String(), "K-0000") {
			t.Errorf("the log quotes a patient:\n%s", r.log.String())
		}
	})
}

// TestLineThatBreaks: what came before is read, the rest of a frame is a reject, then Read says why.
func TestLineThatBreaks(t *testing.T) {
	inBubble(t, map[string]any{"profile": "ark"}, func(t *testing.T, r *rig) {
		f := frames("ark", 2)
		r.say(f[0] + f[1][:200])
		synctest.Wait()
		r.far.Close()
		r.take(2, time.Second)
		if r.words() != "exam K-000001, truncated" {
			t.Error(r.words())
		}
		if _, err := r.d.Read(t.Context()); err == nil || !strings.Contains(err.Error(), "closed the line") {
			t.Errorf("Read of a line that is gone: %v", err)
		}
		r.pipe().say(f[1])
		r.take(3, time.Second)
		if r.words() != "exam K-000001, truncated, exam K-000002" {
			t.Error(r.words())
		}
	})
}

// TestSettings refuses what does not fit together, and a position of another driver.
func TestSettings(t *testing.T) {
	for want, settings := range map[string]map[string]any{
		"profile":      {"port": "x", "profile": "hrk"},
		"port":         {"profile": "ark"},
		"not invited":  {"port": "x", "profile": "rt-type1", "mode": "handshake"},
		"for refracto": {"port": "x", "profile": "ark", "preset_dir": "x"},
	} {
		r := newRig(t, settings)
		if err := r.open(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q in it", settings, err, want)
		}
	}
	r := newRig(t, map[string]any{"port": "x"})
	r.at = "f1 0a"
	if err := r.open(); err == nil || !strings.Contains(err.Error(), "position") {
		t.Errorf("a foreign position: %v", err)
	}
	r.at = ""
	if err := r.open(); err == nil || errors.Is(err, sdk.ErrSettings) {
		t.Errorf("a port that is not there: %v", err)
	}
}
