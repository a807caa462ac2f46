package line

import (
	"context"
	"io"
	"testing"

	"github.com/hostd/hostd/core/sdk"
	"go.bug.st/serial"
)

// lined is a serial port of which only the modem lines are asked.
type lined struct {
	serial.Port
	bits serial.ModemStatusBits
}

func (l *lined) GetModemStatusBits() (*serial.ModemStatusBits, error) { return &l.bits, nil }

// plain is a line that is seen through a capture, and has no modem lines of its own.
type plain struct{ io.ReadWriteCloser }

// The modem lines are the port's own, also while a capture sits on it.
func TestModem(t *testing.T) {
	want := Modem{CTS: true}
	p := &port{Port: &lined{bits: serial.ModemStatusBits{CTS: true, DCD: true}}}
	env := sdk.Env{
		Go:   func(func(context.Context) error) {},
		Wire: func(_ string, conn io.ReadWriteCloser) io.ReadWriteCloser { return plain{conn} },
	}
	if got, ok := On(env, p).Modem(); !ok || got != want {
		t.Errorf("Modem = %+v, %v; want %+v", got, ok, want)
	}
}
