package tdstest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
)

// Types on the wire, section 2.2.5.4. Those of fixed length occur in parameters only.
const (
	typeNull           = 0x1f
	typeInt1           = 0x30
	typeBit            = 0x32
	typeInt2           = 0x34
	typeInt4           = 0x38
	typeFloat8         = 0x3e
	typeInt8           = 0x7f
	typeGUID           = 0x24
	typeIntN           = 0x26
	typeDate           = 0x28
	typeTime           = 0x29
	typeDateTime2      = 0x2a
	typeDateTimeOffset = 0x2b
	typeBitN           = 0x68
	typeDecimalN       = 0x6a
	typeNumericN       = 0x6c
	typeFloatN         = 0x6d
	typeDateTimeN      = 0x6f
	typeVarBinary      = 0xa5
	typeVarChar        = 0xa7
	typeBinary         = 0xad
	typeChar           = 0xaf
	typeNVarChar       = 0xe7
	typeNChar          = 0xef
)

const (
	isMax   = 0xffff // size of a (max) type, whose values are partially length-prefixed (PLP), section 2.2.5.2.3
	plpNull = math.MaxUint64
)

// collation is SQL_Latin1_General_CP1_CI_AS, section 2.2.5.1.2.
var collation = [5]byte{0x09, 0x04, 0xd0, 0x00, 0x34}

// typeInfo is the TYPE_INFO of a column or parameter, section 2.2.5.6.
type typeInfo struct {
	id          byte
	size        int // bytes
	prec, scale byte
}

// simple has every type as it is without arguments; an argument then changes scale, precision or size.
var simple = map[string]typeInfo{
	"tinyint": {id: typeIntN, size: 1}, "smallint": {id: typeIntN, size: 2}, "int": {id: typeIntN, size: 4}, "bigint": {id: typeIntN, size: 8},
	"bit": {id: typeBitN, size: 1}, "real": {id: typeFloatN, size: 4}, "float": {id: typeFloatN, size: 8},
	"date": {id: typeDate}, "datetime": {id: typeDateTimeN, size: 8}, "uniqueidentifier": {id: typeGUID, size: 16},
	"sysname": {id: typeNVarChar, size: 256},
	"time":    {id: typeTime, scale: 7}, "datetime2": {id: typeDateTime2, scale: 7}, "datetimeoffset": {id: typeDateTimeOffset, scale: 7},
	"decimal": {id: typeDecimalN, size: 17, prec: 18}, "numeric": {id: typeNumericN, size: 17, prec: 18},
	"char": {id: typeChar, size: 1}, "varchar": {id: typeVarChar, size: 1}, "nchar": {id: typeNChar, size: 2}, "nvarchar": {id: typeNVarChar, size: 2},
	"binary": {id: typeBinary, size: 1}, "varbinary": {id: typeVarBinary, size: 1},
}

// parseType reads a type as T-SQL declares it: bigint, nvarchar(50), varbinary(max), datetime2(3), decimal(10, 2).
func parseType(decl string) (typeInfo, error) {
	name, args, has := strings.Cut(strings.ToLower(strings.TrimSpace(decl)), "(")
	t, ok := simple[strings.TrimSpace(name)]
	if !ok {
		return t, fmt.Errorf("read type %q: unknown to tdstest", decl)
	}
	if !has {
		return t, nil
	}
	first, second, _ := strings.Cut(strings.TrimSuffix(strings.TrimSpace(args), ")"), ",")
	n, err := strconv.ParseUint(strings.TrimSpace(first), 10, 16)
	switch t.id {
	case typeTime, typeDateTime2, typeDateTimeOffset:
		t.scale = byte(n)
		if n > 7 {
			err = fmt.Errorf("scale %d", n)
		}
	case typeDecimalN, typeNumericN:
		t.prec = byte(n)
		if err == nil && second != "" {
			n, err = strconv.ParseUint(strings.TrimSpace(second), 10, 8)
			t.scale = byte(n)
		}
	case typeChar, typeVarChar, typeNChar, typeNVarChar, typeBinary, typeVarBinary:
		if t.size *= int(n); strings.TrimSpace(first) == "max" {
			t.size, err = isMax, nil
		}
	default:
		err = errors.New("it takes no arguments")
	}
	if err != nil {
		return t, fmt.Errorf("read type %q: %w", decl, err)
	}
	return t, nil
}

// info writes TYPE_INFO.
func (t typeInfo) info(b []byte) []byte {
	b = append(b, t.id)
	switch t.id {
	case typeDate:
	case typeTime, typeDateTime2, typeDateTimeOffset:
		b = append(b, t.scale)
	case typeDecimalN, typeNumericN:
		b = append(b, byte(t.size), t.prec, t.scale)
	case typeVarBinary, typeBinary:
		b = binary.LittleEndian.AppendUint16(b, uint16(t.size))
	case typeVarChar, typeChar, typeNVarChar, typeNChar:
		b = binary.LittleEndian.AppendUint16(b, uint16(t.size))
		b = append(b, collation[:]...)
	default:
		b = append(b, byte(t.size))
	}
	return b
}

