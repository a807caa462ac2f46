package bench

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

const newFiles = 10_000

// BenchmarkImport has a folder of 10,000 new exams of 3 KiB, and tells how long it takes from the start of hostd until the last of
// them is in the file of the sink: they hold still, are read, stored, delivered and put away. Each is counted there.
func BenchmarkImport(b *testing.B) {
	program(b)
	parent := workDir(b)
	sample, err := os.ReadFile(filepath.Join(root, "core/protocols/joia/testdata/KR-800_other_namespace_uri.xml"))
	if err != nil {
		b.Fatal(err)
	}
	var took []float64
	for b.Loop() {
		dir := inside(b, parent)
		in, out := filepath.Join(dir, "in"), filepath.Join(dir, "out")
		if err := fillFolder(in, sample); err != nil {
			b.Fatal(err)
		}
		before := machineNow(b)
		h := start(b, dir, fmt.Sprintf(`
devices: [{name: share, plugin: folder, settings: {dir: %q, existing: import}}]
sinks: [{name: lines, plugin: file, settings: {dir: %q}}]
`, in, out))
		var text []byte
		var end time.Time
		h.until("all exams", look, flowWait, func() bool {
			_, end = grown(h, out)
			text = textOf(b, out)
			return bytes.Count(text, []byte("\n")) >= newFiles
		})
		took = append(took, end.Sub(h.began).Seconds())
		if err := eachOnce(text); err != nil {
			b.Fatalf("exams are lost or doubled: %v\n%s", err, h.words())
		}
		b.Logf("%.1f s, others %.0f %% of the machine, load %s", took[len(took)-1], before.others(b, cpuOf(h.family())), loadavg(b))
		h.stop()
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(took), "s/import")
}

// fillFolder makes exams of as many people.
func fillFolder(dir string, sample []byte) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	for n := range newFiles {
		text := bytes.Replace(sample, []byte(":ID></"), fmt.Appendf(nil, ":ID>K-%06d</", n), 1)
		if len(text) == len(sample) {
			return errors.New("the sample has no place for an id")
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("M-Serial%05d.xml", n)), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func textOf(b *testing.B, out string) (text []byte) {
	b.Helper()
	for _, name := range lineFiles(b, out) {
		t, err := os.ReadFile(name)
		if err != nil {
			b.Fatal(err)
		}
		text = append(text, t...)
	}
	return text
}

// eachOnce says what is missing or twice in the lines.
func eachOnce(text []byte) error {
	ids := map[string]bool{}
	lines := 0
	for line := range bytes.Lines(text) {
		id, _, err := quick(line)
		if err != nil {
			return err
		}
		ids[id] = true
		lines++
	}
	if lines != newFiles || len(ids) != newFiles {
		return fmt.Errorf("%d lines with %d distinct ids, want %d", lines, len(ids), newFiles)
	}
	return nil
}
