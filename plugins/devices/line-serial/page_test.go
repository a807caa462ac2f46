package main

import (
	"os"
	"strings"
	"testing"

	"github.com/hostd/hostd/core/protocols/lineprofile"
)

// TestPage holds the profile of the page against the frame that the page shows, and its list of profiles against those that
// there are.
func TestPage(t *testing.T) {
	page, err := os.ReadFile("../../../docs/devices/line-serial.md")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(string(page), "\r\n", "\n")
	_, profile, ok := strings.Cut(text, "```yaml\nname: own-tono")
	profile, _, end := strings.Cut("name: own-tono"+profile, "```")
	_, shown, shows := strings.Cut(text, "sends\n`")
	shown, _, _ = strings.Cut(shown, "`")
	if !ok || !end || !shows {
		t.Fatal("the page has no example")
	}
	p, err := lineprofile.Load([]byte(profile))
	if err != nil {
		t.Fatal(err)
	}
	frame, err := lineprofile.Bytes(shown)
	if err != nil {
		t.Fatal(err)
	}
	got := p.Decode(frame)
	if len(got.Exams) != 1 || len(got.Rejects) > 0 {
		t.Fatalf("%+v", got)
	}
	if e := got.Exams[0]; e.Patient.ID != "S-000123" || e.TakenAt != "2025-03-24T09:05" || e.Device.Model != "Tono 1" || len(e.Observations) != 3 || len(e.Warnings) > 0 || !p.Numbered() {
		t.Errorf("%+v", e)
	}
	for _, name := range lineprofile.Shipped() {
		p, err := lineprofile.Named(name)
		if err != nil {
			t.Fatal(err)
		}
		if row := "| `" + name + "` |"; !strings.Contains(text, row) || !strings.Contains(text, "| "+mode(p).String()+" | "+p.Status+" |") {
			t.Errorf("the page does not have %s with %s", name, mode(p))
		}
	}
}
