package tdstest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Types of messages, section 2.2.3.1.1.
const (
	msgBatch     = 1
	msgRPC       = 3
	msgReply     = 4
	msgAttention = 6
	msgBulk      = 7
	msgTran      = 14
	msgLogin     = 16
	msgPrelogin  = 18
)

// Bits of a packet's status, section 2.2.3.1.2.
const (
	statusEnd       = 0x01
	statusIgnore    = 0x02
	statusReset     = 0x08
	statusResetKeep = 0x10 // reset, but the transaction stays
)

const (
	packetHeader = 8
	packetSize   = 4096     // until the login is answered
	maxMessage   = 64 << 20 // a request; hostd's are a few MiB at most
)

// Kind is what sort of request arrived.
type Kind int

// Batch is text without parameters; RPC is a procedure, mostly sp_executesql with text and parameters; Begin, Commit and
// Rollback are requests of the transaction manager, as database/sql makes them; Bulk is the rows of a bulk load.
const (
	Batch Kind = iota + 1
	RPC
	Begin
	Commit
	Rollback
	Bulk
)

// Param is one parameter of an RPC. Name has its @. Value is int64, float64, bool, string, []byte, time.Time or nil; a
// decimal and a uniqueidentifier come as text.
type Param struct {
	Name  string
	Value any
}

// Request is what a client asked for. A Script must not change it.
type Request struct {
	Session int // Session.ID of the one that asked
	Kind    Kind
	Text    string  // of a Batch or of sp_executesql; the INSERT BULK before a Bulk
	Proc    string  // procedure of an RPC: sp_executesql or another name
	Decl    string  // declaration of the parameters of sp_executesql
	Params  []Param // without the text and the declaration of sp_executesql
	Columns []string
	Rows    [][]any // of a Bulk, with one value per column, typed as those of Param
	Reset   bool    // the session was reset first

	status     byte   // of the first packet
	descriptor uint64 // transaction that the client believes to be in
}

// Param returns the value of the parameter of this name, such as "@p1", or nil.
func (r Request) Param(name string) any {
	for _, p := range r.Params {
		if strings.EqualFold(p.Name, name) {
			return p.Value
		}
	}
	return nil
}

// message is one request as it arrived: the packets of one type up to that with the end bit.
type message struct {
	kind, status byte // status of the first packet
	body         []byte
}

// readPacket reads one packet.
func readPacket(r io.Reader) (kind, status byte, body []byte, err error) {
	var head [packetHeader]byte
	if _, err = io.ReadFull(r, head[:]); err != nil {
		return 0, 0, nil, err
	}
	size := int(binary.BigEndian.Uint16(head[2:]))
	if size < packetHeader || size > maxPacket {
		return 0, 0, nil, fmt.Errorf("read packet: a size of %d", size)
	}
	body = make([]byte, size-packetHeader)
	_, err = io.ReadFull(r, body)
	return head[0], head[1], body, err
}

// readMessage reads a whole message of the login, where no attention can come between.
func readMessage(r io.Reader, want byte) ([]byte, error) {
	var m []byte
	for {
		kind, status, body, err := readPacket(r)
		if err == nil && (kind != want || len(m) > maxMessage) {
			err = fmt.Errorf("read message: type %d where %d is due", kind, want)
		}
		if err != nil {
			return nil, err
		}
		if m = append(m, body...); status&statusEnd != 0 {
			return m, nil
		}
	}
}

// cursor reads fields one after the other; after the first fault it gives zeros, and err says what was wrong.
type cursor struct {
	b   []byte
	err error
}

var errShort = errors.New("the message ends too early")

func (c *cursor) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

func (c *cursor) take(n int) []byte {
	if n < 0 || n > len(c.b) {
		c.fail(errShort)
	}
	if c.err != nil {
		return nil
	}
	b := c.b[:n:n]
	c.b = c.b[n:]
	return b
}

