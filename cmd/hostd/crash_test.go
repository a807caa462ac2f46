package main_test

import (
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	_ "modernc.org/sqlite"
)

const crashConfig = `
devices:
  - {name: gen, plugin: generator, settings: {count: %d, rate: %d}}
  - {name: share, plugin: folder, schedule: {every: 200ms}, settings: {dir: in, format: joia, settle: 100ms}}
sinks:
  - {name: emr, plugin: sql}
  - {name: archive, plugin: file, settings: {dir: archive}}
`

// export is an exam of an invented person as a JOIA file.
const export = `<?xml version="1.0" encoding="UTF-8"?>
<Ophthalmology><Common><Company>TOPCON</Company><ModelName>KR-800S</ModelName><MachineNo>01</MachineNo>
<Date>2025-03-24</Date><Time>10:02:15</Time><Patient><No.>1</No.><ID>P%05d</ID></Patient></Common>
<Measure type="REF"><REF><R><Median><Sphere>-1.25</Sphere><Cylinder>-0.50</Cylinder><Axis>90</Axis></Median></R></REF></Measure></Ophthalmology>
`

// TestKilledHostLosesNothing kills the host with SIGKILL again and again while a generator and a folder feed it, and
// then accounts for every record in SQLite: each that was acknowledged is there exactly once.
func TestKilledHostLosesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("kills real processes for some ten seconds")
	}
	t.Parallel()
	const cycles, records, rate = 6, 4000, 1000
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	c := newClinic(t, fmt.Sprintf(crashConfig, records, rate))
	files := 0
	for cycle := range cycles {
		c.start()
		for range 20 {
			files++
			c.write(fmt.Sprintf("in/EXAM_%05d.xml", files), fmt.Sprintf(export, files))
		}
		pause := time.Duration(random.IntN(700)) * time.Millisecond
		time.Sleep(pause) // the instant of the kill is what is random
		t.Logf("cycle %d: killed after %s", cycle, pause)
		c.kill()
	}
	c.start()
	c.until("everything delivered", func(s status) bool {
		return device(s, "gen").Records >= records && c.count("in/done/*.xml") == files &&
			sink(s, "emr").Backlog == 0 && sink(s, "archive").Backlog == 0
	})
	if left := c.sockets(); len(left) != 4 {
		t.Errorf("%d folders of sockets for 4 plugins after %d killed hosts: %v", len(left), cycles, left)
	}
	c.stop()
	if left := c.sockets(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}

	db := c.database()
	for n := range records {
		if got := one(t, db, "SELECT count(*) FROM exam WHERE source = 'gen' AND record_id = ?", fmt.Sprintf("gen-1-%d", n+1)); got != 1 {
			t.Fatalf("record gen-1-%d is there %d times", n+1, got)
		}
	}
	for n := range files {
		if got := one(t, db, "SELECT count(*) FROM exam WHERE source = 'share' AND patient_id = ?", fmt.Sprintf("P%05d", n+1)); got != 1 {
			t.Fatalf("exam of file %d is there %d times", n+1, got)
		}
	}
	if got := one(t, db, "SELECT count(*) FROM exam"); got != records+files {
		t.Fatalf("%d exams, want %d: some nobody sent", got, records+files)
	}
	if got := one(t, db, "SELECT count(*) FROM ingest_receipt"); got != records+files {
		t.Fatalf("%d receipts, want %d", got, records+files)
	}
	if left := c.count("in/*.xml") + c.count("in/failed/*"); left > 0 {
		t.Fatalf("%d files are left or failed", left)
	}
}

// sockets are the folders of the plugins' sockets.
func (c *clinic) sockets() []string {
	c.t.Helper()
	sum := sha256.Sum256([]byte(c.path("data")))
	list, err := filepath.Glob(filepath.Join(os.TempDir(), "hostd-"+hex.EncodeToString(sum[:6]), "*"))
	if err != nil {
		c.t.Fatal(err)
	}
	return list
}

func (c *clinic) count(pattern string) int {
	c.t.Helper()
	list, err := filepath.Glob(c.path(pattern))
	if err != nil {
		c.t.Fatal(err)
	}
	return len(list)
}

func (c *clinic) database() *sql.DB {
	c.t.Helper()
	if _, err := os.Stat(c.path("data/hostd.db")); err != nil {
		c.t.Fatal(err)
	}
	db, err := sql.Open("sqlite", c.path("data/hostd.db"))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { db.Close() })
	return db
}

func one(t *testing.T, db *sql.DB, query string, args ...any) (n int) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), query, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
