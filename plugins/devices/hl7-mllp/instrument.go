package main

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// instrument makes the messages of an eye clinic's devices about invented people: the n-th one is the same whenever it is
// asked for.
type instrument struct {
	seed     uint64
	size     int  // bytes of a message, at least; a comment fills it up
	numbered bool // the patient's id is K- and the message's number
	enhanced bool // an accept reply is asked for, and an application reply
}

// control is the message's MSH-10.
func (i *instrument) control(n int) string { return fmt.Sprintf("S%x-%d", i.seed&0xffffff, n) }

// message is the n-th one, from 1, of size bytes at least, under the control id. Segments end with CR.
func (i *instrument) message(n, size int, control string) []byte {
	r := rand.New(rand.NewPCG(i.seed, uint64(n)))
	at := time.Date(2025, 3, 24, 8, 0, 0, 0, time.UTC).Add(time.Duration(n) * time.Second).Format("20060102150405")
	patient := fmt.Sprintf("S-%06d", r.IntN(1_000_000))
	if i.numbered {
		patient = numberedID(n)
	}
	acks := "|"
	if i.enhanced {
		acks = "AL|AL"
	}
	var b strings.Builder
	b.Grow(max(size, 1024) + 64)
	fmt.Fprintf(&b, "MSH|^~\\&|EYESIM|CLINIC01|HOSTD|CLINIC01|%s||ORU^R01^ORU_R01|%s|P|2.5.1|||%s||UNICODE UTF-8\r", at, control, acks)
	fmt.Fprintf(&b, "PID|1||%s^^^CLINIC01^MR||Invented^Probe||19700315|F\r", patient)
	fmt.Fprintf(&b, "OBR|1||EX-%06d|autoref^Autorefraction^99EYE|||%s||||||||||||||||||F\r", n, at)
	row := 0
	for _, eye := range []string{"R", "L"} {
		for _, o := range []struct{ code, value, unit string }{
			{"sphere", fmt.Sprintf("%+.2f", float64(r.IntN(41)-20)/4), "[diop]"},
			{"cylinder", fmt.Sprintf("%+.2f", -float64(r.IntN(9))/4), "[diop]"},
			{"axis", fmt.Sprint(r.IntN(181)), "deg"},
		} {
			row++
			fmt.Fprintf(&b, "OBX|%d|NM|%s^%s^99EYE|%s.0|%s|%s^^UCUM|||||F|||%s|||autoref^^99EYE|SN-4410^ARK\r", row, o.code, o.code, eye, o.value, o.unit, at)
		}
	}
	if more := size - b.Len() - len("NTE|1||\r"); more > 0 {
		b.WriteString("NTE|1||" + strings.Repeat(".", more) + "\r")
	}
	return []byte(b.String())
}

// numberedID is the patient of the n-th message where they are numbered.
func numberedID(n int) string { return fmt.Sprintf("K-%06d", n) }
