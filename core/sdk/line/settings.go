package line

import (
	"cmp"
	"fmt"
	"net"
	"strings"

	"go.bug.st/serial"
)

// Settings are what a configuration says of the line. What it leaves out is the profile's, see Open.
type Settings struct {
	Port     string  `setting:"port,required" help:"serial port, such as COM3, /dev/ttyUSB0 or a name that stays: /dev/serial/by-id/...; or tcp://HOST:PORT of a serial server"`
	Baud     int     `setting:"baud" default:"0" unit:"bit/s" min:"0" max:"4000000" help:"speed, as it is set at the instrument; 0 is the profile's"`
	DataBits int     `setting:"data_bits" default:"0" min:"0" max:"8" help:"bits of a character, 5 to 8; 0 is the profile's"`
	Parity   string  `setting:"parity" enum:"none,odd,even,mark,space" help:"parity bit; the profile's where it is left out"`
	StopBits float64 `setting:"stop_bits" default:"0" min:"0" max:"2" help:"1, 1.5 or 2; 0 is the profile's"`
	DTR      bool    `setting:"dtr" default:"true" help:"raise DTR: some instruments say nothing without it"`
	RTS      bool    `setting:"rts" default:"true" help:"raise RTS: some instruments say nothing without it"`
}

// Mode is how a character travels. The zero Mode is 9600 8N1.
type Mode struct {
	Baud     int     // bits a second; 0 is 9600
	DataBits int     // 5 to 8; 0 is 8
	Parity   string  // none, odd, even, mark or space; empty is none
	StopBits float64 // 1, 1.5 or 2; 0 is 1
}

// String is the short form: 9600 8E1.
func (m Mode) String() string {
	m = m.over(Mode{})
	return fmt.Sprintf("%d %d%s%g", m.Baud, m.DataBits, strings.ToUpper(m.Parity[:1]), m.StopBits)
}

// over is m, with what it leaves out from below, and what both leave out as 9600 8N1.
func (m Mode) over(below Mode) Mode {
	return Mode{
		Baud:     cmp.Or(m.Baud, below.Baud, 9600),
		DataBits: cmp.Or(m.DataBits, below.DataBits, 8),
		Parity:   cmp.Or(m.Parity, below.Parity, "none"),
		StopBits: cmp.Or(m.StopBits, below.StopBits, 1),
	}
}

// Mode is what holds on the line: what was configured, else the profile's.
func (s Settings) Mode(profile Mode) Mode {
	return Mode{Baud: s.Baud, DataBits: s.DataBits, Parity: s.Parity, StopBits: s.StopBits}.over(profile)
}

// network gives the address of a serial server; false where Port is a serial port.
func (s Settings) network() (address string, tcp bool, err error) {
	address, tcp = strings.CutPrefix(s.Port, "tcp://")
	if !tcp {
		if strings.Contains(s.Port, "://") {
			return "", false, fmt.Errorf("port %q: a serial port, or tcp://HOST:PORT", s.Port)
		}
		return "", false, nil
	}
	if _, port, err := net.SplitHostPort(address); err != nil || port == "" {
		return "", true, fmt.Errorf("port %q: write tcp://HOST:PORT, such as tcp://192.168.1.20:4001", s.Port)
	}
	return address, true, nil
}

// serial is the mode as the library has it.
func (m Mode) serial() (*serial.Mode, error) {
	out := &serial.Mode{BaudRate: m.Baud, DataBits: m.DataBits}
	var known bool
	if out.Parity, known = map[string]serial.Parity{
		"none": serial.NoParity, "odd": serial.OddParity, "even": serial.EvenParity, "mark": serial.MarkParity, "space": serial.SpaceParity,
	}[m.Parity]; !known {
		return nil, fmt.Errorf("parity %q: none, odd, even, mark or space", m.Parity)
	}
	if out.StopBits, known = map[float64]serial.StopBits{
		1: serial.OneStopBit, 1.5: serial.OnePointFiveStopBits, 2: serial.TwoStopBits,
	}[m.StopBits]; !known {
		return nil, fmt.Errorf("stop_bits %g: 1, 1.5 or 2", m.StopBits)
	}
	if m.DataBits < 5 {
		return nil, fmt.Errorf("data_bits %d: 5 to 8", m.DataBits)
	}
	return out, nil
}
