package tdstest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Tokens, section 2.2.7.
const (
	tokenReturnStatus = 0x79
	tokenColumns      = 0x81
	tokenError        = 0xaa
	tokenInfo         = 0xab
	tokenLoginAck     = 0xad
	tokenRow          = 0xd1
	tokenNullRow      = 0xd2 // NBCROW: a bitmap says which values are NULL
	tokenEnv          = 0xe3
	tokenDone         = 0xfd
	tokenDoneProc     = 0xfe
	tokenDoneInProc   = 0xff
)

// Status of DONE.
const (
	doneMore      = 0x01
	doneError     = 0x02
	doneInTran    = 0x04
	doneCount     = 0x10
	doneAttention = 0x20
)

// Types of ENVCHANGE.
const (
	envDatabase   = 1
	envPacketSize = 4
	envBegin      = 8
	envCommit     = 9
	envRollback   = 10
	envReset      = 18
)

const fatalClass = 20 // class from which an error ends the connection

// env writes ENVCHANGE; the values come with their length.
func env(b []byte, kind byte, now, before []byte) []byte {
	b = binary.LittleEndian.AppendUint16(append(b, tokenEnv), uint16(1+len(now)+len(before)))
	return append(append(append(b, kind), now...), before...)
}

// varchar writes a text of at most 255 characters behind its length, B_VARCHAR of section 2.2.5.1.1.
func varchar(b []byte, s string) []byte {
	raw := ucs2(s)
	return append(append(b, byte(len(raw)/2)), raw...)
}

// packet puts the header of section 2.2.3.1 before a packet's body.
func packet(kind, status, number byte, body []byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte{kind, status}, uint16(packetHeader+len(body)))
	return append(append(b, 0, 0, number, 0), body...)
}

// answer is one message to the client, on its way.
type answer struct {
	s      *Session
	buf    []byte // tokens that have not left
	number byte   // of the next packet
	left   int    // bytes that have left
	fault  *Injection
}

func (s *Session) answer(tokens []byte) *answer { return &answer{s: s, buf: tokens, number: 1} }

// ending is a DONE, DONEPROC or DONEINPROC.
type ending struct {
	kind   byte
	status uint16
	count  uint64
}

func (a *answer) done(e ending) {
	if a.s.depth > 0 {
		e.status |= doneInTran
	}
	b := binary.LittleEndian.AppendUint16(append(a.buf, e.kind), e.status)
	b = append(b, 0, 0) // the command, which SQL Server does not document
	a.buf = binary.LittleEndian.AppendUint64(b, e.count)
}

func (e ending) more() ending {
	e.status |= doneMore
	return e
}

// reply sends a whole reply, as of a procedure or of a batch. A fatal error ends it, and so does an attention during a
// delay; another attention is confirmed when all has left, as if the server had noticed it late.
func (a *answer) reply(r Reply, proc bool) error {
	last, err := a.results(r.Results, proc)
	fatal := errors.Is(err, errFatal)
	switch {
	case err != nil && !fatal && !errors.Is(err, ErrCanceled):
		return err
	case proc && err == nil:
		last = a.returned(last, len(r.Results))
	}
	if a.s.finish() {
		last = a.confirm()
	}
	a.done(last)
	if err := a.end(); err != nil || !fatal {
		return err
	}
	return errFatal
}

var errFatal = errors.New("an error of a class that ends the connection")

// returned ends the results of a procedure with its return status, and gives the end of the procedure.
func (a *answer) returned(last ending, results int) ending {
	if results > 0 {
		a.done(last.more())
	}
	a.buf = binary.LittleEndian.AppendUint32(append(a.buf, tokenReturnStatus), 0)
	return ending{kind: tokenDoneProc, status: last.status & doneError}
}

// confirm gives the end of an answer to which an attention came, section 2.2.1.7.
func (a *answer) confirm() ending {
	if a.s.xactAbort && a.s.InTransaction() {
		a.s.Rollback() //nolint:errcheck // there is a transaction
		a.buf, a.s.changes = append(a.buf, a.s.changes...), nil
	}
	return ending{kind: tokenDone, status: doneAttention}
}

// results writes all of them but the end of the last, which it returns.
func (a *answer) results(results []Result, proc bool) (last ending, err error) {
	kind := byte(tokenDone)
	if proc {
		kind = tokenDoneInProc
	}
	last.kind = kind
	for i, res := range results {
		if i > 0 {
			a.done(last.more())
		}
		if last, err = a.result(res); err != nil {
			return last, err
		}
		last.kind = kind
	}
	return last, nil
}

