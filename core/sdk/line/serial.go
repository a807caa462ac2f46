package line

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"go.bug.st/serial"
)

// readTime is how long a read of the port waits at most, so that it meets the end of the port on every system.
const readTime = time.Second

// lingering is how long closing may wait for what was written.
const lingering = time.Second

// openSerial opens the port; a pty, or an adapter without modem lines, is used without them.
func openSerial(s Settings, mode Mode, log *slog.Logger) (*port, error) {
	m, err := mode.serial()
	if err != nil {
		return nil, err
	}
	p, err := serial.Open(s.Port, m)
	if err != nil {
		return nil, explain(s.Port, mode, err)
	}
	if err := p.SetReadTimeout(readTime); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", s.Port, err), p.Close())
	}
	if err := errors.Join(p.SetDTR(s.DTR), p.SetRTS(s.RTS)); err != nil {
		log.Info("the port has no DTR and RTS to set", "port", s.Port, "err", err.Error())
	}
	return &port{Port: p, character: 11 * time.Second / time.Duration(m.BaudRate)}, nil
}

// explain says what to do about a port that does not open.
func explain(name string, mode Mode, err error) error {
	var pe *serial.PortError
	code := serial.PortErrorCode(-1)
	if errors.As(err, &pe) {
		code = pe.Code()
	}
	switch {
	case code == serial.PortBusy:
		return fmt.Errorf("open %s: another program has it open; end that program, or give the instrument another port", name)
	case code == serial.PermissionDenied || errors.Is(err, os.ErrPermission):
		return fmt.Errorf("open %s: this account may not; on Linux it must be in the group of the port (dialout), on Windows another program may have it open", name)
	case code == serial.PortNotFound || errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("open %s: there is no such port; there are: %s. Is the adapter plugged in?", name, ports())
	case code == serial.InvalidSpeed || code == serial.InvalidDataBits || code == serial.InvalidParity || code == serial.InvalidStopBits:
		return fmt.Errorf("open %s: it cannot do %s: %w", name, mode, err)
	}
	return fmt.Errorf("open %s: %w", name, err)
}

func ports() string {
	list, err := serial.GetPortsList()
	if err != nil || len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

// port is a serial port that writes whole texts, and does not close before they have left.
type port struct {
	serial.Port
	character time.Duration // that one takes: 11 bits at the most usual modes
	sent      atomic.Int64  // when what was written has left, in Unix nanoseconds
}

// Read waits until at least one byte is there.
func (p *port) Read(b []byte) (int, error) {
	for {
		if n, err := p.Port.Read(b); n > 0 || err != nil {
			return n, err
		}
	}
}

// Write writes all of b and waits until the system has sent it. A USB adapter may say so too early, hence sent.
func (p *port) Write(b []byte) (int, error) {
	p.sent.Store(time.Now().Add(time.Duration(len(b)) * p.character).UnixNano())
	for done := 0; done < len(b); {
		n, err := p.Port.Write(b[done:])
		done += n
		if err != nil {
			return done, err
		}
	}
	return len(b), p.Drain()
}

func (p *port) modem() (Modem, bool) {
	bits, err := p.GetModemStatusBits()
	if err != nil { // ENOTTY of a pty
		return Modem{}, false
	}
	return Modem{CTS: bits.CTS, DSR: bits.DSR}, true
}

// Close waits for what was written last.
func (p *port) Close() error {
	if left := time.Until(time.Unix(0, p.sent.Load())); left > 0 {
		time.Sleep(min(left, lingering))
	}
	return p.Port.Close()
}
