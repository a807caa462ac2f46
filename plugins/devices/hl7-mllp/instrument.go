package main

import (
	"fmt"
	"math/rand/v2"
	"strconv"
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
func (i *instrument) control(n int) string {
	return fmt.Sprintf("S%x-%d", i.seed&0xffffff, n)
}

// message is the n-th one, from 1, of size bytes at least, under the control id. Segments end with CR. It is put together without fmt,
// since a client that measures a server must not be what is slow.
func (i *instrument) message(n, size int, control string) []byte {
	var source rand.PCG
	source.Seed(i.seed, uint64(n))
	r := rand.New(&source)
	at := time.Date(2025, 3, 24, 8, 0, 0, 0, time.UTC).Add(time.Duration(n) * time.Second).Format("20060102150405")
	b := make([]byte, 0, max(size, 1024)+64)
	acks := "|"
	if i.enhanced {
		acks = "AL|AL"
	}
	b = join(b, "MSH|^~\\&|EYESIM|CLINIC01|HOSTD|CLINIC01|", at, "||ORU^R01^ORU_R01|", control, "|P|2.5.1|||", acks, "||UNICODE UTF-8\rPID|1||")
	if patient := r.IntN(1_000_000); i.numbered {
		b = join(b, numberedID(n))
	} else {
		b = digits(join(b, "S-"), patient, 6)
	}
	b = join(b, "^^^CLINIC01^MR||Invented^Probe||19700315|F\rOBR|1||EX-")
	b = digits(b, n, 6)
	b = join(b, "|autoref^Autorefraction^99EYE|||", at, "||||||||||||||||||F\r")
	row := 0
	for _, eye := range []string{"R", "L"} {
		for _, code := range []string{"sphere", "cylinder", "axis"} {
			row++
			b = strconv.AppendInt(join(b, "OBX|"), int64(row), 10)
			b = join(b, "|NM|", code, "^", code, "^99EYE|", eye, ".0|")
			unit := "[diop]"
			switch code {
			case "sphere":
				b = dioptres(b, r.IntN(41)-20)
			case "cylinder":
				b = dioptres(b, -r.IntN(9))
			default:
				b, unit = strconv.AppendInt(b, int64(r.IntN(181)), 10), "deg"
			}
			b = join(b, "|", unit, "^^UCUM|||||F|||", at, "|||autoref^^99EYE|SN-4410^ARK\r")
		}
	}
	if more := size - len(b) - len("NTE|1||\r"); more > 0 {
		b = join(b, "NTE|1||")
		for range more {
			b = append(b, '.')
		}
		b = append(b, '\r')
	}
	return b
}

func join(b []byte, parts ...string) []byte {
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// digits appends n with width digits at least.
func digits(b []byte, n, width int) []byte {
	for limit := 10; width > 1; width-- {
		if n < limit {
			b = append(b, '0')
		}
		limit *= 10
	}
	return strconv.AppendInt(b, int64(n), 10)
}

// dioptres appends so many quarters of a dioptre, with a sign and two decimals.
func dioptres(b []byte, quarters int) []byte {
	sign := byte('+')
	if quarters < 0 {
		sign, quarters = '-', -quarters
	}
	b = strconv.AppendInt(append(b, sign), int64(quarters/4), 10)
	return append(append(b, '.'), []string{"00", "25", "50", "75"}[quarters%4]...)
}

// numberedID is the patient of the n-th message where they are numbered.
func numberedID(n int) string { return fmt.Sprintf("K-%06d", n) }
