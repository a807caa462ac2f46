package faults

import (
	"flag"
	"testing"
	"time"
)

var cycles = flag.Int("cycles", 3, "of TestKill: how often the host is killed")

// longestRun is how long a host runs at most before it is killed: of four kills one counts from the start of the process,
// and so meets the host while it starts, the others from its ready line.
const longestRun = 700 * time.Millisecond

// lookEvery is after how many cycles the verdict is given in between.
const lookEvery = 100

// TestKill kills the host with SIGKILL at random instants of its life, again and again on one data folder, while three
// devices feed it and two sinks take from it, and then accounts for every record.
func TestKill(t *testing.T) {
	random := seeded(t)
	c, o := newClinic(t), newOracle()
	var told int64
	for cycle := range *cycles {
		c.configure(c.loud())
		c.drop(o, 5)
		if random.IntN(4) == 0 {
			c.launch()
		} else {
			c.start()
		}
		time.Sleep(time.Duration(random.Int64N(int64(longestRun)))) // the instant of the kill is what is random
		c.kill()
		if (cycle+1)%lookEvery == 0 {
			told = c.account(o)
			t.Logf("%d cycles: %d records of the witness, %d of the generator, %d files, none lost", cycle+1, told, o.row["gen"].last, len(o.share))
		}
	}
	told = c.account(o)
	for more := 0; more < 20 && (told == 0 || o.row["gen"] == nil); more++ { // each of a few cycles may have ended before its load began
		c.configure(c.loud())
		c.start()
		time.Sleep(longestRun) // the latest instant of a kill
		c.kill()
		told = c.account(o)
	}
	if told == 0 || o.row["gen"] == nil || len(o.row["share"].ids) != len(o.share) {
		t.Fatalf("the host had no load: %d records of the witness", told)
	}
	t.Logf("%d cycles: %d records of the witness, %d of the generator, %d files, none lost", *cycles, told, o.row["gen"].last, len(o.share))
}
