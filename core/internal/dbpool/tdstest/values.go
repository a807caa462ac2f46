package tdstest

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"
	"time"
)

// decode gives the Go value of a value's bytes: int64, float64, bool, string, []byte or time.Time; a decimal and a
// uniqueidentifier come as text.
func (t typeInfo) decode(raw []byte) (any, error) {
	switch t.id {
	case typeInt1, typeInt2, typeInt4, typeInt8, typeIntN:
		return decodeInt(raw), nil
	case typeBit, typeBitN:
		return raw[0] != 0, nil
	case typeFloat8, typeFloatN:
		if len(raw) == 4 {
			return float64(math.Float32frombits(binary.LittleEndian.Uint32(raw))), nil
		}
		return math.Float64frombits(number(raw)), nil
	case typeNVarChar, typeNChar:
		return text(raw), nil
	case typeVarChar, typeChar:
		return string(raw), nil
	case typeVarBinary, typeBinary:
		return slices.Clone(raw), nil
	case typeDecimalN, typeNumericN:
		return decodeDecimal(raw, int(t.scale)), nil
	case typeGUID:
		return decodeGUID(raw)
	default:
		return t.decodeTime(raw)
	}
}

// number reads up to eight bytes, the lowest first.
func number(raw []byte) uint64 {
	var b [8]byte
	copy(b[:], raw)
	return binary.LittleEndian.Uint64(b[:])
}

// decodeInt reads an integer; tinyint alone has no sign.
func decodeInt(raw []byte) int64 {
	if len(raw) == 1 {
		return int64(raw[0])
	}
	shift := 64 - 8*min(len(raw), 8)
	return int64(number(raw)<<shift) >> shift
}

func decodeDecimal(raw []byte, scale int) string {
	magnitude := slices.Clone(raw[1:])
	slices.Reverse(magnitude)
	r := new(big.Rat).SetFrac(new(big.Int).SetBytes(magnitude), new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil))
	if raw[0] == 0 {
		r.Neg(r)
	}
	return r.FloatString(scale)
}

// decodeGUID reads the mixed order of bytes of section 2.2.5.5.4, which is that of a Windows GUID.
func decodeGUID(raw []byte) (any, error) {
	if len(raw) != 16 {
		return nil, fmt.Errorf("read uniqueidentifier: %d bytes", len(raw))
	}
	return fmt.Sprintf("%08x-%04x-%04x-%x-%x", binary.LittleEndian.Uint32(raw), binary.LittleEndian.Uint16(raw[4:]),
		binary.LittleEndian.Uint16(raw[6:]), raw[8:10], raw[10:]), nil
}

// decodeTime reads the types of date and time, section 2.2.5.5.1.
func (t typeInfo) decodeTime(raw []byte) (any, error) {
	unit := int64(math.Pow10(9 - int(t.scale)))
	want := map[byte]int{typeDate: 3, typeTime: timeSize(t.scale), typeDateTime2: timeSize(t.scale) + 3, typeDateTimeOffset: timeSize(t.scale) + 5, typeDateTimeN: 8}
	if len(raw) != want[t.id] {
		return nil, fmt.Errorf("read a value of type %#x: %d bytes", t.id, len(raw))
	}
	head := raw[:timeSize(t.scale)] // of no meaning for date and datetime
	switch t.id {
	case typeDate:
		return clock(int64(number(raw)), 0), nil
	case typeTime:
		return clock(0, int64(number(head))*unit), nil
	case typeDateTime2:
		return clock(int64(number(raw[len(head):])), int64(number(head))*unit), nil
	case typeDateTimeOffset:
		utc := clock(int64(number(raw[len(head):len(head)+3])), int64(number(head))*unit)
		minutes := int(int16(binary.LittleEndian.Uint16(raw[len(head)+3:])))
		return utc.In(time.FixedZone("", minutes*60)), nil
	default: // datetime: days since 1900, then three-hundredths of a second
		day := daysBefore1900 + int64(int32(binary.LittleEndian.Uint32(raw)))
		return clock(day, int64(binary.LittleEndian.Uint32(raw[4:]))*1e9/300), nil
	}
}

// timeSize is the number of bytes of a time of day with this scale.
func timeSize(scale byte) int {
	switch {
	case scale <= 2:
		return 3
	case scale <= 4:
		return 4
	default:
		return 5
	}
}

