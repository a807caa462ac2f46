// Package load is what the origin's clinic asks of its database while a patient is there, as far as is known of it: a
// visit made 230 accesses, 180 with the origin's own cache, and asked for the same exam 40 to 50 times. The rest is
// a model, and it is a hard one for a cache: a visit goes through ten stations, results come in one by one, and what is
// read stands between what is written.
package load

import (
	"fmt"
	"time"
)

// Stations that a visit goes through.
const Stations = 10

// Op is a kind of access.
type Op int

// Accesses of a visit, with how many there are.
const (
	ReadExam         Op = iota // 46 of the visit's exam and 6 of the one before it: all that the origin's cache knew
	ReadLock                   // 20: is the exam open elsewhere; no answer may be old
	ReadPatient                // 40
	ReadDevice                 // 20, of four devices
	ReadCodes                  // 30: the list of codes
	ReadObservations           // 28: what was measured so far
	WriteObservation           // 30
	WriteExam                  // 10: the exam goes on to the next station
)

// Step is one access; Key is a number of an exam, patient, device or list.
type Step struct {
	Op  Op
	Key int64
}

// previous is added to the number of a visit's exam for the patient's exam before it.
const previous = 1_000_000

// Visit gives the accesses of visit n in their order.
func Visit(n int64) (steps []Step) {
	add := func(times int, op Op, key int64) {
		for range times {
			steps = append(steps, Step{op, key})
		}
	}
	for s := range int64(Stations) {
		for part := range 3 { // a result, and who looks at it
			add(1, WriteObservation, n)
			if s < 8 || part < 2 {
				add(1, ReadObservations, n)
			}
			add(1, ReadExam, n)
			add(1, ReadCodes, 1)
		}
		add(4, ReadPatient, n)
		add(2, ReadDevice, s%4)
		add(2, ReadLock, n)
		add(1, WriteExam, n)
		add(1, ReadExam, n)
		if s < 6 {
			add(1, ReadExam, n)
			add(1, ReadExam, previous+n)
		}
	}
	return steps
}

// Query is how a read is asked; its answer is one number. Tables are those that it rests on, none for an answer that may not be old.
type Query struct {
	SQL    string
	Tables []string
}

// Queries by Op.
var Queries = map[Op]Query{
	ReadExam:         {"SELECT status FROM visit_exam WHERE id = ?", []string{"visit_exam"}},
	ReadLock:         {"SELECT count(*) FROM visit_exam WHERE id = ? AND status < 0", nil},
	ReadPatient:      {"SELECT count(*) FROM visit_patient WHERE id = ?", []string{"visit_patient"}},
	ReadDevice:       {"SELECT count(*) FROM visit_device WHERE id = ?", []string{"visit_device"}},
	ReadCodes:        {"SELECT count(*) FROM visit_code WHERE list = ?", []string{"visit_code"}},
	ReadObservations: {"SELECT count(*) FROM visit_observation WHERE exam = ?", []string{"visit_observation"}},
}

// Schema makes the tables.
const Schema = `
CREATE TABLE visit_exam (id INTEGER PRIMARY KEY, status INTEGER NOT NULL);
CREATE TABLE visit_patient (id INTEGER PRIMARY KEY);
CREATE TABLE visit_device (id INTEGER PRIMARY KEY);
CREATE TABLE visit_code (list INTEGER, code TEXT, PRIMARY KEY (list, code));
CREATE TABLE visit_observation (exam INTEGER, idx INTEGER, PRIMARY KEY (exam, idx));
INSERT INTO visit_device VALUES (0), (1), (2), (3);
INSERT INTO visit_code VALUES (1, 'SPH'), (1, 'CYL'), (1, 'AX'), (1, 'IOP');
`

// Seed is what is there of a visit before it begins.
func Seed(n int64) string {
	return fmt.Sprintf("INSERT INTO visit_exam VALUES (%d, 0), (%d, 9); INSERT INTO visit_patient VALUES (%d);", n, previous+n, n)
}

// CacheFor is how long an answer may be kept: the origin's 30 minutes.
const CacheFor = 30 * time.Minute

// Access is a way to the database.
type Access interface {
	Read(op Op, key int64) (int64, error)
	// Write puts an exam's new status, or adds its observation of that number.
	Write(op Op, key, value int64) error
}

// Report is what became of visits.
type Report struct {
	Steps int
	Stale int // answers that were older than what was written before they were asked for
}

// Run makes the visits, one after the other.
func Run(visits int, a Access) (r Report, err error) {
	for n := int64(1); n <= int64(visits); n++ {
		written := map[Op]int64{}
		for _, s := range Visit(n) {
			r.Steps++
			if s.Op >= WriteObservation {
				written[s.Op]++
				if err := a.Write(s.Op, s.Key, written[s.Op]); err != nil {
					return r, err
				}
				continue
			}
			got, err := a.Read(s.Op, s.Key)
			if err != nil {
				return r, err
			}
			if s.Key == n && (s.Op == ReadExam && got != written[WriteExam] || s.Op == ReadObservations && got != written[WriteObservation]) {
				r.Stale++
			}
		}
	}
	return r, nil
}
