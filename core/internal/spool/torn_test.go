package spool

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// scene is a disk at one moment, and what a spool on it must hold.
type scene struct {
	files    map[string][]byte
	payloads []string
	letters  []string
	position string
}

// look is what the disk and the spool hold now. The spool is not used any more.
func look(t *testing.T, d *memDisk, s *Spool) scene {
	t.Helper()
	c := scene{files: map[string][]byte{}}
	for name, f := range d.names {
		c.files[name] = bytes.Clone(f.data)
	}
	c.payloads, c.letters = payloads(drain(t, s, 0)), letters(t, s, "emr")
	p, _ := s.Position("d")
	c.position = string(p)
	return c
}

// onModel opens the spool on a model of a disk, with its one sink, which has number 0.
func onModel(t *testing.T, d *memDisk, opt Options) *Spool {
	t.Helper()
	opt.disk = d.disk()
	s, err := Open("data/spool", opt)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.RegisterSink("emr"); err != nil {
		t.Fatal(err)
	}
	return s
}

// holds opens a disk with these files, and wants what the scene says, and nothing damaged; and then, with a record more, once more.
func (c *scene) holds(t *testing.T, opt Options, files map[string][]byte) error {
	t.Helper()
	d := newMemDisk()
	for name, data := range files {
		d.names[name] = &memFile{data: data, synced: bytes.Clone(data), cut: 1 << 62}
	}
	d.settle()
	opt.disk = d.disk()
	want := c.payloads
	for _, more := range []string{"more", "", ""} {
		s, err := Open("data/spool", opt)
		if err != nil {
			return err
		}
		if _, err := s.RegisterSink("emr"); err != nil {
			return err
		}
		got, p := look(t, d, s), c.position
		if len(want) > len(c.payloads) {
			p = "more"
		}
		n := s.Stats().Quarantined
		if n > 0 || !slices.Equal(got.payloads, want) || !slices.Equal(got.letters, c.letters) || got.position != p {
			return fmt.Errorf("%d damaged, %d records of %d, %d letters of %d, position %.20q: %s",
				n, len(got.payloads), len(want), len(got.letters), len(c.letters), got.position, setAside(d))
		}
		if more != "" {
			put(t, s, batch("d", 1, more))
			want = append(slices.Clone(want), more)
		}
		s.Close()
	}
	return nil
}

// pieces calls try with each content that a file can have whose bytes behind the first safe ones were written and not synced: any
// of the sectors, and some sizes. what is for a message.
func pieces(full []byte, safe int, try func(what string, left []byte)) {
	first := safe / sector
	n := (len(full)+sector-1)/sector - first
	for lost := range 1 << n {
		left := bytes.Clone(full)
		for i := range n {
			if lost>>i&1 == 1 {
				clear(left[max(safe, (first+i)*sector):min((first+i+1)*sector, len(full))])
			}
		}
		for size := len(full); size > safe; size = (size - 1) / sector * sector {
			try(fmt.Sprintf("lost %b, %d bytes of %d", lost, size, len(full)), left[:size])
			if cut := size - 200; cut > safe {
				try(fmt.Sprintf("lost %b, %d bytes of %d", lost, cut, len(full)), left[:cut])
			}
		}
	}
	try("nothing of it", bytes.Clone(full[:safe]))
}

func noise(n int) string {
	rnd, b := rand.New(rand.NewPCG(5, uint64(n))), make([]byte, n)
	for i := range b {
		b[i] = byte(rnd.Uint32())
	}
	return string(b)
}

var forms = map[string]Options{"plain": {}, "sealed": {Seal: true, Key: testKey}}

// A group whose sectors or end are missing is left out, whichever they are, and is no damage. With every sector it is there. So it
// is where the file has grown with the group, and where there was room for it.
func TestTornGroupIsLeftOut(t *testing.T) {
	t.Parallel()
	for name, opt := range forms {
		for _, group := range [][]string{
			{noise(300), noise(701), noise(600)},
			{string(make([]byte, 900)), "after zeros", noise(400)},
			{noise(9)},
		} {
			d := newMemDisk()
			s := onModel(t, d, opt)
			put(t, s, batch("d", 1, "one", "two"))
			before, path, safe := look(t, d, s), s.path(s.newest()), s.end(s.newest())
			put(t, s, batch("d", 1, group...))
			after, end := look(t, d, s), s.end(s.newest())
			s.Close()
			full := after.files[path][:end]
			for _, room := range []int{0, len(after.files[path]) - int(end)} {
				pieces(full, int(safe), func(what string, left []byte) {
					if room > 0 {
						left = append(left, make([]byte, len(full)-len(left)+room)...)
					}
					want := before
					if bytes.HasPrefix(left, full) {
						want = after
					}
					if err := want.holds(t, opt, map[string][]byte{path: left}); err != nil {
						t.Fatalf("%s, %d records, room of %d bytes: %s: %v", name, len(group), room, what, err)
					}
				})
			}
		}
	}
}

