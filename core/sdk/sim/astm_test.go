package sim_test

import (
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"

	"github.com/hostd/hostd/core/sdk/sim"
)

// Control characters of ASTM E1381 (CLSI LIS01-A2).
const (
	enq, ack, nak, eot = "\x05", "\x06", "\x15", "\x04"
	stx, etb, etx      = "\x02", "\x17", "\x03"
)

// astmFrame is a frame of E1381, section 6.3: STX, number, text, ETB or ETX, checksum, CR LF.
func astmFrame(number int, text, end string) string {
	body := fmt.Sprint(number%8) + text + end
	sum := byte(0)
	for i := range len(body) {
		sum += body[i]
	}
	return fmt.Sprintf("%s%s%02X\r\n", stx, body, sum)
}

// TestASTM scripts an analyser as E1381 has it: it asks for the line, is busy-waited once, sends a frame whose checksum is
// wrong, sends it again after the NAK, sends one in pieces, one a second time (its ACK was lost), and ends.
func TestASTM(t *testing.T) {
	frames := []string{
		astmFrame(1, "H|\\^&|||SYNTHLAB\r", etx), astmFrame(2, "P|1||S-0001\r", etb), astmFrame(3, "R|1|^^^GLU|5.4|mmol/L\r", etx), astmFrame(4, "L|1|N\r", etx),
	}
	analyser := func(l *sim.Line) {
		for l.Say(enq); l.Expect(ack, nak) == nak; l.Say(enq) {
			l.Wait(10e9) // section 6.2.4: at least 10 s
		}
		l.Spoil(frames[0])
		l.Expect(nak)
		for i, f := range frames {
			switch i {
			case 1:
				l.Split(f, 1e6)
				l.Expect(ack)
			default:
				if !l.Deliver(f, ack, nak, 6) {
					l.Say(eot)
					return
				}
			}
		}
		l.Deliver(frames[3], ack, nak, 6) // the ACK got lost: the same frame once more
		l.Say(eot)
	}
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{}
		play(t, sim.Options{Seed: 3}, analyser, r.run)
		if fmt.Sprint(r.texts) != fmt.Sprint([]string{"H|\\^&|||SYNTHLAB\r", "P|1||S-0001\r", "R|1|^^^GLU|5.4|mmol/L\r", "L|1|N\r"}) || r.naks != 2 || r.again != 1 || !r.over {
			t.Errorf("%+v", r)
		}
	})
	t.Run("given up", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := &receiver{refuses: true}
			play(t, sim.Options{Seed: 3}, analyser, r.run)
			if len(r.texts) > 0 || r.naks != 8 || !r.over {
				t.Errorf("%+v", r)
			}
		})
	})
}

// receiver is the driver's side, as small as the test needs it.
type receiver struct {
	refuses     bool // every frame
	texts       []string
	naks, again int
	over        bool
	busy        bool // has been
}

func (r *receiver) run(conn net.Conn) {
	next := 1
	for one := make([]byte, 1); ; {
		if _, err := io.ReadFull(conn, one); err != nil {
			return
		}
		switch string(one) {
		case enq:
			if !r.busy {
				r.busy = true
				r.answer(conn, nak)
			} else {
				r.answer(conn, ack)
			}
		case stx:
			frame := stx
			for frame[len(frame)-1] != '\n' {
				if _, err := io.ReadFull(conn, one); err != nil {
					return
				}
				frame += string(one)
			}
			number, text, end := int(frame[1]-'0'), frame[2:len(frame)-5], frame[len(frame)-5:len(frame)-4]
			switch good := !r.refuses && frame == astmFrame(number, text, end); {
			case good && number == next:
				next++
				r.texts = append(r.texts, text)
				r.answer(conn, ack)
			case good && number == next-1:
				r.again++
				r.answer(conn, ack)
			default:
				r.answer(conn, nak)
			}
		case eot:
			r.over = true
		}
	}
}

func (r *receiver) answer(conn net.Conn, text string) {
	if text == nak {
		r.naks++
	}
	conn.Write([]byte(text))
}
