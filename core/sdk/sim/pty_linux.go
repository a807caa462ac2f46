package sim

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// PTY is a serial line without a cable: the instrument speaks through the PTY, the driver opens its Path as its port. It
// has no parity, no speed and no modem lines; a driver must take a failure to set these as a warning.
type PTY struct {
	*os.File
	slave *os.File // kept open, so that the line lives while no driver has it open
	path  string
}

// OpenPTY makes a line in raw mode: bytes pass as they are. Only Linux has it, see ErrNoPTY.
func OpenPTY() (*PTY, error) {
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open pty: %w", err)
	}
	p := &PTY{File: master}
	if err := p.openSlave(); err != nil {
		master.Close()
		return nil, fmt.Errorf("open pty: %w", err)
	}
	return p, nil
}

func (p *PTY) openSlave() error {
	raw, err := p.SyscallConn()
	if err != nil {
		return err
	}
	number := 0
	var fault error
	err = raw.Control(func(fd uintptr) {
		if fault = unix.IoctlSetPointerInt(int(fd), unix.TIOCSPTLCK, 0); fault == nil {
			number, fault = unix.IoctlGetInt(int(fd), unix.TIOCGPTN)
		}
	})
	if err == nil {
		err = fault
	}
	if err != nil {
		return err
	}
	p.path = "/dev/pts/" + strconv.Itoa(number)
	if p.slave, err = os.OpenFile(p.path, os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		return err
	}
	if err := makeRaw(int(p.slave.Fd())); err != nil {
		p.slave.Close()
		return err
	}
	return nil
}

// makeRaw is cfmakeraw: no echo, no lines, no signals, eight bits.
func makeRaw(fd int) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	return unix.IoctlSetTermios(fd, unix.TCSETS, t)
}

// Path is the file that the driver opens.
func (p *PTY) Path() string { return p.path }

// Close ends the line: a driver that has it open hears an error, as when an adapter is pulled out.
func (p *PTY) Close() error {
	p.slave.Close()
	return p.File.Close()
}