// A new segment whose head was not synced is none, whatever there is of it. The segment before is still the end of the log, and a
// torn end of it no damage.
func TestTornHeadBehindATornEnd(t *testing.T) {
	t.Parallel()
	for name, opt := range forms {
		d := newMemDisk()
		s := onModel(t, d, opt)
		b := batch("d", 1, "one", noise(200))
		b.Position = []byte(noise(600)) // so that the head has several sectors
		put(t, s, b)
		first, before, safe := s.path(s.newest()), look(t, d, s), s.end(s.newest())
		put(t, s, batch("d", 1, noise(300), noise(1200)))
		after, end := look(t, d, s), s.end(s.newest())
		s.Close()
		file := after.files[first]
		clear(file[(safe/sector+1)*sector : (safe/sector+2)*sector]) // a lost sector
		for _, torn := range [][]byte{file, file[:end], file[:end-100], file[:end-60]} {
			head, path := headBehind(t, opt, first, torn)
			pieces(head, 0, func(what string, left []byte) {
				if err := before.holds(t, opt, map[string][]byte{first: torn, path: left}); err != nil {
					t.Fatalf("%s: %d bytes torn, of the head %s: %v", name, len(torn), what, err)
				}
			})
		}
	}
}

// headBehind is the head of the segment that follows one with that content, and its path.
func headBehind(t *testing.T, opt Options, first string, torn []byte) (head []byte, path string) {
	t.Helper()
	d := newMemDisk()
	d.names[first] = &memFile{data: bytes.Clone(torn), cut: 1 << 62}
	opt.disk = d.disk()
	s, err := Open("data/spool", opt)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	seg, err := s.roll()
	if err != nil {
		t.Fatal(err)
	}
	return d.names[s.path(seg)].data, s.path(seg)
}

// A letter that is not there whole was not kept, and is no damage.
func TestTornLetterIsLeftOut(t *testing.T) {
	t.Parallel()
	for name, opt := range forms {
		for _, third := range []string{noise(1300), string(make([]byte, 700)), "short"} {
			d := newMemDisk()
			s := onModel(t, d, opt)
			put(t, s, batch("d", 1, "one", "two", third))
			var scenes []scene
			for _, ref := range drain(t, s, 0) {
				if err := s.Dead(t.Context(), 0, ref, "no column", 1); err != nil {
					t.Fatal(err)
				}
				scenes = append(scenes, look(t, d, s))
			}
			s.Close()
			before, after := scenes[1], scenes[2]
			path := deadPath(t, after.files)
			pieces(after.files[path], len(before.files[path]), func(what string, left []byte) {
				want, files := before, maps.Clone(after.files)
				if files[path] = left; bytes.Equal(left, after.files[path]) {
					want = after
				}
				if err := want.holds(t, opt, files); err != nil {
					t.Fatalf("%s, %d bytes: %s: %v", name, len(third), what, err)
				}
			})
		}
	}
}

func deadPath(t *testing.T, files map[string][]byte) string {
	t.Helper()
	for name := range files {
		if strings.HasSuffix(name, deadSuffix) {
			return name
		}
	}
	t.Fatal("there are no letters")
	return ""
}

// A flipped bit is damage, also in the last group and beside zeros that are a record's own: it costs that record at most.
func TestFlippedBitBesideZerosIsNoTornGroup(t *testing.T) {
	t.Parallel()
	for name, opt := range forms {
		d := newMemDisk()
		s := onModel(t, d, opt)
		put(t, s, batch("d", 1, "one"))
		path, from := s.path(s.newest()), s.end(s.newest())
		put(t, s, batch("d", 1, string(make([]byte, 1500)), "behind"))
		end, full := s.end(s.newest()), bytes.Clone(d.names[path].data)
		s.Close()
		for at := 2 * from; at < 2*end; at++ {
			flipped := full[:end]
			if at%2 == 0 {
				flipped = full[:end+10*sector] // with room
			}
			flipped = bytes.Clone(flipped)
			flipped[at/2] ^= 1 << (at / 2 % 8)
			d := newMemDisk()
			d.names[path] = &memFile{data: flipped, cut: 1 << 62}
			opt.disk = d.disk()
			s, err := Open("data/spool", opt)
			if err != nil {
				t.Fatal(err)
			}
			if n, st := len(drain(t, s, 0)), s.Stats(); n < 2 || st.Quarantined == 0 || st.Torn > 0 {
				t.Fatalf("%s: byte %d of %d, room %v: %d records, %+v", name, at/2, end, at%2 == 0, n, st)
			}
			s.Close()
		}
	}
}

