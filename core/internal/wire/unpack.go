package wire

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hostd/hostd/core/sdk"
)

// unpack reads what pack wrote. The texts and blobs of the changes are parts of in, which must not change any more. What
// it makes is bounded by the length of in: everything that is counted takes a byte at least.
func unpack(in []byte) ([]sdk.Change, error) {
	u := unpacker{in: in, size: len(in)}
	out := u.changes(mostNested)
	if !u.bad && len(u.in) > 0 {
		u.fail()
	}
	if u.bad {
		return nil, fmt.Errorf("%w: packed changes, at byte %d of %d", ErrMessage, u.at, u.size)
	}
	return out, nil
}

const leastChange = 3 // bytes of a change

// mostNested lets a Once inside of another arrive, so that the store refuses it by its name.
const mostNested = 2

// unpacker reads until something is wrong, and then nothing any more.
type unpacker struct {
	in    []byte
	size  int
	bad   bool
	at    int // where it is bad
	forms []*form
}

func (u *unpacker) fail() {
	if !u.bad {
		u.bad, u.at = true, u.size-len(u.in)
	}
	u.in = nil
}

func (u *unpacker) changes(nested int) []sdk.Change {
	n := u.count()
	if n > len(u.in)/leastChange {
		u.fail()
		return nil
	}
	out := make([]sdk.Change, n)
	for i := range out {
		if out[i] = u.change(nested); u.bad {
			return nil
		}
	}
	return out
}

func (u *unpacker) change(nested int) sdk.Change {
	switch mark := u.byte(); mark {
	case packInsert:
		f, values := u.rows(mark)
		return sdk.Insert{Table: f.table, Columns: f.columns, Values: values}
	case packUpsert:
		f, values := u.rows(mark)
		return sdk.Upsert{Table: f.table, Key: f.key, Columns: f.columns, Values: values}
	case packExec:
		e := sdk.Exec{SQL: strings.Clone(u.text()), Want: u.varint()} // a store keeps statements by their text
		e.Args = make([]any, u.count())
		for i := range e.Args {
			e.Args[i] = u.value(u.byte())
		}
		return e
	case packOnce:
		if nested == 0 {
			u.fail()
			return nil
		}
		o := sdk.Once{Source: u.text(), ID: u.text(), Hash: u.text(), Seq: u.uvarint()}
		o.Changes = u.changes(nested - 1)
		return o
	default:
		u.fail()
		return nil
	}
}

// rows reads the rows of one change, and the form that they have.
func (u *unpacker) rows(mark byte) (*form, []any) {
	f := u.form(mark)
	n, width := u.count(), len(f.columns)
	if width == 0 && n > 0 || n > len(u.in)/max(width, 1) {
		u.fail()
	}
	if u.bad {
		return f, nil
	}
	values := make([]any, n*width)
	for at := 0; at < len(values); at += width {
		row := values[at : at+width]
		for i := range row {
			switch mark := u.byte(); {
			case mark != packSame:
				row[i] = u.value(mark)
			case len(f.before) > 0:
				row[i] = f.before[i]
			default:
				u.fail()
			}
		}
		f.before = row
	}
	return f, values
}

// form is the one of the number, or a new one. Its names outlive the message, so they are copies.
func (u *unpacker) form(mark byte) *form {
	n := u.uvarint()
	if n > uint64(len(u.forms)) {
		u.fail()
		return &form{}
	}
	if n > 0 {
		f := u.forms[n-1]
		if f.mark != mark {
			u.fail()
		}
		return f
	}
	f := &form{mark: mark, table: string(u.bytes()), columns: u.names()}
	if mark == packUpsert {
		f.key = u.names()
	}
	u.forms = append(u.forms, f)
	return f
}

func (u *unpacker) names() []string {
	out := make([]string, u.count())
	for i := range out {
		out[i] = string(u.bytes())
	}
	return out
}

func (u *unpacker) value(mark byte) any {
	switch mark {
	case packNull:
		return nil
	case packFalse, packTrue:
		return mark == packTrue
	case packInteger:
		return u.varint()
	case packReal:
		return math.Float64frombits(u.fixed())
	case packText:
		return u.text()
	case packBlob:
		return u.bytes()
	case packTime:
		return time.Unix(0, int64(u.fixed())).UTC()
	default:
		u.fail()
		return nil
	}
}

func (u *unpacker) byte() byte {
	if len(u.in) == 0 {
		u.fail()
		return 0
	}
	b := u.in[0]
	u.in = u.in[1:]
	return b
}

func (u *unpacker) uvarint() uint64 {
	v, n := binary.Uvarint(u.in)
	if n <= 0 {
		u.fail()
		return 0
	}
	u.in = u.in[n:]
	return v
}

func (u *unpacker) varint() int64 {
	v, n := binary.Varint(u.in)
	if n <= 0 {
		u.fail()
		return 0
	}
	u.in = u.in[n:]
	return v
}

func (u *unpacker) fixed() uint64 {
	if len(u.in) < 8 {
		u.fail()
		return 0
	}
	v := binary.LittleEndian.Uint64(u.in)
	u.in = u.in[8:]
	return v
}

// count reads how many follow of what takes a byte each at least.
func (u *unpacker) count() int {
	n := u.uvarint()
	if n > uint64(len(u.in)) {
		u.fail()
		return 0
	}
	return int(n)
}

// bytes has a capacity of its own length: what is appended to it does not touch the message.
func (u *unpacker) bytes() []byte {
	n := u.count()
	out := u.in[:n:n]
	u.in = u.in[n:]
	return out
}

func (u *unpacker) text() string {
	b := u.bytes()
	if !utf8.Valid(b) {
		u.fail()
	}
	return text(b)
}
