// Teller is a device that listens for an instrument's lines, STX ID NAME VALUE ETX, and answers each with ACK when it is
// stored: the smallest driver of a byte stream.
package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hostd/hostd/core/sdk"
	"github.com/hostd/hostd/core/sdk/serve"
	"github.com/hostd/hostd/core/sdk/sim"
)

type teller struct {
	Listen string `setting:"listen,required" help:"address on which the instrument finds it"`

	env sdk.Env
	ln  net.Listener

	mu   sync.Mutex
	raw  net.Conn           // guarded by mu: the connection itself
	conn io.ReadWriteCloser // nil while there is none
	in   *bufio.Reader
}

func (d *teller) Open(_ context.Context, env sdk.Env, _ sdk.Position) (err error) {
	d.env = env
	if err := env.Settings.Decode(d); err != nil {
		return err
	}
	d.ln, err = net.Listen("tcp", d.Listen)
	if err == nil {
		env.Go(func(ctx context.Context) error { <-ctx.Done(); d.hangUp(); return nil })
	}
	return err
}

// hangUp ends a Read that waits.
func (d *teller) hangUp() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ln.Close()
	if d.raw != nil {
		d.raw.Close()
	}
}

func (d *teller) Read(ctx context.Context) (sdk.Batch, error) {
	for {
		if d.conn == nil {
			raw, err := d.ln.Accept()
			if err != nil {
				return sdk.Batch{}, errors.Join(ctx.Err(), err)
			}
			d.mu.Lock()
			d.raw = raw
			d.mu.Unlock()
			d.conn = d.env.Wire("port", raw)
			d.in = bufio.NewReader(d.conn)
		}
		line, err := d.in.ReadString('\x03')
		if err == nil {
			sum := sha256.Sum256([]byte(line))
			return sdk.Batch{Records: []sdk.Record{{ID: hex.EncodeToString(sum[:8]), Kind: "exam.line", Time: time.Unix(0, 0), Data: []byte(line)}}, Next: "1"}, nil
		}
		d.conn.Close() // the instrument has hung up, and calls again
		d.conn = nil
		if ctx.Err() != nil {
			return sdk.Batch{}, ctx.Err()
		}
	}
}

func (d *teller) Ack(context.Context, sdk.Position) error {
	_, err := d.conn.Write([]byte("\x06"))
	return err
}

func (d *teller) Close(context.Context) error {
	if d.ln != nil {
		d.hangUp()
	}
	if d.conn != nil {
		d.conn.Close()
		d.conn = nil
	}
	return nil
}

// simulate is an instrument with one result for each argument behind the address.
func simulate(ctx context.Context, args []string, _ io.Reader, out io.Writer) error {
	if len(args) == 0 {
		return serve.Usage(errors.New("say where the driver listens, and what the instrument tells"))
	}
	conn, err := sim.Dial(ctx, args[0])
	if err != nil {
		return err
	}
	defer conn.Close()
	return sim.Play(ctx, conn, sim.Options{Seed: 1}, func(l *sim.Line) {
		for _, text := range args[1:] {
			l.Split("\x02"+text+"\x03", time.Millisecond)
			l.Expect("\x06")
			fmt.Fprintln(out, "stored")
		}
	})
}

func main() {
	serve.Device(&teller{}, sdk.Manifest{
		Name: "teller", Version: "1.0.0", Identity: "SHA-256 of the line", LossWindow: "none: the instrument waits for ACK", Wire: true,
	}, serve.Simulate(simulate))
}