// encode gives the bytes of a Go value. What JSON has fits as OPENJSON makes it fit: a json.Number every type of number,
// text of RFC 3339 every type of time.
func (t typeInfo) encode(v any) ([]byte, error) {
	raw, ok := []byte(nil), false
	switch t.id {
	case typeIntN, typeBitN:
		var n int64
		n, ok = asInt(v)
		raw = binary.LittleEndian.AppendUint64(nil, uint64(n))[:t.size]
	case typeFloatN:
		var f float64
		f, ok = asFloat(v)
		if raw = binary.LittleEndian.AppendUint64(nil, math.Float64bits(f)); t.size == 4 {
			raw = binary.LittleEndian.AppendUint32(nil, math.Float32bits(float32(f)))
		}
	case typeNVarChar, typeNChar:
		var s string
		s, ok = v.(string)
		raw = ucs2(s)
	case typeVarChar, typeChar: // in the code page only ASCII is safe to write
		var s string
		s, ok = v.(string)
		ok = ok && !strings.ContainsFunc(s, func(r rune) bool { return r > 127 })
		raw = []byte(s)
	case typeVarBinary, typeBinary:
		raw, ok = v.([]byte)
	case typeDecimalN, typeNumericN:
		raw, ok = encodeDecimal(v, int(t.scale))
	case typeGUID:
		raw, ok = encodeGUID(v)
	default:
		var at time.Time
		at, ok = asTime(v)
		raw = t.encodeTime(at)
	}
	if !ok {
		return nil, fmt.Errorf("write a %T as type %#x: it does not fit", v, t.id)
	}
	return raw, nil
}

func (t typeInfo) encodeTime(at time.Time) []byte {
	eight := func(n int64) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(n)) }
	units := func(at time.Time) []byte {
		return eight(ticks(at) / int64(math.Pow10(9-int(t.scale))))[:timeSize(t.scale)]
	}
	switch t.id {
	case typeDate:
		return eight(days(at))[:3]
	case typeTime:
		return units(at)
	case typeDateTime2:
		return append(units(at), eight(days(at))[:3]...)
	case typeDateTimeOffset:
		_, seconds := at.Zone()
		b := append(units(at.UTC()), eight(days(at.UTC()))[:3]...)
		return binary.LittleEndian.AppendUint16(b, uint16(int16(seconds/60)))
	default:
		b := binary.LittleEndian.AppendUint32(nil, uint32(int32(days(at)-daysBefore1900)))
		return binary.LittleEndian.AppendUint32(b, uint32((ticks(at)*3+5e6)/1e7))
	}
}

func asInt(v any) (int64, bool) {
	switch v := v.(type) {
	case int:
		return int64(v), true
	case int32:
		return int64(v), true
	case int64:
		return v, true
	case json.Number:
		n, err := v.Int64()
		return n, err == nil
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	default:
		return 0, false
	}
}

func asFloat(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case json.Number:
		f, err := v.Float64()
		return f, err == nil
	default:
		n, ok := asInt(v)
		return float64(n), ok
	}
}

func asTime(v any) (time.Time, bool) {
	if s, ok := v.(string); ok {
		at, err := time.Parse(time.RFC3339Nano, s)
		return at, err == nil
	}
	at, ok := v.(time.Time)
	return at, ok
}

// encodeDecimal writes a number given as such or as text: its sign, then 16 bytes, the lowest first.
func encodeDecimal(v any, scale int) ([]byte, bool) {
	r, ok := new(big.Rat).SetString(fmt.Sprint(v))
	if !ok {
		return nil, false
	}
	r.Mul(r, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(scale)), nil)))
	if !r.IsInt() || r.Num().BitLen() > 128 {
		return nil, false
	}
	raw := make([]byte, 17)
	r.Num().FillBytes(raw[:16])
	slices.Reverse(raw)
	if raw[0] = 0; r.Sign() >= 0 {
		raw[0] = 1
	}
	return raw, true
}

func encodeGUID(v any) ([]byte, bool) {
	s, ok := v.(string)
	var hex []byte
	n, err := fmt.Sscanf(strings.ReplaceAll(s, "-", ""), "%x", &hex)
	if !ok || n != 1 || err != nil || len(hex) != 16 {
		return nil, false
	}
	slices.Reverse(hex[:4])
	slices.Reverse(hex[4:6])
	slices.Reverse(hex[6:8])
	return hex, true
}