func (c *cursor) u8() byte    { return byte(number(c.take(1))) }
func (c *cursor) u16() uint16 { return uint16(number(c.take(2))) }
func (c *cursor) u32() uint32 { return uint32(number(c.take(4))) }
func (c *cursor) u64() uint64 { return number(c.take(8)) }

// chars reads n characters of UTF-16.
func (c *cursor) chars(n int) string { return text(c.take(2 * n)) }

// parse reads a request.
func parse(m message) (Request, error) {
	r := Request{status: m.status, Reset: m.status&(statusReset|statusResetKeep) != 0}
	c := &cursor{b: m.body}
	switch m.kind {
	case msgBatch:
		r.Kind = Batch
		r.descriptor = c.headers()
		r.Text = c.chars(len(c.b) / 2)
	case msgRPC:
		r.Kind = RPC
		r.descriptor = c.headers()
		c.rpc(&r)
	case msgTran:
		r.descriptor = c.headers()
		c.tran(&r)
	case msgBulk:
		r.Kind = Bulk
		c.bulk(&r)
	default:
		return r, fmt.Errorf("read request: a message of type %d is unknown to tdstest", m.kind)
	}
	if c.err != nil {
		return r, fmt.Errorf("read request of type %d: %w", m.kind, c.err)
	}
	return r, nil
}

// headers reads ALL_HEADERS, section 2.2.5.3, and returns the descriptor of the transaction.
func (c *cursor) headers() (descriptor uint64) {
	all := &cursor{b: c.take(int(c.u32()) - 4)}
	for len(all.b) > 0 && all.err == nil {
		one := &cursor{b: all.take(int(all.u32()) - 4)}
		if one.u16() == 2 { // transaction descriptor, section 2.2.5.3.2
			descriptor = one.u64()
		}
		all.fail(one.err)
	}
	c.fail(all.err)
	return descriptor
}

// rpc reads a procedure and its parameters, section 2.2.6.6.
func (c *cursor) rpc(r *Request) {
	if n := c.u16(); n != 0xffff {
		r.Proc = c.chars(int(n))
	} else if id := c.u16(); id == 10 {
		r.Proc = "sp_executesql"
	} else {
		c.fail(fmt.Errorf("procedure %d is unknown to tdstest", id))
	}
	c.u16() // options
	for len(c.b) > 0 && c.err == nil {
		p := Param{Name: c.chars(int(c.u8()))}
		c.u8() // by reference, default value: of no use here
		p.Value = c.value(c.typeInfo())
		r.Params = append(r.Params, p)
	}
	if r.Proc != "sp_executesql" || c.err != nil {
		return
	}
	for _, to := range []*string{&r.Text, &r.Decl} {
		if len(r.Params) > 0 {
			*to, _ = r.Params[0].Value.(string)
			r.Params = r.Params[1:]
		}
	}
}

// tran reads a request of the transaction manager, section 2.2.6.9; isolation and names are of no use here.
func (c *cursor) tran(r *Request) {
	switch n := c.u16(); n {
	case 5:
		r.Kind = Begin
	case 7:
		r.Kind = Commit
	case 8:
		r.Kind = Rollback
	default:
		c.fail(fmt.Errorf("transaction request %d is unknown to tdstest", n))
	}
}

// bulk reads COLMETADATA, ROW and DONE of a bulk load, section 2.2.6.1.
func (c *cursor) bulk(r *Request) {
	var types []typeInfo
	for c.err == nil && len(c.b) > 0 {
		switch token := c.u8(); token {
		case tokenColumns:
			for range c.u16() {
				c.take(6) // user type and flags
				types = append(types, c.typeInfo())
				r.Columns = append(r.Columns, c.chars(int(c.u8())))
			}
		case tokenRow:
			row := make([]any, len(types))
			for i, t := range types {
				row[i] = c.value(t)
			}
			r.Rows = append(r.Rows, row)
		case tokenDone:
			c.take(12)
		default:
			c.fail(fmt.Errorf("token %#x in a bulk load", token))
		}
	}
}