// withZeroAt is the log of a spool's only segment, and where the header of its trailer begins, or of the record of zeros before it: its
// last byte is in another sector than the rest, and is zero.
func withZeroAt(t *testing.T, opt Options, zeros bool) (path string, log []byte, at int64) {
	t.Helper()
	for {
		d := newMemDisk()
		s := onModel(t, d, opt)
		put(t, s, batch("d", 1, "one"))
		first := s.end(s.newest()) + headerSize // of the record that fills up
		if opt.Seal {
			first += sealedExtra
		}
		fill := int(2*sector - (first+headerSize-1)%sector)
		b := Batch{Device: "d", Records: []Entry{{Payload: []byte(noise(fill)), Sinks: 1}}}
		if zeros {
			b.Records = append(b.Records, Entry{Payload: make([]byte, 3*sector), Sinks: 1})
		}
		put(t, s, b)
		path, at = s.path(s.newest()), first+int64(fill)
		log = bytes.Clone(d.names[path].data[:s.end(s.newest())])
		s.Close()
		if last := at + headerSize - 1; last%sector != 0 {
			t.Fatalf("the header ends at %d", last)
		} else if log[last] == 0 {
			return path, log, at
		}
	}
}

// A header whose last byte is zero and alone in its sector is not lost when a bit of the rest is flipped.
func TestFlippedBitInAHeaderThatEndsInASectorOfZeros(t *testing.T) {
	t.Parallel()
	for name, opt := range forms {
		for _, zeros := range []bool{false, !opt.Seal} { // a sealed payload has none
			path, log, at := withZeroAt(t, opt, zeros)
			for bit := range 8 * (headerSize - 1) {
				d := newMemDisk()
				flipped := append(bytes.Clone(log), make([]byte, 3*sector)...)
				flipped[int(at)+bit/8] ^= 1 << (bit % 8)
				d.names[path] = &memFile{data: flipped, cut: 1 << 62}
				s := onModel(t, d, opt)
				if n, st := len(drain(t, s, 0)), s.Stats(); n != 2 || st.Quarantined != 1 || st.Torn > 0 {
					t.Fatalf("%s: bit %d of the header, zeros behind it %v: %d records, %+v", name, bit, zeros, n, st)
				}
				s.Close()
			}
		}
	}
}

// A flipped bit in a letter that ends in zeros is damage, and is set aside.
func TestFlippedBitInALetterOfZeros(t *testing.T) {
	t.Parallel()
	d := newMemDisk()
	s := onModel(t, d, Options{})
	put(t, s, batch("d", 1, string(make([]byte, 700))))
	if err := s.Dead(t.Context(), 0, drain(t, s, 0)[0], "no column", 1); err != nil {
		t.Fatal(err)
	}
	s.Close()
	files := map[string][]byte{}
	for name, f := range d.names {
		files[name] = f.data
	}
	path := deadPath(t, files)
	for at := range files[path] {
		flipped := newMemDisk()
		for name, data := range files {
			flipped.names[name] = &memFile{data: bytes.Clone(data), cut: 1 << 62}
		}
		flipped.names[path].data[at] ^= 1 << (at % 8)
		s := onModel(t, flipped, Options{})
		if st := s.Stats(); st.Quarantined != 1 || st.Torn > 0 {
			t.Errorf("byte %d: %+v", at, st)
		}
		s.Close()
	}
}

// A disk that refuses to read a few times takes nothing from the log, also where the log ends in a zero.
func TestFailedReadAtTheEndOfTheLog(t *testing.T) {
	t.Parallel()
	for name, opt := range forms {
		path, log, _ := withZeroAt(t, opt, false)
		for n := 1; ; n++ {
			d, reads := newMemDisk(), 0
			d.names[path] = &memFile{data: append(bytes.Clone(log), make([]byte, 3*block)...), cut: 1 << 62}
			d.fail = func(_ int, op string) error {
				if op == "read" {
					reads++
				}
				if op == "read" && reads >= n && reads < n+maxFails {
					return syscall.EIO
				}
				return nil
			}
			s := onModel(t, d, opt)
			d.fail = nil
			if got := len(drain(t, s, 0)); got != 2 {
				t.Errorf("%s: reads from %d on fail: %d records", name, n, got)
			}
			s.Close()
			if reads < n {
				break
			}
		}
	}
}