// result writes one result and returns its end: ErrCanceled and errFatal ask for it now.
func (a *answer) result(res Result) (e ending, err error) {
	if err := a.pause(res.Delay); err != nil {
		return e, err
	}
	if res.Affected > 0 {
		e = ending{status: doneCount, count: uint64(res.Affected)}
	}
	class := a.errors(res.Errors)
	if res.Columns != nil {
		e = ending{status: doneCount, count: uint64(len(res.Rows))}
		bad, err := a.rows(res)
		if err != nil {
			return e, err
		}
		if bad != nil {
			class = a.errors(Fail(bad).Results[0].Errors)
		}
	}
	if class > 10 {
		e = ending{status: doneError}
	}
	if class >= fatalClass {
		return ending{kind: tokenDone, status: doneError}, errFatal
	}
	return e, nil
}

// rows writes columns and rows. An error of the script is bad, and what was written before it stands.
func (a *answer) rows(res Result) (bad, err error) {
	types := make([]typeInfo, len(res.Columns))
	for i, c := range res.Columns {
		if types[i], bad = parseType(c.Type); bad != nil {
			return fmt.Errorf("column %s: %w", c.Name, bad), nil
		}
	}
	a.buf = binary.LittleEndian.AppendUint16(append(a.buf, tokenColumns), uint16(len(types)))
	for i, t := range types {
		a.buf = append(a.buf, 0, 0, 0, 0, 1, 0) // user type; flags: may be NULL
		a.buf = varchar(t.info(a.buf), res.Columns[i].Name)
	}
	for n, row := range res.Rows {
		before := len(a.buf)
		if a.buf, bad = appendRow(a.buf, types, row); bad != nil {
			a.buf = a.buf[:before]
			return fmt.Errorf("row %d: %w", n, bad), nil
		}
		if err := a.flush(); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// appendRow writes ROW, or NBCROW if a value is NULL.
func appendRow(b []byte, types []typeInfo, row []any) ([]byte, error) {
	if len(row) != len(types) {
		return b, fmt.Errorf("%d values for %d columns", len(row), len(types))
	}
	sparse := slices.Contains(row, nil)
	if sparse {
		bits := make([]byte, (len(row)+7)/8)
		for i, v := range row {
			if v == nil {
				bits[i/8] |= 1 << (i % 8)
			}
		}
		b = append(append(b, tokenNullRow), bits...)
	} else {
		b = append(b, tokenRow)
	}
	for i, v := range row {
		if v == nil {
			continue
		}
		var err error
		if b, err = types[i].put(b, v); err != nil {
			return b, fmt.Errorf("column %d: %w", i, err)
		}
	}
	return b, nil
}

// errors writes ERROR or INFO for each, and returns the highest class.
func (a *answer) errors(errs []Error) (class byte) {
	for _, e := range errs {
		if e.cause != nil {
			a.s.srv.blame(e.cause)
		}
		b := binary.LittleEndian.AppendUint32(nil, uint32(e.Number))
		b = append(b, e.State, e.Class)
		message := ucs2(e.Message)
		b = append(binary.LittleEndian.AppendUint16(b, uint16(len(message)/2)), message...)
		b = varchar(varchar(b, "tdstest"), "")
		b = binary.LittleEndian.AppendUint32(b, uint32(e.Line))
		token := byte(tokenInfo)
		if e.Class > 10 {
			token = tokenError
		}
		a.buf = append(binary.LittleEndian.AppendUint16(append(a.buf, token), uint16(len(b))), b...)
		class = max(class, e.Class)
	}
	return class
}

// pause sends what there is and waits, if there is a delay.
func (a *answer) pause(d time.Duration) error {
	if d <= 0 {
		return nil
	}
	if err := a.flush(); err != nil {
		return err
	}
	if len(a.buf) > 0 {
		if err := a.send(packet(msgReply, 0, a.number, a.buf)); err != nil {
			return err
		}
		a.buf = nil
	}
	return a.s.Wait(d)
}

// flush sends the packets that are full.
func (a *answer) flush() error {
	for room := a.s.size - packetHeader; len(a.buf) > room; a.buf = a.buf[room:] {
		if err := a.send(packet(msgReply, 0, a.number, a.buf[:room])); err != nil {
			return err
		}
	}
	return nil
}

// end sends the rest; a fault that is due behind the last byte strikes.
func (a *answer) end() error {
	if err := a.flush(); err != nil {
		return err
	}
	if err := a.send(packet(msgReply, statusEnd, a.number, a.buf)); err != nil {
		return err
	}
	return a.s.strike(a.fault)
}

// send sends a packet, or what a fault lets pass of it.
func (a *answer) send(b []byte) error {
	a.number++
	if i := a.fault; i != nil && a.left+len(b) > i.Bytes {
		pass := b[:max(i.Bytes-a.left, 0)]
		a.fault = nil
		if err := errors.Join(a.write(pass), a.s.strike(i)); err != nil {
			return err
		}
		b = b[len(pass):]
	}
	return a.write(b)
}

func (a *answer) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	a.left += len(b)
	_, err := a.s.conn.Write(b)
	return err
}
