package line

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/hostd/hostd/core/sdk"
)

// ErrSilence is the time in which nothing came. The line is well; the next call waits anew.
var ErrSilence = errors.New("nothing came over the line")

// dialTime is for a serial server's answer, and writeTime for it to take what is written.
const (
	dialTime  = 10 * time.Second
	writeTime = 5 * time.Second
)

// Port is an open line. It reads ahead, at most 64 KiB, so that bytes that come while a record is stored are there
// afterwards. One goroutine at a time may call Next and Discard, another one Write.
type Port struct {
	conn   io.ReadWriteCloser
	modem  func() (Modem, bool) // nil: there are no such lines
	chunks chan []byte
	end    error // why reading ended; set before chunks is closed
}

// Open connects. What the settings leave out is the profile's. The port passes through env.Wire under the name "port", and
// closes itself when env's session ends. An error says what is wrong and what to do about it.
func Open(ctx context.Context, env sdk.Env, s Settings, profile Mode) (*Port, error) {
	address, tcp, err := s.network()
	if err != nil {
		return nil, err
	}
	if !tcp {
		conn, err := openSerial(s, s.Mode(profile), env.Log)
		if err != nil {
			return nil, err
		}
		return On(env, conn), nil
	}
	d := net.Dialer{Timeout: dialTime, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3}}
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return On(env, network{conn}), nil
}

// On makes a Port of a connection that the driver opened itself, such as one that it accepted.
func On(env sdk.Env, conn io.ReadWriteCloser) *Port {
	p := &Port{conn: conn, chunks: make(chan []byte, 16)}
	if m, ok := conn.(interface{ modem() (Modem, bool) }); ok {
		p.modem = m.modem
	}
	if env.Wire != nil {
		p.conn = env.Wire("port", conn)
	}
	env.Go(func(ctx context.Context) error {
		<-ctx.Done()
		return conn.Close()
	})
	env.Go(p.read)
	return p
}

// read hands on what comes, until the line or ctx ends. It is no error of the device: what came before is to be read first.
func (p *Port) read(ctx context.Context) error {
	defer close(p.chunks)
	for {
		buf := make([]byte, 4<<10)
		n, err := p.conn.Read(buf)
		if n > 0 {
			select {
			case p.chunks <- buf[:n]:
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		if err != nil {
			p.end = err
			return nil //nolint:nilerr // Next gives it
		}
	}
}

// Next waits for bytes and returns those that came, at least one; the caller may keep them. After so much silence it returns
// ErrSilence (0 waits for ever), and ctx's error when that ends. Any other error is the end of the line: return it from
// Read, and the host opens the device again.
func (p *Port) Next(ctx context.Context, silence time.Duration) ([]byte, error) {
	var late <-chan time.Time
	if silence > 0 {
		t := time.NewTimer(silence)
		defer t.Stop()
		late = t.C
	}
	select {
	case b, more := <-p.chunks:
		if !more {
			return nil, p.gone()
		}
		return b, nil
	case <-late:
		return nil, ErrSilence
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *Port) gone() error {
	if errors.Is(p.end, io.EOF) {
		return errors.New("the other end closed the line")
	}
	return p.end
}

// Write returns when b is on its way: a serial port has sent it, a serial server has taken it. An error is the end of the line.
func (p *Port) Write(b []byte) (int, error) { return p.conn.Write(b) }

// Modem is what the other end says on the lines beside the data.
type Modem struct {
	CTS bool `json:"cts"` // clear to send
	DSR bool `json:"dsr"` // it is switched on
}

// Modem is the state of the lines now; false where there are none, as of a serial server, a pty and some adapters.
func (p *Port) Modem() (Modem, bool) {
	if p.modem == nil {
		return Modem{}, false
	}
	return p.modem()
}

// Discard forgets what came and was not read.
func (p *Port) Discard() {
	for {
		select {
		case _, more := <-p.chunks:
			if more {
				continue
			}
		default:
		}
		return
	}
}

// network is a TCP connection whose peer must take what is written in time.
type network struct{ net.Conn }

// Write sends b at once: net's connections have Nagle off.
func (n network) Write(b []byte) (int, error) {
	if err := n.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return 0, err
	}
	return n.Conn.Write(b)
}