// Zeros in the place of the end of a segment are damage where the next one says that the log goes on.
func TestZerosAtTheEndOfAClosedSegmentAreDamage(t *testing.T) {
	t.Parallel()
	for name, opt := range forms {
		opt.SegmentSize, opt.Describe = 4<<10, describeText
		d := newMemDisk()
		s := onModel(t, d, opt)
		put(t, s, batch("d", 1, "1;exam;;;one"))
		from, path := s.end(s.newest()), s.path(s.newest())
		for s.path(s.newest()) == path {
			put(t, s, batch("d", 1, "2;exam;;;"+noise(300)))
		}
		s.Close()
		clear(d.names[path].data[from:])
		s = onModel(t, d, opt)
		if _, _, err := s.SweepBlobs(t.Context()); err == nil {
			t.Errorf("%s: attachments are swept", name)
		}
		if n, st := len(drain(t, s, 0)), s.Stats(); n != 2 || st.Quarantined != 1 {
			t.Errorf("%s: %d records, %+v", name, n, st)
		}
		s.Close()
	}
}

// What a killed process wrote and did not sync is in the page cache, and must be synced by the one that finds it: a letter is not
// kept again, and for a letter that is closed the attachment is swept.
func TestLettersOfAKilledProcessAreSynced(t *testing.T) {
	for name, kill := range map[string]struct {
		last func(s *Spool, ref Ref) error // what the process was killed in
		want int                           // letters after a power cut
	}{
		"keeping": {func(s *Spool, ref Ref) error { return s.Dead(t.Context(), 0, ref, "no column", 1) }, 2},
		"closing": {func(s *Spool, ref Ref) error {
			for l := range s.DeadLetters("emr") {
				return s.Drop(l, "a test")
			}
			return nil
		}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			d := newMemDisk()
			opt := Options{}
			s := onModel(t, d, opt)
			put(t, s, batch("d", 1, "one", "two"))
			refs := drain(t, s, 0)
			if err := s.Dead(t.Context(), 0, refs[0], "no column", 1); err != nil {
				t.Fatal(err)
			}
			killed := false
			d.fail = func(_ int, op string) error {
				if killed = killed || op == "sync"; killed {
					return errPower
				}
				return nil
			}
			if err := kill.last(s, refs[1]); err == nil {
				t.Fatal("done by a process that was killed before it synced")
			}
			d.fail = nil
			s = onModel(t, d, opt)
			found := letters(t, s, "emr")
			if err := s.Dead(t.Context(), 0, refs[1], "no column", 1); err != nil {
				t.Fatal(err)
			}
			d = d.crash(nil, true)
			s = onModel(t, d, Options{})
			got := letters(t, s, "emr")
			if len(got) != kill.want || name == "closing" && len(found) != 0 {
				t.Fatalf("letters %q, want %d, the process before saw %q", got, kill.want, found)
			}
		})
	}
}

// A deleted segment can come back after a power cut without the one behind it, and so without what says where its log ended.
func TestDeletedSegmentComesBackWithItsTornEnd(t *testing.T) {
	for name, opt := range forms {
		d := newMemDisk()
		s := onModel(t, d, opt)
		put(t, s, batch("d", 1, "one", noise(600)))
		path := s.path(s.newest())
		s.Close()
		d.names[path].data = append(d.names[path].data, make([]byte, 2*sector)...) // of a group nothing but its size
		var last scene
		for range 3 {
			s = onModel(t, d, opt)
			put(t, s, batch("d", 1, noise(10)))
			last = look(t, d, s)
			s.Close()
		}
		delete(last.files, slices.Sorted(maps.Keys(last.files))[1])
		last.payloads = slices.Delete(last.payloads, 2, 3)
		if err := last.holds(t, opt, last.files); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A trailer that ends in a zero is not cut off with the zeros behind it, also when one of its bits is flipped; what else stands there
// ends with its last byte.
func TestEndOfTheLogInAFileWithRoom(t *testing.T) {
	const salt, room = 7, 4 * block
	var group []byte
	for next := uint64(1); len(group) == 0 || group[len(group)-1] != 0; next++ {
		group = seal(appendFrame(nil, header{kind: kindRecord, seq: next}, []byte("one")), salt, next)
	}
	end := func(log []byte) int {
		file := append(bytes.Clone(log), make([]byte, room)...)
		return int(logEnd(bytes.NewReader(file), salt, int64(len(file))))
	}
	if got := end(group); got != len(group) {
		t.Fatalf("%d of %d", got, len(group))
	}
	for bit := 8 * (len(group) - headerSize); bit < 8*len(group); bit++ {
		flipped := bytes.Clone(group)
		flipped[bit/8] ^= 1 << (bit % 8)
		if got := end(flipped); got != len(group) {
			t.Errorf("bit %d: %d of %d", bit, got, len(group))
		}
	}
	if got, want := end(group[:len(group)-headerSize]), len(group)-headerSize; got != want {
		t.Errorf("no trailer: %d, want %d", got, want)
	}
	if got := end(nil); got != 0 {
		t.Errorf("no log: %d", got)
	}
}