// typeInfo reads TYPE_INFO.
func (c *cursor) typeInfo() (t typeInfo) {
	t.id = c.u8()
	switch t.id {
	case typeNull, typeDate:
	case typeInt1, typeBit:
		t.size = 1
	case typeInt2:
		t.size = 2
	case typeInt4:
		t.size = 4
	case typeInt8, typeFloat8:
		t.size = 8
	case typeTime, typeDateTime2, typeDateTimeOffset:
		t.scale = c.u8()
	case typeDecimalN, typeNumericN:
		t.size, t.prec, t.scale = int(c.u8()), c.u8(), c.u8()
	case typeVarBinary, typeBinary:
		t.size = int(c.u16())
	case typeVarChar, typeChar, typeNVarChar, typeNChar:
		t.size = int(c.u16())
		c.take(len(collation))
	case typeGUID, typeIntN, typeBitN, typeFloatN, typeDateTimeN:
		t.size = int(c.u8())
	default:
		c.fail(fmt.Errorf("type %#x is unknown to tdstest", t.id))
	}
	return t
}

// framing is how a value's length stands before it, section 2.2.5.2.
type framing int

const (
	fixed    framing = iota // not at all
	short                   // one byte, 0 is NULL
	long                    // two bytes, 0xffff is NULL
	partials                // PLP
)

func (t typeInfo) framing() framing {
	switch t.id {
	case typeNull, typeInt1, typeBit, typeInt2, typeInt4, typeInt8, typeFloat8:
		return fixed
	case typeVarBinary, typeBinary, typeVarChar, typeChar, typeNVarChar, typeNChar:
		if t.size == isMax {
			return partials
		}
		return long
	default:
		return short
	}
}

// value reads one value.
func (c *cursor) value(t typeInfo) any {
	var raw []byte // nil is NULL
	switch t.framing() {
	case fixed:
		raw = c.take(t.size)
	case short:
		if n := int(c.u8()); n > 0 {
			raw = c.take(n)
		}
	case long:
		if n := int(c.u16()); n != isMax {
			raw = c.take(n)
		}
	case partials:
		raw = c.partials()
	}
	if raw == nil || c.err != nil || t.id == typeNull {
		return nil
	}
	v, err := t.decode(raw)
	c.fail(err)
	return v
}

// partials reads a PLP value, whose total length may be unknown.
func (c *cursor) partials() []byte {
	if c.u64() == plpNull {
		return nil
	}
	raw := []byte{}
	for n := int(c.u32()); n > 0 && c.err == nil; n = int(c.u32()) {
		raw = append(raw, c.take(n)...)
	}
	return raw
}

// put writes one value with its framing; a nil value is NULL.
func (t typeInfo) put(b []byte, v any) ([]byte, error) {
	if v == nil {
		switch t.framing() {
		case partials:
			return binary.LittleEndian.AppendUint64(b, plpNull), nil
		case long:
			return append(b, 0xff, 0xff), nil
		default:
			return append(b, 0), nil
		}
	}
	raw, err := t.encode(v)
	if err != nil {
		return b, err
	}
	switch t.framing() {
	case partials:
		b = binary.LittleEndian.AppendUint64(b, uint64(len(raw)))
		if len(raw) > 0 {
			b = append(binary.LittleEndian.AppendUint32(b, uint32(len(raw))), raw...)
		}
		return append(b, 0, 0, 0, 0), nil
	case long:
		if len(raw) > t.size {
			return b, fmt.Errorf("write a value of %d bytes: the column has %d", len(raw), t.size)
		}
		return append(binary.LittleEndian.AppendUint16(b, uint16(len(raw))), raw...), nil
	default:
		return append(append(b, byte(len(raw))), raw...), nil
	}
}

// ucs2 writes text as UTF-16, the lowest byte first; text reads it.
func ucs2(s string) []byte {
	b := make([]byte, 0, 2*len(s))
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

func text(b []byte) string {
	u := make([]uint16, len(b)/2)
	for i := range u {
		u[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return string(utf16.Decode(u))
}

const daysBefore1900 = 693595 // since 0001-01-01

// days and ticks split a time as its own clock reads: days since 0001-01-01, nanoseconds since midnight.
func days(t time.Time) int64 {
	y, m, d := t.Date()
	return (time.Date(y, m, d, 0, 0, 0, 0, time.UTC).Unix() - time.Time{}.Unix()) / 86400
}

func ticks(t time.Time) int64 {
	h, m, s := t.Clock()
	return int64(h*3600+m*60+s)*1e9 + int64(t.Nanosecond())
}

// clock joins them again, in UTC.
func clock(days, nanos int64) time.Time {
	return time.Date(1, 1, 1+int(days), 0, 0, int(nanos/1e9), int(nanos%1e9), time.UTC)
}
