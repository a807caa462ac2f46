package spool

import (
	"encoding/binary"
	"hash/crc32"
)

// Everything on the disk is a frame: a header of headerSize bytes and a payload. All numbers are little-endian.
//
//	 0 magic u32   4 kind u8   5 flags u8   6 version u16   8 payload length u32   12 num u32
//	16 seq u64    24 a u64    32 b u64     40 CRC-32C of the payload   44 CRC-32C of bytes 0-43, started with the file's salt
const (
	headerSize = 48
	magic      = 0x31705368 // "hSp1" in the file
	version    = 1
	maxPayload = 16 << 20
	maxSeq     = 1 << 62
)

type kind uint8

// The kinds of frame and what num, seq, a, b and the payload are in each.
const (
	kindSnapshot kind = 1 + iota // num: number of the segment before; seq: next seq; a: made, unix ns; b: end of the segment before; payload: state
	kindRecord                   // num: device; seq; a: received, unix ns; b: SinkSet; payload: the record
	kindPosition                 // num: device; a: see positionKnown; payload: the position, or of positionMoved the number of the heir, uvarint
	kindSettle                   // num: sink; seq: cursor; a: records settled ever; b: records lost to damage ever; payload: dead letters among the settled, uvarint
	kindSink                     // num: sink; payload: its name
	kindDevice                   // num: device; payload: its name
	kindTrailer                  // seq: next seq; a: bytes of the group without the trailer; b: CRC-32C of them
	kindDead                     // num: sink; seq; a: received; b: when it was given up, unix ns; payload: see dead.go
	kindKey                      // payload: the data key of the file, see sealing.go; first in a sealed file, twice
	kindClosed                   // num: sink; seq; b: when the letter was given up; payload: see dead.go
	kindGone                     // seq, a: highest and lowest number of dead letters whose files are deleted; payload: sink, empty for any
)

// flagSealed is set where the payload is encrypted; a reader without the key sets such a frame aside.
// flagCopy is set on a record that was put in once more for some sinks; the record itself is elsewhere, or was.
// flagHeld is set on a dead letter whose record is held back, flagOwn on a record that the host has made.
const (
	flagSealed = 1
	flagCopy   = 2
	flagHeld   = 4
	flagOwn    = 8
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	magicBytes = binary.LittleEndian.AppendUint32(nil, magic)
)

type header struct {
	kind   kind
	flags  uint8
	length uint32
	num    uint32
	seq    uint64
	a, b   uint64
	sum    uint32 // of the payload
}

// appendFrame appends a frame whose header checksum is missing: seal adds it when the file, and so the salt, is known.
func appendFrame(dst []byte, h header, payload []byte) []byte {
	h.length, h.sum = uint32(len(payload)), crc32.Checksum(payload, castagnoli)
	return append(appendHeader(dst, h), payload...)
}

func appendHeader(dst []byte, h header) []byte {
	var b [headerSize]byte
	binary.LittleEndian.PutUint32(b[0:], magic)
	b[4], b[5] = byte(h.kind), h.flags
	binary.LittleEndian.PutUint16(b[6:], version)
	binary.LittleEndian.PutUint32(b[8:], h.length)
	binary.LittleEndian.PutUint32(b[12:], h.num)
	binary.LittleEndian.PutUint64(b[16:], h.seq)
	binary.LittleEndian.PutUint64(b[24:], h.a)
	binary.LittleEndian.PutUint64(b[32:], h.b)
	binary.LittleEndian.PutUint32(b[40:], h.sum)
	return append(dst, b[:]...)
}

// seal writes the header checksums of all frames of buf for a file with that salt, and appends the group's trailer.
func seal(buf []byte, salt uint32, next uint64) []byte {
	sealHeaders(buf, salt)
	t := header{kind: kindTrailer, seq: next, a: uint64(len(buf)), b: uint64(crc32.Checksum(buf, castagnoli))}
	end := len(buf)
	buf = appendFrame(buf, t, nil)
	sealHeaders(buf[end:], salt)
	return buf
}

func sealHeaders(buf []byte, salt uint32) {
	for at := 0; at < len(buf); at += headerSize + int(binary.LittleEndian.Uint32(buf[at+8:])) {
		binary.LittleEndian.PutUint32(buf[at+44:], crc32.Update(salt, castagnoli, buf[at:at+44]))
	}
}

// parseHeader reads the header at the start of b, at least headerSize bytes. False means that it is none of a file
// with that salt.
func parseHeader(b []byte, salt uint32) (header, bool) {
	if binary.LittleEndian.Uint32(b) != magic || crc32.Update(salt, castagnoli, b[:44]) != binary.LittleEndian.Uint32(b[44:]) {
		return header{}, false
	}
	h := loadHeader(b)
	return h, h.length <= maxPayload && h.seq < maxSeq && (h.num < maxDevices || h.kind == kindSnapshot)
}

// loadHeader reads a header that is known to be good.
func loadHeader(b []byte) header {
	return header{
		kind: kind(b[4]), flags: b[5], length: binary.LittleEndian.Uint32(b[8:]), num: binary.LittleEndian.Uint32(b[12:]),
		seq: binary.LittleEndian.Uint64(b[16:]), a: binary.LittleEndian.Uint64(b[24:]), b: binary.LittleEndian.Uint64(b[32:]),
		sum: binary.LittleEndian.Uint32(b[40:]),
	}
}
