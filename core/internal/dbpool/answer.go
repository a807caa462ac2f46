package dbpool

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/hostd/hostd/core/sdk"
)

// versions counts, for each table, the writes that were committed, so that an answer is found only while it holds.
type versions struct {
	mu    sync.Mutex
	table map[string]uint64 // guarded by mu: by tableName
	all   uint64            // guarded by mu: writes to tables that are not known
}

// of gives the versions of the tables, in their order; the last one counts for every table.
func (v *versions) of(tables []string) []uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := make([]uint64, 0, len(tables)+1)
	for _, t := range tables {
		out = append(out, v.table[tableName(t)])
	}
	return append(out, v.all)
}

// changed is called after every commit that may have happened, before its callers are told.
func (v *versions) changed(tables map[string]bool, any bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.table == nil {
		v.table = map[string]uint64{}
	}
	for t := range tables {
		v.table[tableName(t)]++
	}
	if any {
		v.all++
	}
}

// tableName is how a table is counted: its name in small letters, without schema and quotes. Tables of the same name in
// two schemas count as one.
func tableName(t string) string {
	return strings.ToLower(strings.Trim(t[strings.LastIndexByte(t, '.')+1:], "\"`[] "))
}

// Tags of values in a key and in a cached answer.
const (
	tagNil byte = iota
	tagFalse
	tagTrue
	tagInt
	tagFloat
	tagText
	tagBytes
	tagTime
)

// queryKey is the SHA-256 over all that an answer depends on, every part after its length.
func queryKey(q sdk.Query, args []any, versions []uint64) (key [32]byte) {
	h := sha256.New()
	buf := appendText(nil, "query")
	buf = appendText(buf, q.SQL)
	buf = binary.AppendUvarint(buf, uint64(q.MaxRows))
	buf = binary.AppendUvarint(buf, uint64(q.CacheFor))
	buf = binary.AppendUvarint(buf, uint64(max(q.CacheNoneFor, 0)))
	buf = binary.AppendUvarint(buf, uint64(len(args)))
	for _, a := range args {
		buf = appendValue(buf, a)
	}
	buf = binary.AppendUvarint(buf, uint64(len(q.Tables)))
	for _, t := range q.Tables {
		buf = appendText(buf, strings.ToLower(t))
	}
	for _, v := range versions {
		buf = binary.AppendUvarint(buf, v)
	}
	return sum(h, buf)
}

func sum(h hash.Hash, buf []byte) (key [32]byte) {
	h.Write(buf)
	h.Sum(key[:0])
	return key
}

func appendText(buf []byte, s string) []byte {
	return append(binary.AppendUvarint(buf, uint64(len(s))), s...)
}

func appendValue(buf []byte, v any) []byte {
	switch v := v.(type) {
	case bool:
		if v {
			return append(buf, tagTrue)
		}
		return append(buf, tagFalse)
	case int64:
		return binary.BigEndian.AppendUint64(append(buf, tagInt), uint64(v))
	case float64:
		return binary.BigEndian.AppendUint64(append(buf, tagFloat), math.Float64bits(v))
	case string:
		return appendText(append(buf, tagText), v)
	case []byte:
		return appendText(append(buf, tagBytes), string(v))
	case time.Time:
		return appendText(append(buf, tagTime), v.Format(time.RFC3339Nano))
	default:
		return append(buf, tagNil)
	}
}

// encodeResult writes an answer for the cache: columns, then rows, each value after its tag.
func encodeResult(res sdk.Result) []byte {
	buf := binary.AppendUvarint(nil, uint64(len(res.Columns)))
	for _, c := range res.Columns {
		buf = appendText(buf, c)
	}
	buf = binary.AppendUvarint(buf, uint64(len(res.Rows)))
	for _, row := range res.Rows {
		for _, v := range row {
			buf = appendValue(buf, v)
		}
	}
	return buf
}

var errCached = errors.New("it is not whole")

// decodeResult reads what encodeResult wrote.
func decodeResult(buf []byte) (res sdk.Result, err error) {
	d := decoder{buf: buf}
	res.Columns = make([]string, d.count())
	for i := range res.Columns {
		res.Columns[i] = string(d.bytes())
	}
	n := d.count()
	for range n {
		row := make([]any, len(res.Columns))
		for i := range row {
			row[i] = d.value()
		}
		res.Rows = append(res.Rows, row)
	}
	if d.bad || len(d.buf) > 0 {
		return sdk.Result{}, errCached
	}
	return res, nil
}

type decoder struct {
	buf []byte
	bad bool
}

// count reads a number of things that each take at least a byte, or none.
func (d *decoder) count() int {
	n, size := binary.Uvarint(d.buf)
	if size <= 0 || n > mostBytes {
		d.bad, d.buf = true, nil
		return 0
	}
	d.buf = d.buf[size:]
	return int(n)
}

func (d *decoder) bytes() []byte { return d.next(d.count()) }

func (d *decoder) next(n int) []byte {
	if n > len(d.buf) {
		d.bad, d.buf = true, nil
		return nil
	}
	out := d.buf[:n]
	d.buf = d.buf[n:]
	return out
}

func (d *decoder) number() uint64 {
	if b := d.next(8); len(b) == 8 {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) value() any {
	tag := d.next(1)
	if len(tag) == 0 {
		return nil
	}
	switch tag[0] {
	case tagFalse, tagTrue:
		return tag[0] == tagTrue
	case tagInt:
		return int64(d.number())
	case tagFloat:
		return math.Float64frombits(d.number())
	case tagText:
		return string(d.bytes())
	case tagBytes:
		return append([]byte{}, d.bytes()...)
	case tagTime:
		t, err := time.Parse(time.RFC3339Nano, string(d.bytes()))
		d.bad = d.bad || err != nil
		return t
	default:
		return nil
	}
}
